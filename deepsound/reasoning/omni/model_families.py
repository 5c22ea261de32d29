"""The families of audio-video chat models that can be run here, as transformers has them.

Only the part that reads, looks, listens and writes is named: none of the networks that give it a voice.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor
from transformers import (
    BaseImageProcessor,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Gemma4Processor,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
    Qwen2_5OmniConfig,
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen3OmniMoeConfig,
    Qwen3OmniMoeProcessor,
    Qwen3OmniMoeThinkerForConditionalGeneration,
)
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from deepsound.errors import BadSettingsError, DeepSoundError, ModelFailedError, ModelMissingError
from deepsound.reasoning.local.quantisation import Precision
from deepsound.reasoning.omni.position_ids import sequential_positions, tmrope_positions
from deepsound.reasoning.omni.release import Release, release_error
from deepsound.reasoning.omni.video_processors import Gemma4VideoProcessor, QwenVideoProcessor


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """What transformers calls the parts of a family. `pictures` works without torchvision, `frames` is ours.

    `places`: of each token of a prompt, of one or three dimensions, and how far those after it are beyond their
    number. `without_words`: what tells the network to spare itself what only the next word would need.
    """

    config: type[PreTrainedConfig]
    network: type[PreTrainedModel]
    processor: type[ProcessorMixin]
    image_processor: type[BaseImageProcessor]
    video_processor: type[QwenVideoProcessor] | type[Gemma4VideoProcessor]
    position_ids: Callable[[PreTrainedModel, Mapping[str, Tensor]], tuple[Tensor, int]]
    prefill_options: Mapping[str, int] = field(default_factory=dict[str, int])


MODEL_FAMILIES = {
    "qwen2_5_omni": ModelFamily(
        Qwen2_5OmniConfig,
        Qwen2_5OmniThinkerForConditionalGeneration,
        Qwen2_5OmniProcessor,
        Qwen2VLImageProcessorPil,
        QwenVideoProcessor,
        tmrope_positions,
    ),
    "qwen3_omni_moe": ModelFamily(
        Qwen3OmniMoeConfig,
        Qwen3OmniMoeThinkerForConditionalGeneration,
        Qwen3OmniMoeProcessor,
        Qwen2VLImageProcessorPil,
        QwenVideoProcessor,
        tmrope_positions,
    ),
    "gemma4": ModelFamily(
        Gemma4Config,
        Gemma4ForConditionalGeneration,
        Gemma4Processor,
        Gemma4ImageProcessorPil,
        Gemma4VideoProcessor,
        sequential_positions,
        # Its last layers share the keys and values of earlier ones, and leave nothing in the cache.
        {"logits_to_keep": 1},
    ),
}
"""By the `model_type` of config.json."""


def read_family(release: Release) -> tuple[ModelFamily, PreTrainedConfig]:
    """The family that the release's config.json names, and the configuration of its network.

    Raises ModelMissingError without config.json, ModelFailedError if it is damaged, of another family, or
    of a model that does not hear.
    """
    try:
        named = json.loads((release.folder / "config.json").read_bytes())["model_type"]
        family = MODEL_FAMILIES[named]
    except FileNotFoundError as error:
        raise release_error(release, ModelMissingError, "there is no config.json") from error
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise release_error(release, ModelFailedError, f"config.json is damaged ({error})") from error
    except KeyError as error:
        raise _other_family(release, str(error)) from error
    try:
        whole = family.config.from_pretrained(release.folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise release_error(release, ModelFailedError, f"config.json can't be used ({error})") from error
    config: PreTrainedConfig = getattr(whole, "thinker_config", whole)
    if getattr(config, "audio_config", None) is None:
        raise _other_family(release, "a model that takes no sound")
    return family, config


def check_quantisable(release: Release, config: PreTrainedConfig, precision: Precision) -> None:
    """Raise BadSettingsError where most of the weights would stay as they are."""
    language = config.get_text_config()
    if precision is Precision.AS_LOADED or not getattr(language, "num_experts", None):
        return
    raise BadSettingsError(
        f"its experts can't be held in {precision.removesuffix('bit')} bits: bitsandbytes takes linear layers, "
        "and transformers holds a layer's experts in one piece",
        where=str(release.folder),
        remedy="leave the precision out of the reasoner's name, or serve it (--reasoner served:<url>)",
    )


def _other_family(release: Release, found: str) -> DeepSoundError:
    return ModelFailedError(
        f"config.json tells of {found}, which is no audio-video chat model that can be run here",
        where=str(release.folder),
        remedy=f"use a model of {', '.join(MODEL_FAMILIES)}, or serve it (--reasoner served:<url>)",
    )
