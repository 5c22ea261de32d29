"""The ways to run the network, by what stands after the colon of the separator's name."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal

from deepsound.errors import BadSettingsError
from deepsound.separation.bs_roformer.chunked_separation import CHUNKINGS

Precision = Literal["float32", "bfloat16"]
_PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
_REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class BSRoformerMode:
    """Precision of the matrix products, and a name of `chunks.CHUNKINGS`."""

    precision: Precision
    windows: str

    @property
    def suffix(self) -> str:
        """What stands after the name of a separator that works so; the reference's own way has none."""
        words = [word for word in (self.precision, self.windows) if word not in ("float32", _REFERENCE)]
        return f":{'-'.join(words)}" if words else ""


MODES: Mapping[str, BSRoformerMode] = {
    "-".join(word for word in said if word): BSRoformerMode(said[0] or "float32", said[1] or _REFERENCE)
    for said in product((None, *_PRECISIONS), (None, *CHUNKINGS))
}
"""By what stands after the colon: precision, then windows, either of which may be left out."""


def parse_mode(name: str) -> BSRoformerMode:
    """One of `MODES`. Raises BadSettingsError."""
    if name not in MODES:
        told = dict.fromkeys(mode.suffix for mode in MODES.values())
        remedy = f"choose one of: {', '.join(f'bs-roformer{suffix}' for suffix in told)}"
        raise BadSettingsError(f"there is no mode {name!r}", where="bs-roformer", remedy=remedy)
    return MODES[name]
