"""Step 4: is a sound silent? The reference's rule, on the energy of all channels.

Reference (DeepSound-V1, pipeline/step4.py): the RMS of frames of 2048 samples, 512 apart and centred as
librosa centres them, in dB re full scale; silent where more than 90 % of the frames lie below −50 dB. One
thing differs: power is averaged over the channels, where the reference averages their samples first and so
takes stereo in opposite phase for silence.

What the rule can't do, kept because results must compare with the reference's: the −50 dB are absolute, so a
faint recording is silent until it is turned up; and a sound that fills less than a tenth of the time, such as
one blow in ten seconds, counts as silence however loud it is.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepsound.media.audio import Block, read_blocks

QUIET_DBFS = -50.0
"""A frame whose RMS lies below this level, in dB re full scale (±1), is quiet."""

QUIET_SHARE = 0.9
"""A sound is silent where more than this share of its frames is quiet."""

FRAME = 2048
HOP = 512

_HOPS_A_FRAME = FRAME // HOP
_BLOCK = 1024 * HOP


@dataclass(frozen=True, slots=True)
class Silence:
    """How much of a sound is quiet: the share of its frames below `QUIET_DBFS`, in [0, 1]."""

    quiet_share: float

    @property
    def is_silent(self) -> bool:
        """True where nothing worth hearing is left."""
        return self.quiet_share > QUIET_SHARE


def measure_silence(path: Path) -> Silence:
    """Measure a sound file of any rate, channels and length, in blocks. A sound without samples is silent.

    Raises DeepSoundError: what `read_blocks` raises for the file.
    """
    energies = [np.zeros(0)]
    samples = 0
    for block in read_blocks(path, _BLOCK):
        energies.append(_hop_energies(block))
        samples += len(block)
    if not samples:
        return Silence(1.0)
    power = _frame_powers(np.concatenate(energies), samples)
    return Silence(float(np.mean(power < 10 ** (QUIET_DBFS / 10))))


def _hop_energies(block: Block) -> NDArray[np.float64]:
    """Energy of every 512 samples, averaged over the channels; silence fills the last ones."""
    squares = np.square(block, dtype=np.float64).mean(axis=1)
    return np.pad(squares, (0, -len(squares) % HOP)).reshape(-1, HOP).sum(axis=1)


def _frame_powers(energies: NDArray[np.float64], samples: int) -> NDArray[np.float64]:
    """Mean square of each centred frame; beyond both ends of the sound lies silence."""
    padded = np.pad(energies, _HOPS_A_FRAME // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _HOPS_A_FRAME)
    return frames[: samples // HOP + 1].sum(axis=1) / FRAME
