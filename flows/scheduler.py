"""Which shards to start, take back or give up next: what an archive run does about what it sees. Pure.

Items are handed out once: one that a live shard holds is not given to another. A video during which a worker
vanished gets a shard of its own, so that a second loss can be blamed on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from db.read.run_progress import OpenItem

SHARD_SECONDS = 300.0
"""What a shard should take: long enough for its models to be worth loading, short enough to lose."""

FIRST_SHARD = 16
LARGEST_SHARD = 1024
"""Before anything was measured, and at most: Prefect takes parameters up to 512 KiB."""

SHARDS_IN_FLIGHT = 8
"""Enough to keep the workers of a pool busy; hundreds of waiting runs block a Prefect server (its issue 19403)."""


class ShardState(StrEnum):
    """Where a shard is: waiting for a worker, at work, or gone without having said so."""

    WAITING = "waiting"
    WORKING = "working"
    VANISHED = "vanished"


@dataclass(frozen=True, slots=True)
class Shard:
    """A flow run that has not ended, with the items it was given."""

    flow_run: str
    items: frozenset[int]
    state: ShardState


@dataclass(frozen=True, slots=True)
class ShardActions:
    """What to do now. `is_finished`: nothing is left to follow."""

    start: tuple[tuple[int, ...], ...] = ()
    cancel: tuple[str, ...] = ()
    mark_crashed: tuple[str, ...] = ()
    is_finished: bool = False


def next_shard_actions(
    open_items: Sequence[OpenItem], shards: Sequence[Shard], *, may_go_on: bool, size: int
) -> ShardActions:
    """What an archive run does next; `may_go_on` is false once it was paused, cancelled or is out of budget."""
    lost = tuple(shard.flow_run for shard in shards if shard.state is ShardState.VANISHED)
    alive = [shard for shard in shards if shard.state is not ShardState.VANISHED]
    if not may_go_on:
        waiting = tuple(shard.flow_run for shard in alive if shard.state is ShardState.WAITING)
        return ShardActions(cancel=waiting, mark_crashed=lost, is_finished=len(waiting) == len(alive))
    held = frozenset[int]().union(*(shard.items for shard in alive))
    free = [item for item in open_items if item.id not in held]
    start = _cut(free, size)[: max(0, SHARDS_IN_FLIGHT - len(alive))]
    return ShardActions(start=tuple(start), mark_crashed=lost, is_finished=not alive and not free)


def shard_size(seconds_per_item: float | None) -> int:
    """How many videos make a shard of about five minutes; `seconds_per_item` of one worker, None: not known."""
    if seconds_per_item is None or seconds_per_item <= 0:
        return FIRST_SHARD
    return max(1, min(LARGEST_SHARD, round(SHARD_SECONDS / seconds_per_item)))


def _cut(items: Sequence[OpenItem], size: int) -> list[tuple[int, ...]]:
    company = [item.id for item in items if item.deaths == 0]
    alone = [(item.id,) for item in items if item.deaths > 0]
    return [tuple(company[start : start + size]) for start in range(0, len(company), size)] + alone
