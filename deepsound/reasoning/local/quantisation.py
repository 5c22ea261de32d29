"""The linear layers of the language model in 4 or 8 bits, through bitsandbytes where that is installed.

Only the layers between embedding and head are: they hold most of the weights, while the head chooses the words,
and eyes, ears and projectors are small beside them.
"""

import importlib
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import torch
from torch import nn

from deepsound.errors import BadSettingsError

# Inputs beyond this are outliers, which stay in 16 bits (Dettmers et al., arXiv 2208.07339).
_OUTLIER = 6.0


class Precision(StrEnum):
    """In how many bits the language model's layers are held."""

    AS_LOADED = ""
    """In those of the dtype they are loaded in."""
    BITS_4 = "4bit"
    """NF4 (Dettmers et al., arXiv 2305.14314)."""
    BITS_8 = "8bit"
    """LLM.int8() (Dettmers et al., arXiv 2208.07339)."""


def parse_precision(name: str, backend: str) -> Precision:
    """The precision called `name`. Raises BadSettingsError if there is none, or none here."""
    if name not in list(Precision):
        raise BadSettingsError(
            f"there is no precision {name!r}",
            where=f"reasoner {backend!r}",
            remedy=f"name it as {backend}, {' or '.join(f'{backend}:{one}' for one in Precision if one)}",
        )
    precision = Precision(name)
    if precision is not Precision.AS_LOADED:
        _bitsandbytes()
    return precision


def quantise(
    layers: Iterable[nn.Module], precision: Precision, *, dtype: torch.dtype, device: torch.device
) -> None:
    """Put quantised layers on `device` in the place of the linear ones in `layers`, which compute in `dtype`.

    One after the other, so that the whole never lies in memory twice. Raises BadSettingsError without
    bitsandbytes.
    """
    if precision is Precision.AS_LOADED:
        return
    bnb = _bitsandbytes()
    make = _in_4_bits if precision is Precision.BITS_4 else _in_8_bits
    for layer in layers:
        for name, module in list(layer.named_modules()):
            if isinstance(module, nn.Linear):
                parent, _, last = name.rpartition(".")
                setattr(layer.get_submodule(parent), last, make(bnb, module, dtype).to(device))


def _in_4_bits(bnb: Any, linear: nn.Linear, dtype: torch.dtype) -> nn.Module:
    made = bnb.nn.Linear4bit(
        linear.in_features, linear.out_features, _bias(linear) is not None, compute_dtype=dtype, quant_type="nf4"
    )
    made.weight = bnb.nn.Params4bit(linear.weight.to(dtype), requires_grad=False, quant_type="nf4")
    return _with_bias(made, linear, dtype)


def _in_8_bits(bnb: Any, linear: nn.Linear, dtype: torch.dtype) -> nn.Module:
    made = bnb.nn.Linear8bitLt(
        linear.in_features,
        linear.out_features,
        _bias(linear) is not None,
        has_fp16_weights=False,
        threshold=_OUTLIER,
    )
    made.weight = bnb.nn.Int8Params(linear.weight.to(dtype), requires_grad=False, has_fp16_weights=False)
    return _with_bias(made, linear, dtype)


def _with_bias(made: nn.Module, linear: nn.Linear, dtype: torch.dtype) -> nn.Module:
    if (bias := _bias(linear)) is not None:
        made.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
    return made


def _bias(linear: nn.Linear) -> nn.Parameter | None:
    return dict(linear.named_parameters()).get("bias")


def _bitsandbytes() -> Any:
    try:
        return importlib.import_module("bitsandbytes")
    except ImportError as error:
        raise BadSettingsError(
            f"4 and 8 bits need bitsandbytes, which can't be imported ({error})",
            where="precision",
            remedy="run `pip install bitsandbytes`, or leave the precision out of the reasoner's name",
        ) from error
