"""The official shards into the network: every tensor to the part that owns it, the unused ones left out."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

from deepsound.errors import ModelFailedError, ModelMissingError
from deepsound.models.checkpoints import State, load_strict, read_state
from deepsound.reasoning.local.quantisation import Precision, quantise
from deepsound.reasoning.videollama2.network import VideoLlama2, VideoLlama2Config

_VISION = "model.vision_tower.vision_tower.vision_model."
_CONNECTOR = "model.mm_projector."
_AUDIO = "model.audio_tower."
_AUDIO_PROJECTOR = "model.mm_projector_a."
_TOWERS = (_VISION, _CONNECTOR, _AUDIO, _AUDIO_PROJECTOR)

_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SINGLE = ("model.safetensors", "pytorch_model.bin")
_SHARED_BIAS = "self_attn.relative_attention_bias.weight"


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The shards the folder's index names, or its one weight file; .safetensors before .bin.

    Raises ModelMissingError without either or if a named shard is absent, ModelFailedError for a
    damaged index.
    """
    for index in (folder / name for name in _INDEXES):
        if index.is_file():
            return _shards(index)
    for single in (folder / name for name in _SINGLE):
        if single.is_file():
            return (single,)
    raise ModelMissingError(
        f"no weights: expected {' or '.join((*_INDEXES, *_SINGLE))}",
        where=str(folder),
        remedy="put the whole VideoLLaMA2.1-AV release in that folder",
    )


def _shards(index: Path) -> tuple[Path, ...]:
    try:
        named = json.loads(index.read_text("utf-8"))["weight_map"].values()
        shards = tuple(index.parent / Path(name).name for name in sorted(set(named)))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ModelFailedError("is no index of weights", where=str(index), remedy="fetch it again") from error
    absent = [shard.name for shard in shards if not shard.is_file()]
    if absent:
        raise ModelMissingError(
            f"{len(absent)} of {len(shards)} shards are missing: {', '.join(absent)}",
            where=str(index.parent),
            remedy="put the whole VideoLLaMA2.1-AV release in that folder",
        )
    return shards


def load_network(
    folder: Path,
    config: VideoLlama2Config,
    *,
    dtype: torch.dtype,
    device: torch.device,
    precision: Precision = Precision.AS_LOADED,
) -> VideoLlama2:
    """The network of the release in `folder`, its parameters in `dtype`, rotary angles in float32.

    `precision` is that of the language model's layers. Weights are mapped from the files and taken over, so they
    lie in memory once. Raises DeepSoundError.
    """
    state: dict[str, torch.Tensor] = {}
    for shard in weight_files(folder):
        state |= read_state(shard)
    with torch.device("meta"):
        network = VideoLlama2(config)
    fill_network(network, state, folder)
    quantise(network.language.model.layers, precision, dtype=dtype, device=device)
    for parameter in network.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(device, dtype)
    return network.to(device).eval()


def fill_network(network: VideoLlama2, state: State, where: Path) -> None:
    """Give each part of a network on the meta device its tensors, by their official names.

    Raises ModelFailedError, naming the part and what is missing or of another shape.
    """
    config = network.config
    load_strict(network.vision, dict(_vision(state, config)), network="SigLIP", where=where)
    load_strict(network.connector, dict(_under(state, _CONNECTOR)), network="the STC connector", where=where)
    audio = dict(_audio(state, config))
    load_strict(network.audio, audio, network="BEATs", where=where)
    projector = dict(_under(state, _AUDIO_PROJECTOR))
    load_strict(network.audio_projector, projector, network="the audio projector", where=where)
    language = {name: value for name, value in state.items() if not name.startswith(_TOWERS)}
    load_strict(network.language, language, network="Qwen2", where=where)
    # Buffers that no file holds.
    network.language.model.rotary_emb = Qwen2RotaryEmbedding(config.language)
    embeddings = network.vision.embeddings
    embeddings.register_buffer("position_ids", torch.arange(embeddings.num_positions)[None], persistent=False)


def _under(state: State, prefix: str) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in state.items():
        if name.startswith(prefix):
            yield name.removeprefix(prefix), value


def _vision(state: State, config: VideoLlama2Config) -> Iterator[tuple[str, torch.Tensor]]:
    # Nothing reads the tower beyond the input of its last layer.
    unread = (f"encoder.layers.{config.vision.num_hidden_layers - 1}.", "post_layernorm.", "head.")
    for name, value in _under(state, _VISION):
        if not name.startswith(unread):
            yield name, value


def _audio(state: State, config: VideoLlama2Config) -> Iterator[tuple[str, torch.Tensor]]:
    # One table serves all layers; safetensors keep it under one of its names, .bin files under all.
    for name, value in _under(state, _AUDIO):
        if name.endswith(_SHARED_BIAS):
            for layer in range(config.audio.layers):
                yield f"encoder.layers.{layer}.{_SHARED_BIAS}", value
        else:
            yield name, value
