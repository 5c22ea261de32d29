"""Checks the flow network: conditions, single evaluations, guidance and a whole sampling run."""

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from deepsound.generation.mmaudio.flow import Conditions, FlowNetwork
from deepsound.generation.mmaudio.flow_matching import euler, guided_flow, unnormalise
from deepsound.generation.mmaudio.layers import Rotation, rotation
from deepsound.generation.mmaudio.sequence_config import VARIANTS, FlowConfig, Lengths, lengths_for
from deepsound.models.checkpoints import load_strict
from tests.parity.filling import Filled, fill, floating_shapes, rand
from tests.parity.golden import Comparison, Golden, compare, compare_digest

_TINY = FlowConfig(8, 64, 4, 2, 2, clip_dim=24, sync_dim=16, text_dim=20)
_TINY_V2 = FlowConfig(8, 64, 4, 2, 2, second=True, clip_dim=24, sync_dim=16, text_dim=20)
_TINY_LENGTHS = Lengths(latent=25, clip=6, sync=16)
_CHANGED_LENGTHS = Lengths(latent=31, clip=7, sync=24)
_SECONDS = 8.0
_TIME = 0.3
_GUIDANCE = 4.5
_INPUT = "in."


def check(golden: Golden) -> Iterator[Comparison]:
    """Every tensor of `flow_NAME`, `flow_NAME_len2` or `flow_NAME_weights`."""
    base = re.sub("_(len2|weights)$", "", golden.name).removeprefix("flow_")
    config, lengths = _model(base, changed=golden.name.endswith("_len2"))
    with torch.device("meta"):
        network = FlowNetwork(config)
    filled = fill(floating_shapes(network.state_dict()))
    if "weights_sha256" in golden.metadata:
        yield compare_digest(filled.digest, golden)
    filled.tensors["latent_std"].abs_()
    if golden.name.endswith("_weights"):
        yield from _check_weights(network, filled, golden)
        return
    load_strict(network, filled.tensors, network=golden.name, where=Path(golden.name))
    run = _Run(network, _inputs(golden, base, config, lengths), lengths)
    for name, value in golden.tensors.items():
        if not name.startswith(_INPUT):
            yield compare(name, run.value(name), value)


def _model(base: str, *, changed: bool) -> tuple[FlowConfig, Lengths]:
    if base in ("tiny", "tiny_v2"):
        config = _TINY if base == "tiny" else _TINY_V2
        return config, _CHANGED_LENGTHS if changed else _TINY_LENGTHS
    variant = VARIANTS[base.replace("_", "-")]
    return variant.flow, lengths_for(_SECONDS, variant.audio)


def _check_weights(network: FlowNetwork, filled: Filled, golden: Golden) -> Iterator[Comparison]:
    for name, value in golden.tensors.items():
        yield compare(name, filled.tensors[name], value, tolerance=0.0)
    load_strict(network, golden.tensors, network=golden.name, where=golden.folder / golden.name)


def _inputs(golden: Golden, base: str, config: FlowConfig, lengths: Lengths) -> dict[str, Tensor]:
    """The recipe's inputs, or the file's own where it brings them."""
    prefix = golden.metadata.get("input_prefix", base)
    shapes = {
        "latent": ((lengths.latent, config.latent_dim), 1.0),
        "clip_f": ((lengths.clip, config.clip_dim), config.clip_dim**-0.5),
        "sync_f": ((lengths.sync, config.sync_dim), 1.0),
        "text_f": ((config.text_length, config.text_dim), config.text_dim**-0.5),
        "neg_text_f": ((config.text_length, config.text_dim), config.text_dim**-0.5),
    }
    return {
        name: golden.tensors.get(_INPUT + name, rand(f"{prefix}/{name}", (1, *shape), std=std))
        for name, (shape, std) in shapes.items()
    }


class _Run:
    """One network with one set of inputs; values are computed by the name they have in a golden file."""

    def __init__(self, network: FlowNetwork, inputs: dict[str, Tensor], lengths: Lengths) -> None:
        self.network = network
        self.inputs = inputs
        clip, sync, text = inputs["clip_f"], inputs["sync_f"], inputs["text_f"]
        self.conditions = {
            "cond": network.conditions(clip, sync, text, lengths.latent),
            "neg": network.empty_conditions(lengths.clip, lengths.sync, inputs["neg_text_f"], lengths.latent),
            "empty": network.empty_conditions(lengths.clip, lengths.sync, network.empty_text(1), lengths.latent),
        }
        self.tables = _tables(network.config, lengths)

    def value(self, name: str) -> Tensor:
        """The value called `name`; LookupError for a name that means nothing here."""
        kind, _, rest = name.partition(".")
        if kind in self.conditions:
            return _condition(self.conditions[kind], rest)
        if table := re.search("latent_rot|clip_rot", name):
            return self.tables[table.group()]
        if name.startswith("flow"):
            return self._flow(name)
        if name.startswith("x1"):
            x = self._sampled()
            return unnormalise(self.network, x) if "unnorm" in name else x
        raise LookupError(f"golden tensor {name} has no counterpart")

    def _flow(self, name: str) -> Tensor:
        latent, time = self.inputs["latent"], torch.tensor([_TIME])
        if "cfg" in name:
            both = self.conditions["cond"].joined(self.conditions["neg"])
            return guided_flow(self.network, latent, time, both, _GUIDANCE)
        kind = next((kind for kind in ("neg", "empty") if kind in name), "cond")
        return self.network(latent, time, self.conditions[kind])

    def _sampled(self) -> Tensor:
        if "sampled" not in self.inputs:
            both = self.conditions["cond"].joined(self.conditions["neg"])
            self.inputs["sampled"] = euler(
                self.inputs["latent"], lambda x, now: guided_flow(self.network, x, now, both, _GUIDANCE)
            )
        return self.inputs["sampled"]


def _condition(conditions: Conditions, name: str) -> Tensor:
    return {
        "clip_f": conditions.clip,
        "sync_f": conditions.sync,
        "text_f": conditions.text,
        "clip_f_c": conditions.clip_mean,
        "text_f_c": conditions.text_mean,
    }[name]


def _tables(config: FlowConfig, lengths: Lengths) -> dict[str, Tensor]:
    head_dim, cpu = config.hidden // config.heads, torch.device("cpu")
    latent = rotation(lengths.latent, head_dim, cpu)
    clip = rotation(lengths.clip, head_dim, cpu, stretch=lengths.latent / lengths.clip)
    return {"latent_rot": _matrices(latent), "clip_rot": _matrices(clip)}


def _matrices(table: Rotation) -> Tensor:
    """The reference keeps 2 × 2 rotation matrices: (1, length, head_dim / 2, 2, 2)."""
    rows = torch.stack([table.cos, -table.sin, table.sin, table.cos], dim=-1)
    return rows.unflatten(-1, (2, 2)).unsqueeze(0)
