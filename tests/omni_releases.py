"""Small releases of audio-video chat models: config, weights, tokenizer, processors, template, as publishers lay
them out.

Their language models mostly recite: each token is followed by the one its row of the head says. But attention is
random, so every logit leans a little on all that was shown and played. Templates are our own, of the publishers'
marks.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import (
    BaseImageProcessor,
    FeatureExtractionMixin,
    Gemma4AudioFeatureExtractor,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5OmniConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen3OmniMoeConfig,
    Qwen3OmniMoeThinkerForConditionalGeneration,
    WhisperFeatureExtractor,
)
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from tests.videollama2_release import SCRIPT, SURENESS

HIDDEN = 320


@dataclass(frozen=True, slots=True)
class Marks:
    """The special tokens of a family: those around turns, and those its processor asks the tokenizer for."""

    end: str
    pad: str
    turns: tuple[str, ...]
    media: Mapping[str, str]
    template: str

    @property
    def ids(self) -> dict[str, int]:
        """Every token: bytes, the answers, marks and the words of the script."""
        plain = [*sorted(ByteLevel.alphabet()), "ĠA", "ĠB"]
        words = [*plain, self.pad, self.end, *self.turns, *self.media.values(), *self.words]
        return {word: number for number, word in enumerate(words)}

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the script that are tokens of their own."""
        return tuple(word for word in SCRIPT if word not in (" A", " </CONCLUSION>"))


def _template(start: str, end: str, model: str, video: str, audio: str) -> str:
    return (
        "{% for message in messages %}" + start + "{{ message.role }}\n"
        "{% for part in message.content %}"
        "{% if part.type == 'video' %}" + video + "{% elif part.type == 'audio' %}" + audio + "{% else %}"
        "{{ part.text }}{% endif %}{% endfor %}" + end + "\n{% endfor %}"
        "{% if add_generation_prompt %}" + start + model + "\n{% endif %}"
    )


QWEN = Marks(
    "<|im_end|>",
    "<|endoftext|>",
    ("<|im_start|>",),
    {
        "image_token": "<|IMAGE|>",
        "audio_token": "<|AUDIO|>",
        "video_token": "<|VIDEO|>",
        "vision_bos_token": "<|vision_bos|>",
        "vision_eos_token": "<|vision_eos|>",
        "audio_bos_token": "<|audio_bos|>",
        "audio_eos_token": "<|audio_eos|>",
    },
    _template(
        "<|im_start|>",
        "<|im_end|>",
        "assistant",
        "<|vision_bos|><|VIDEO|><|vision_eos|>",
        "<|audio_bos|><|AUDIO|><|audio_eos|>",
    ),
)

GEMMA = Marks(
    "<turn|>",
    "<pad>",
    ("<bos>", "<eos>", "<|turn>", "<|video|>"),
    {
        "image_token": "<|image|>",
        "boi_token": "<|image>",
        "eoi_token": "<image|>",
        "audio_token": "<|audio|>",
        "boa_token": "<|audio>",
        "eoa_token": "<audio|>",
    },
    "<bos>" + _template("<|turn>", "<turn|>", "model", "<|video|>", "<|audio|>"),
)


def write_qwen2_5_omni(folder: Path, *, seed: int = 0, **text: object) -> Path:
    """Qwen2.5-Omni: its thinker, and a tensor of the talker that nobody reads. `text`: of the language model."""
    torch.manual_seed(seed)
    ids = QWEN.ids
    config = Qwen2_5OmniConfig(
        thinker_config={
            "text_config": {
                **_text(QWEN),
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 12, 12]},
                "tie_word_embeddings": False,
                **text,
            },
            "vision_config": {
                "depth": 2,
                "hidden_size": 32,
                "intermediate_size": 32,
                "num_heads": 2,
                "out_hidden_size": HIDDEN,
                "fullatt_block_indexes": [1],
            },
            "audio_config": {**_AUDIO_TOWER, "output_dim": HIDDEN},
            "audio_token_index": ids["<|AUDIO|>"],
            "image_token_index": ids["<|IMAGE|>"],
            "video_token_index": ids["<|VIDEO|>"],
            **_starts(ids),
        }
    )
    model = Qwen2_5OmniThinkerForConditionalGeneration(config.thinker_config)
    _recite(model, model.model.language_model.norm, QWEN)
    _write(folder, model, config, QWEN, under="thinker.")
    _write_settings(folder, Qwen2VLImageProcessorPil(max_pixels=32 * 28 * 28))
    return folder


