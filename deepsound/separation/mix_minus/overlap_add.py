"""Streams of sound trimmed to a stretch, or worked on in overlapping windows that are cross-faded."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from deepsound.media.audio import Block, regrouped


def trim(blocks: Iterable[Block], start: int, samples: int) -> Iterator[Block]:
    """Samples [start, start + samples) of a stream; fewer if it ends before."""
    for block in blocks:
        kept = block[start : start + samples]
        start = max(start - len(block), 0)
        samples -= len(kept)
        if len(kept):
            yield kept


def process_in_windows(
    blocks: Iterable[Block], work: Callable[[Block], Block], *, hop: int, context: int, fade: int
) -> Iterator[Block]:
    """What `work` makes of a stream, given to it in windows of `hop` samples and `context` more on both sides.

    `work` answers a window with as many samples. Where one window's `hop` ends and the next begins, the first
    `fade` samples (at most `context`) go over from one answer to the other. Memory is that of one window.
    """
    bodies = regrouped(blocks, hop)
    body = next(bodies, None)
    if body is None:
        return
    before = leaving = body[:0]
    while body is not None:
        following = next(bodies, None)
        after = body[:0] if following is None else following[:context]
        done = work(np.concatenate((before, body, after)))[len(before) :]
        yield _cross_faded(leaving, done[: len(body)])
        leaving = done[len(body) : len(body) + fade]
        before, body = body[-context:], following


def _cross_faded(leaving: Block, arriving: Block) -> Block:
    """`arriving`, whose beginning is faded in while `leaving` is faded out."""
    count = min(len(leaving), len(arriving))
    if not count:
        return arriving
    rise = (np.arange(count, dtype=np.float32)[:, None] + np.float32(0.5)) / np.float32(count)
    faded = leaving[:count] * (1 - rise) + arriving[:count] * rise
    return np.concatenate((faded, arriving[count:]), dtype=np.float32)
