"""What `config.json` beside the official weights says, and what it leaves to the name of its vision tower."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, PositiveInt, ValidationError
from transformers import Qwen2Config, SiglipVisionConfig

from deepsound.errors import ModelError, ModelFailedError, ModelMissingError
from deepsound.reasoning.videollama2.beats import BeatsConfig
from deepsound.reasoning.videollama2.network import AudioProjector, VideoLlama2Config

_VISION_TOWER = "siglip-so400m-patch14-384"


def _known_tower(name: str) -> str:
    if name.rsplit("/", 1)[-1] != _VISION_TOWER:
        raise ValueError(f"expected {_VISION_TOWER}, not {name}")
    return name


class _Language(BaseModel):
    """The keys of Qwen2; those that older files may leave out have Qwen2-7B's values."""

    hidden_size: PositiveInt
    intermediate_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    num_key_value_heads: PositiveInt
    vocab_size: PositiveInt
    max_position_embeddings: PositiveInt = 32_768
    rms_norm_eps: float = 1e-6
    rope_theta: float = 1e6
    hidden_act: str = "silu"
    tie_word_embeddings: bool = False


class _Media(BaseModel):
    """The keys of the towers and projectors. Defaults are the reference's for keys that are absent."""

    mm_vision_tower: Annotated[str, AfterValidator(_known_tower)]
    mm_vision_select_layer: Literal[-2] = -2
    mm_projector_type: Literal["stc_connector_v35"]
    mm_projector_a_type: AudioProjector = "linear"
    num_frames: PositiveInt = 8


def siglip_so400m() -> SiglipVisionConfig:
    """The vision tower the released models name without describing it."""
    return SiglipVisionConfig(
        hidden_size=1152,
        intermediate_size=4304,
        num_hidden_layers=27,
        num_attention_heads=16,
        image_size=384,
        patch_size=14,
    )


def read_config(folder: Path) -> VideoLlama2Config:
    """Sizes and number of frames of the release in `folder`.

    Raises ModelMissingError without config.json, ModelFailedError if it is damaged or tells of another
    vision tower, connector or projector than VideoLLaMA2.1-AV has.
    """
    path = folder / "config.json"
    try:
        text = path.read_bytes()
        language, media = _Language.model_validate_json(text), _Media.model_validate_json(text)
    except OSError as error:
        raise _refused(path, ModelMissingError, "there is no such file") from error
    except ValidationError as error:
        complaints = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise _refused(path, ModelFailedError, "; ".join(complaints)) from error
    return VideoLlama2Config(
        language=Qwen2Config(**language.model_dump()),
        vision=siglip_so400m(),
        audio=BeatsConfig(),
        audio_projector=media.mm_projector_a_type,
        frames=media.num_frames,
    )


def _refused(path: Path, kind: type[ModelError], what: str) -> ModelError:
    return kind(what, where=str(path), remedy="put the whole VideoLLaMA2.1-AV release in that folder")
