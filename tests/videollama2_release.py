"""Small releases in the official layout of VideoLLaMA2.1-AV: config, tokenizer, shards with an index.

Their language model recites: attention and feed-forward give nothing, embeddings are one-hot, so each token is
followed by the one its row of the head says. Towers and connector are random.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers import Qwen2Config, SiglipVisionConfig, SiglipVisionModel

from deepsound import cot
from deepsound.reasoning.videollama2.beats import BeatsConfig
from deepsound.reasoning.videollama2.network import VideoLlama2, VideoLlama2Config

SCRIPT = (
    "<SUMMARY>",
    " I look and listen. ",
    "</SUMMARY>",
    "<CAPTION>",
    " A man speaks. ",
    "</CAPTION>",
    "<REASONING>",
    " He is not in the picture. ",
    "</REASONING>",
    "<CONCLUSION>",
    " A",
    " </CONCLUSION>",
)
"""What the small model answers to everything, unless it is made to say something else."""

HESITANT = tuple(" It depends." if word == " A" else word for word in SCRIPT)
"""The same, but its own next words after the tag are no letter; of the two it would rather say B."""

LETTER = ("A",)
PLANS = tuple(cot.PLAN.splitlines(keepends=True))
SILENT, SOUNDING = ("The audio is silent.",), ("The audio is not silent.",)

SURENESS = 4.0
"""Logit of A above that of B where the script has A, and of B above A where it has something else."""

_HIDDEN = 320  # a multiple of the 64 weights that share a scale in 4 bits
_CHAT_TEMPLATE = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

CONFIG = VideoLlama2Config(
    language=Qwen2Config(
        hidden_size=_HIDDEN,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=_HIDDEN,
        tie_word_embeddings=False,
    ),
    vision=SiglipVisionConfig(
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=384,
        patch_size=14,
    ),
    audio=BeatsConfig(embed=32, layers=2, dim=48, wide=64, heads=4, position_width=16, position_groups=4),
    audio_projector="mlp2x_gelu",
    frames=4,
)
"""Sizes of the small release; config.json can't tell those of its towers."""


@dataclass(frozen=True, slots=True)
class Words:
    """A byte-level vocabulary: the bytes, " A" and " B", and added tokens."""

    ids: Mapping[str, int]
    added: Sequence[str]

    def __getitem__(self, word: str) -> int:
        return self.ids[_spelled(word)]


def _spelled(word: str) -> str:
    return {"\n": "Ċ", " A": "ĠA", " B": "ĠB"}.get(word, word)


def _words(script: Sequence[str]) -> Words:
    plain = [*sorted(ByteLevel.alphabet()), "ĠA", "ĠB"]
    added = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<CONCLUSION>"]
    added += [word for word in script if _spelled(word) not in (*plain, *added)]
    return Words({word: number for number, word in enumerate([*plain, *added])}, added)


def write_release(folder: Path, *, script: Sequence[str] = SCRIPT, seed: int = 0) -> Path:
    """Write the small release in two shards, with the tensors official files hold and nothing reads."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    words = _words(script)
    state = {**_language_state(words, script), **_towers_state()}
    names = sorted(state)
    halves = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({name: state[name].clone() for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in halves.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(official_config()))
    (folder / "generation_config.json").write_text('{"repetition_penalty": 1.05}')
    _write_tokenizer(folder, words)
    return folder


def official_config() -> dict[str, object]:
    """A config.json as released, with the small language model's sizes."""
    language = CONFIG.language.to_dict()
    sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    return {
        **{key: language[key] for key in (*sizes, "num_key_value_heads", "rms_norm_eps")},
        "model_type": "videollama2_qwen2",
        "rope_theta": 1000000.0,
        "mm_vision_tower": "google/siglip-so400m-patch14-384",
        "mm_vision_select_layer": -2,
        "mm_projector_type": "stc_connector_v35",
        "mm_projector_a_type": "mlp2x_gelu",
        "num_frames": 16,
    }


def _language_state(words: Words, script: Sequence[str]) -> dict[str, Tensor]:
    state = {name: torch.zeros_like(value) for name, value in _language().items()}
    for name in state:
        if name.endswith("norm.weight"):
            state[name].fill_(1.0)
    state["model.embed_tokens.weight"] = torch.eye(_HIDDEN)
    # A one-hot vector leaves the norm with length √hidden.
    loud = SURENESS * 2 / _HIDDEN**0.5
    for now, then in pairwise(("\n", *script, "<|im_end|>")):
        state["lm_head.weight"][words[then], words[now]] = loud
        if then in ("A", " A"):
            state["lm_head.weight"][words[then.replace("A", "B")], words[now]] = loud / 2
        elif now == "<CONCLUSION>":
            state["lm_head.weight"][words[" B"], words[now]] = loud / 2
    return state


def _language() -> dict[str, Tensor]:
    return dict(VideoLlama2(CONFIG).language.state_dict())


def _towers_state() -> dict[str, Tensor]:
    network = VideoLlama2(CONFIG)
    vision = SiglipVisionModel(CONFIG.vision)
    parts = {
        "model.vision_tower.vision_tower.vision_model.": vision,
        "model.mm_projector.": network.connector,
        "model.audio_tower.": network.audio,
        "model.mm_projector_a.": network.audio_projector,
    }
    state = {prefix + name: value for prefix, part in parts.items() for name, value in part.state_dict().items()}
    # Safetensors keep a shared tensor under one of its names.
    shared = "model.audio_tower.encoder.layers.1.self_attn.relative_attention_bias.weight"
    return {name: value for name, value in state.items() if name != shared}


def _write_tokenizer(folder: Path, words: Words) -> None:
    plain = {word: number for word, number in words.ids.items() if word not in words.added}
    (folder / "vocab.json").write_text(json.dumps(plain))
    (folder / "merges.txt").write_text("#version: 0.2\nĠ A\nĠ B\n")
    added = {
        str(words.ids[word]): {"content": word, "special": word.startswith("<|"), "normalized": False}
        for word in words.added
    }
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "chat_template": _CHAT_TEMPLATE,
        "added_tokens_decoder": added,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
