"""Decides which shards of a run to start, to cancel, and to mark as crashed. Pure functions, no I/O.

An item belongs to at most one live shard. An item whose worker was lost gets a shard of its own, so that a second
loss can be attributed to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from db.read.run_progress import OpenItem

SHARD_SECONDS = 300.0
"""Target duration of a shard: long compared with loading models, short enough to repeat after a loss."""

FIRST_SHARD = 16
LARGEST_SHARD = 1024
"""Items of a shard before the first measurement, and at most: Prefect accepts parameters up to 512 KiB."""

SHARDS_IN_FLIGHT = 8
"""Keeps the workers of a pool busy; hundreds of waiting flow runs block a Prefect server (its issue 19403)."""


class ShardState(StrEnum):
    """WAITING for a worker, WORKING, or VANISHED: its worker stopped without ending the flow run."""

    WAITING = "waiting"
    WORKING = "working"
    VANISHED = "vanished"


@dataclass(frozen=True, slots=True)
class Shard:
    """A `dub-shard` flow run that has not ended, with the ids of its items."""

    flow_run: str
    items: frozenset[int]
    state: ShardState


@dataclass(frozen=True, slots=True)
class ShardActions:
    """`start`: item ids of each new shard; `cancel`, `mark_crashed`: ids of flow runs; `is_finished`: the follower
    can end.
    """

    start: tuple[tuple[int, ...], ...] = ()
    cancel: tuple[str, ...] = ()
    mark_crashed: tuple[str, ...] = ()
    is_finished: bool = False


def next_shard_actions(
    open_items: Sequence[OpenItem], shards: Sequence[Shard], *, is_active: bool, size: int
) -> ShardActions:
    """Returns the next actions; `is_active` is False if the run is paused, cancelled or has spent its budget."""
    vanished = tuple(shard.flow_run for shard in shards if shard.state is ShardState.VANISHED)
    alive = [shard for shard in shards if shard.state is not ShardState.VANISHED]
    if not is_active:
        waiting = tuple(shard.flow_run for shard in alive if shard.state is ShardState.WAITING)
        return ShardActions(cancel=waiting, mark_crashed=vanished, is_finished=len(waiting) == len(alive))
    held = frozenset[int]().union(*(shard.items for shard in alive))
    free = [item for item in open_items if item.id not in held]
    start = _cut(free, size)[: max(0, SHARDS_IN_FLIGHT - len(alive))]
    return ShardActions(start=tuple(start), mark_crashed=vanished, is_finished=not alive and not free)


def shard_size(seconds_per_item: float | None) -> int:
    """Items of a shard of about five minutes; `seconds_per_item`: mean time of one worker, None if unknown."""
    if seconds_per_item is None or seconds_per_item <= 0:
        return FIRST_SHARD
    return max(1, min(LARGEST_SHARD, round(SHARD_SECONDS / seconds_per_item)))


def _cut(items: Sequence[OpenItem], size: int) -> list[tuple[int, ...]]:
    healthy = [item.id for item in items if item.deaths == 0]
    suspect = [(item.id,) for item in items if item.deaths > 0]
    return [tuple(healthy[start : start + size]) for start in range(0, len(healthy), size)] + suspect