def write_qwen3_omni(folder: Path, *, seed: int = 0, **text: object) -> Path:
    """Qwen3-Omni, mixture of experts: its thinker, and a tensor of the talker that nobody reads."""
    torch.manual_seed(seed)
    ids = QWEN.ids
    config = Qwen3OmniMoeConfig(
        thinker_config={
            "text_config": {
                **_text(QWEN),
                "head_dim": 80,
                "rope_parameters": {
                    "rope_type": "default",
                    "rope_theta": 1e6,
                    "mrope_section": [16, 12, 12],
                    "mrope_interleaved": True,
                },
                "moe_intermediate_size": 16,
                "num_experts": 4,
                "num_experts_per_tok": 2,
                **text,
            },
            "vision_config": {
                "depth": 2,
                "hidden_size": 32,
                "intermediate_size": 32,
                "num_heads": 2,
                "out_hidden_size": HIDDEN,
                "num_position_embeddings": 64,
                "deepstack_visual_indexes": [0],
            },
            "audio_config": {**_AUDIO_TOWER, "output_dim": HIDDEN, "downsample_hidden_size": 8},
            "audio_token_id": ids["<|AUDIO|>"],
            "image_token_id": ids["<|IMAGE|>"],
            "video_token_id": ids["<|VIDEO|>"],
            **_starts(ids),
        }
    )
    model = Qwen3OmniMoeThinkerForConditionalGeneration(config.thinker_config)
    _recite(model, model.model.language_model.norm, QWEN)
    _write(folder, model, config, QWEN, under="thinker.")
    _write_settings(folder, Qwen2VLImageProcessorPil(max_pixels=32 * 32 * 32, patch_size=16))
    return folder


def write_gemma4(folder: Path, *, seed: int = 0, **text: object) -> Path:
    """Gemma 4, one of those that hear."""
    torch.manual_seed(seed)
    ids = GEMMA.ids
    config = Gemma4Config(
        text_config={
            **_text(GEMMA),
            "head_dim": 80,
            "global_head_dim": 80,
            "vocab_size_per_layer_input": len(ids),
            "hidden_size_per_layer_input": 8,
            "tie_word_embeddings": False,
            **text,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "position_embedding_size": 128,
        },
        audio_config={
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "output_proj_dims": 32,
            "subsampling_conv_channels": [128, 8],
        },
        tie_word_embeddings=False,
        boi_token_id=ids["<|image>"],
        eoi_token_id=ids["<image|>"],
        image_token_id=ids["<|image|>"],
        video_token_id=ids["<|video|>"],
        boa_token_id=ids["<|audio>"],
        eoa_token_index=ids["<audio|>"],
        audio_token_id=ids["<|audio|>"],
    )
    model = Gemma4ForConditionalGeneration(config)
    _recite(model, model.model.language_model.norm, GEMMA)
    _write(folder, model, config, GEMMA)
    settings = {
        "processor_class": "Gemma4Processor",
        "image_processor": _settings(Gemma4ImageProcessorPil()),
        "feature_extractor": _settings(Gemma4AudioFeatureExtractor()),
        "video_processor": {"max_soft_tokens": 70, "video_processor_type": "Gemma4VideoProcessor"},
    }
    (folder / "processor_config.json").write_text(json.dumps(settings))
    return folder


