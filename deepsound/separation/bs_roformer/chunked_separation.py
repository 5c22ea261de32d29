"""Chunked separation: overlapping chunks, faded and averaged, as the reference lays them out.

The reference pads a mix longer than one chunk with its own mirror image, half a chunk each side, cuts chunks
half a chunk apart, and gathers them four at a time. Two of its habits decide numbers and are kept: all chunks
of a group share one window, that of the group's last chunk; and a mix between half a chunk and one chunk long
has a voice of exactly 0 at its first sample. One is dropped, which changes nothing: the chunk that lies wholly
in the mirrored tail is not computed, and neither is any other that touches nothing wanted.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsound.separation.bs_roformer.config import CHANNELS, BSRoformerConfig

Samples = NDArray[np.float32]

Read = Callable[[int, int], Samples]
"""Samples [start, stop) of the mix, as (2, stop - start)."""

Estimate = Callable[[Samples], Samples]
"""The network: chunks (k, 2, size) to the voice in each, of the same shape."""


@dataclass(frozen=True, slots=True)
class Chunking:
    """How a mix is cut, in samples: chunks of `size`, one every `step`, whose windows are decided by `group`."""

    size: int
    step: int
    group: int

    def border(self, length: int) -> int:
        """Mirrored samples on either side of a mix of `length`; none where it fits one chunk."""
        border = self.size - self.step
        return border if length > 2 * border else 0


def reference_chunking(length: int, config: BSRoformerConfig) -> Chunking:  # noqa: ARG001 - the same for every length
    """The reference's: as long as it was trained on (8 s), each sample in two chunks, four to a group."""
    return Chunking(config.chunk, config.chunk // 2, 4)


def economical_chunking(length: int, config: BSRoformerConfig) -> Chunking:
    """Nearly every sample in one chunk alone: up to one and a half (12 s) in one pass, else a tenth overlaps.

    Not the reference's numbers. Eight to ten seconds take one chunk where the reference computes five.
    """
    if length <= config.chunk * 3 // 2:
        # One frame more than the mix, so that the window's closing fade never reaches 0 within it.
        frames = length // config.hop + 1
        # The first window is centred on the first sample, and mirrors half of itself out of the chunk.
        whole = max(frames, config.window // 2 // config.hop + 1) * config.hop
        return Chunking(whole, whole, 1)
    return Chunking(config.chunk, config.chunk - config.chunk // 10, 1)


ChooseChunking = Callable[[int, BSRoformerConfig], Chunking]
"""Chooses how to cut a mix of so many samples at 44.1 kHz for a network."""

CHUNKINGS: Mapping[str, ChooseChunking] = {"reference": reference_chunking, "economical": economical_chunking}
"""By the names they are chosen by."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Samples [start, stop) of the mix; beyond its ends, of its mirror image."""

    start: int
    stop: int
    fades_in: bool
    fades_out: bool


def chunk_groups(length: int, chunking: Chunking) -> Iterator[tuple[Chunk, ...]]:
    """The groups of chunks of a mix of `length` samples, in order."""
    border = chunking.border(length)
    starts = range(-border, length + border, chunking.step)
    for first in range(0, len(starts), chunking.group):
        group = starts[first : first + chunking.group]
        alone = group[-1] == starts[0]
        last = group[-1] == starts[-1]
        yield tuple(
            Chunk(start, min(start + chunking.size, length + border), not alone, alone or not last)
            for start in group
        )


def voice_blocks(
    read: Read, length: int, wanted: Sequence[tuple[int, int]], estimate: Estimate, chunking: Chunking
) -> Iterator[Samples]:
    """The voice in a mix of `length` samples, block after block (2, n), from sample 0 to the last.

    Only what lies in `wanted`, ranges [start, stop) of samples that may reach beyond the mix, is the voice;
    elsewhere the blocks hold whatever a computed chunk left there, or 0. Memory is that of one group of chunks.
    """
    within = [(max(start, 0), min(stop, length)) for start, stop in wanted]
    summed = np.zeros((CHANNELS, chunking.size), np.float32)
    weight = np.zeros(chunking.size, np.float32)
    for group in chunk_groups(length, chunking):
        needed = [chunk for chunk in group if _touches(chunk, within)]
        voices = iter(estimate(np.stack([_cut(read, length, c, chunking) for c in needed])) if needed else ())
        for chunk in group:
            if chunk in needed:
                window = _window(chunk, chunking)
                summed[:, : len(window)] += next(voices)[:, : len(window)] * window
                weight[: len(window)] += window
            # No later chunk starts before the next step, so what lies before it is complete.
            block = _average(summed[:, : chunking.step], weight[: chunking.step])
            yield block[:, max(-chunk.start, 0) : max(length - chunk.start, 0)]
            summed, weight = _advance(summed, chunking.step), _advance(weight, chunking.step)


def _touches(chunk: Chunk, wanted: Sequence[tuple[int, int]]) -> bool:
    return any(chunk.start < stop and start < chunk.stop for start, stop in wanted)


def _cut(read: Read, length: int, chunk: Chunk, chunking: Chunking) -> Samples:
    """One chunk in full size: mirrored beyond the mix; a short last one mirrored once more, or zero-padded."""
    head = read(1, 1 - chunk.start)[:, ::-1] if chunk.start < 0 else read(0, 0)
    body = read(max(chunk.start, 0), min(chunk.stop, length))
    tail = read(2 * length - 1 - chunk.stop, length - 1)[:, ::-1] if chunk.stop > length else read(0, 0)
    # A chunk in the mirrored tail alone would start beyond the mix; it touches nothing wanted.
    whole = np.concatenate([head, body, tail], axis=1)
    lacking = chunking.size - whole.shape[1]
    mirrored = whole.shape[1] > chunking.size // 2 + 1
    return np.pad(whole, ((0, 0), (0, lacking)), mode="reflect" if mirrored else "constant")


def _window(chunk: Chunk, chunking: Chunking) -> Samples:
    """Ones, with a linear fade of a tenth of the chunk where it has one; cut, not squeezed, if it is short."""
    fade = np.linspace(0, 1, chunking.size // 10, dtype=np.float32)
    window = np.ones(chunking.size, np.float32)
    if chunk.fades_in:
        window[: len(fade)] = fade
    if chunk.fades_out:
        window[-len(fade) :] = fade[::-1]
    return window[: chunk.stop - chunk.start]


def _average(summed: Samples, weight: Samples) -> Samples:
    return np.divide(summed, weight, out=np.zeros_like(summed), where=weight > 0)


def _advance(buffer: Samples, step: int) -> Samples:
    return np.concatenate([buffer[..., step:], np.zeros_like(buffer[..., :step])], axis=-1)
