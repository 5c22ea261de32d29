"""Golden files: tensors the reference models made, and how near ours came."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

RELATIVE_TOLERANCE = 1e-4
"""Largest ‖out − golden‖ / ‖golden‖ that passes, in float32."""


@dataclass(frozen=True, slots=True)
class Golden:
    """One golden file: its name without suffix, its tensors by name, and the recipe in its metadata."""

    name: str
    folder: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far one value is from its golden value. `relative` is ‖difference‖ / ‖golden‖."""

    name: str
    max_difference: float
    relative: float
    passed: bool
    note: str = ""


def read_golden(path: Path) -> Golden:
    """Everything in one golden file."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        return Golden(path.stem, path.parent, tensors, file.metadata() or {})


def compare(name: str, ours: Tensor, golden: Tensor, *, tolerance: float = RELATIVE_TOLERANCE) -> Comparison:
    """`ours` against `golden`: within `tolerance` for floating-point values, equal for integers."""
    if ours.shape != golden.shape:
        note = f"shape {tuple(ours.shape)}, expected {tuple(golden.shape)}"
        return Comparison(name, float("inf"), float("inf"), False, note)
    if not golden.is_floating_point():
        tolerance = 0.0
    difference = ours.detach().double() - golden.double()
    norm = float(torch.linalg.vector_norm(golden.double()))
    distance = float(torch.linalg.vector_norm(difference))
    relative = distance / norm if norm > 0 else distance
    # A NaN compares false, so it never passes.
    return Comparison(name, float(difference.abs().max()), relative, relative <= tolerance)


def compare_digest(digest: str, golden: Golden, key: str = "weights_sha256") -> Comparison:
    """The hash over all filled weights: it differs where a state-dict name or shape differs."""
    same = digest == golden.metadata.get(key)
    note = "" if same else f"{digest[:12]}…, expected {golden.metadata.get(key, 'one')[:12]}…"
    return Comparison(key, 0.0 if same else float("inf"), 0.0 if same else float("inf"), same, note)