FAMILIES = {"qwen2_5_omni": write_qwen2_5_omni, "qwen3_omni_moe": write_qwen3_omni, "gemma4": write_gemma4}
"""Writers of small releases, by `model_type`."""

_AUDIO_TOWER = {
    "d_model": 32,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "num_mel_bins": 128,
}


def _text(marks: Marks) -> dict[str, object]:
    return {
        "vocab_size": len(marks.ids),
        "hidden_size": HIDDEN,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "pad_token_id": marks.ids[marks.pad],
        "eos_token_id": marks.ids[marks.end],
    }


def _starts(ids: Mapping[str, int]) -> dict[str, int]:
    return {"vision_start_token_id": ids["<|vision_bos|>"], "audio_start_token_id": ids["<|audio_bos|>"]}


def _recite(model: PreTrainedModel, norm: nn.Module, marks: Marks) -> None:
    """Have the model say the script after a line's end, whatever it sees; less sure of itself at the letter."""
    ids = marks.ids
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    # A one-hot vector leaves the norm with length √hidden.
    loud = 2 * SURENESS / HIDDEN**0.5
    spoken = [ids["Ċ"], *(ids.get(word, ids["ĠA"]) for word in SCRIPT[:-1])]
    with torch.no_grad():
        # Random towers say nearly the same of everything; sharper ones tell sounds apart.
        for name, weight in model.named_parameters():
            if "audio_tower" in name and weight.dim() > 1:
                weight.mul_(8.0)
        embedding.weight.copy_(torch.eye(len(ids), HIDDEN))
        norm.weight.fill_(1.0)
        head.weight.normal_(0.0, 0.01)
        for now, then in pairwise(spoken):
            head.weight[then, now] = loud
        head.weight[ids["ĠB"], ids["<CONCLUSION>"]] = loud / 2


def _write(
    folder: Path, model: PreTrainedModel, config: PreTrainedConfig, marks: Marks, *, under: str = ""
) -> None:
    """Weights under their published names, configuration, tokenizer and template."""
    model.save_pretrained(folder)
    config.save_pretrained(folder)
    weights = folder / "model.safetensors"
    state = {under + name: value for name, value in load_file(weights).items()}
    save_file({**state, "talker.unread": torch.zeros(1)} if under else state, weights, {"format": "pt"})
    end, pad = marks.ids[marks.end], marks.ids[marks.pad]
    GenerationConfig(eos_token_id=end, pad_token_id=pad, do_sample=True, temperature=0.7).save_pretrained(folder)
    tokenizer(marks).save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(marks.template)


def tokenizer(marks: Marks) -> PreTrainedTokenizerFast:
    special = {marks.pad, marks.end, *marks.turns, *marks.media.values()}
    plain = {word: number for word, number in marks.ids.items() if word not in special | set(marks.words)}
    words = Tokenizer(BPE(plain, [("Ġ", "A"), ("Ġ", "B")]))
    words.pre_tokenizer, words.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    added = [word for word in marks.ids if word not in plain]
    words.add_tokens([AddedToken(word, special=word in special, normalized=False) for word in added])
    begins = "<bos>" if "<bos>" in marks.turns else None
    if begins:
        words.post_processor = TemplateProcessing(
            single=f"{begins} $A", special_tokens=[(begins, marks.ids[begins])]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token=begins,
        eos_token=marks.end,
        pad_token=marks.pad,
        extra_special_tokens=dict(marks.media),
        chat_template=marks.template,
    )


def _write_settings(folder: Path, pictures: Qwen2VLImageProcessorPil) -> None:
    """As Qwen's releases have it: image processor and feature extractor in one file."""
    settings = {**_settings(pictures), **_settings(WhisperFeatureExtractor(feature_size=128))}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))


def _settings(part: BaseImageProcessor | FeatureExtractionMixin) -> dict[str, object]:
    return json.loads(part.to_json_string())
