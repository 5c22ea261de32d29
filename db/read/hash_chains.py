"""Reads hash chains: of an item (attempts, retries, reviews) and of a run's events."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.schema.hashing import run_hash
from db.schema.tables import AttemptRow, ItemRow, RetryRow, ReviewRow, RunEventRow, RunRow, row_values

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class ItemChain:
    """The chain of one item: `hashes` are its start and then each link. `ordinal` is its place in the manifest."""

    item_id: int
    ordinal: int
    hashes: Sequence[str]


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """How many attempts and retries an item's chain has, and the hash that its next link follows."""

    attempts: int
    retries: int
    hash: str


def event_chain(session: Session, run: RunRow) -> list[str]:
    """Returns the hashes of a run's event chain: its start, then each event."""
    events = select(RunEventRow.hash).where(RunEventRow.run_id == run.id).order_by(RunEventRow.seq)
    return [run_hash(row_values(run)), *session.scalars(events)]


def item_chains(session: Session, run_id: str) -> Iterator[ItemChain]:
    """Yields the chain of each item of a run, in order, up to the first link that nothing follows."""
    columns = (ItemRow.id, ItemRow.ordinal, ItemRow.hash)
    rows = (
        session.execute(select(*columns).where(ItemRow.run_id == run_id).order_by(ItemRow.ordinal)).tuples().all()
    )
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        following = _following(session, [item_id for item_id, *_ in chunk])
        for item_id, ordinal, first in chunk:
            yield ItemChain(item_id, ordinal, list(_walk(first, following[item_id])))


def chain_ends(session: Session, item_ids: Sequence[int]) -> dict[int, ChainEnd]:
    """Returns the end of each item's chain: a review, until the retry that follows it is written."""
    starts = session.execute(select(ItemRow.id, ItemRow.hash).where(ItemRow.id.in_(item_ids))).tuples()
    ends = {item_id: ChainEnd(0, 0, start) for item_id, start in starts}
    attempts = select(AttemptRow.item_id, AttemptRow.seq, AttemptRow.hash).where(AttemptRow.item_id.in_(item_ids))
    for item_id, seq, link in session.execute(attempts.order_by(AttemptRow.item_id, AttemptRow.seq)):
        ends[item_id] = ChainEnd(seq, 0, link)
    columns = (RetryRow.item_id, RetryRow.seq, RetryRow.after, RetryRow.hash)
    retries = select(*columns).where(RetryRow.item_id.in_(item_ids))
    for item_id, seq, after, link in session.execute(retries.order_by(RetryRow.item_id, RetryRow.seq)):
        last = ends[item_id]
        ends[item_id] = ChainEnd(last.attempts, seq, link if after == last.attempts else last.hash)
    reviews = select(ReviewRow.item_id, ReviewRow.previous_hash, ReviewRow.hash).where(
        ReviewRow.item_id.in_(item_ids)
    )
    for item_id, previous, link in session.execute(reviews):
        if previous == ends[item_id].hash:
            ends[item_id] = replace(ends[item_id], hash=link)
    return ends


def _following(session: Session, item_ids: Sequence[int]) -> dict[int, dict[str, str]]:
    """Returns, by item id, the hash of each link by the hash of the link before it."""
    following: dict[int, dict[str, str]] = {item_id: {} for item_id in item_ids}
    for kind in (AttemptRow, RetryRow, ReviewRow):
        links = select(kind.item_id, kind.previous_hash, kind.hash).where(kind.item_id.in_(item_ids))
        for item_id, previous, link in session.execute(links).tuples():
            following[item_id][previous] = link
    return following


def _walk(first: str, following: dict[str, str]) -> Iterator[str]:
    link: str | None = first
    while link is not None:
        yield link
        # Removes the link, so that a manipulated chain that is a ring ends too.
        link = following.pop(link, None)
