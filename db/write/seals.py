"""Seals: what a closed run's chains came to, signed, each seal naming the one before it in the whole ledger.

What was done after a seal (a retry, a review) makes chains longer, so a seal says how long each was. The rows of
this module are those of `seal`; `witness` holds, as canonical JSON, what the Merkle root is over.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import exists, insert, select, text
from sqlalchemy.orm import Session

from db.schema.column_types import stored
from db.schema.hashing import run_hash, seal_hash
from db.schema.merkle import merkle_root
from db.schema.tables import (
    AttemptRow,
    ItemRow,
    RetryRow,
    ReviewRow,
    RunEventRow,
    RunRow,
    SealRow,
    WorkRow,
    row_values,
    table_of,
)
from db.state.lease_queue import IS_OPEN
from db.write.run_events import locked_run
from deepsound.canonical_json import Json, canonical_json

ALGORITHM = "Ed25519, RFC 6962 with SHA-256"

SEAL_COLUMNS = frozenset(column.name for column in table_of(SealRow).columns) - {"id"}
"""What a seal says; the number the database gives it is not part of that."""

_CHUNK = 500
_LOCK = 0x7365616C73  # any number will do, as long as every release uses the same


class Head(NamedTuple):
    """How many links a chain has after what it starts from, and the hash of the last."""

    links: int
    hash: str


@dataclass(frozen=True, slots=True)
class ItemChain:
    """The chain of one item, by its place in the run's list: what it starts from, then the hash of each link."""

    item_id: int
    ordinal: int
    hashes: Sequence[str]


@dataclass(frozen=True, slots=True)
class SealContent:
    """What a seal is of: the run's events, its items by their place, and the seal before (run, hash), if any."""

    events: Head
    items: Mapping[int, Head]
    previous: tuple[str, str] | None

    @property
    def root(self) -> str:
        """The Merkle root over the heads, that of the events first."""
        of_items = (canonical_json(("item", ordinal, *head)) for ordinal, head in self.items.items())
        return merkle_root([leaf.encode() for leaf in (canonical_json(("run", *self.events)), *of_items)])

    def to_text(self) -> str:
        """As it is kept."""
        items: list[Json] = [[ordinal, *head] for ordinal, head in self.items.items()]
        return canonical_json({"events": [*self.events], "items": items, "previous": self.previous})

    @classmethod
    def from_text(cls, kept: str) -> "SealContent":
        """As it was kept. Raises ValueError where it is none."""
        try:
            said = cast(dict[str, Any], json.loads(kept))
            items = {int(ordinal): Head(int(links), str(head)) for ordinal, links, head in said["items"]}
            events, previous = Head(int(said["events"][0]), str(said["events"][1])), said["previous"]
            return cls(events, items, None if previous is None else (str(previous[0]), str(previous[1])))
        except (LookupError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError("it names no chains") from error


def seal_run(session: Session, run_id: str, key: Ed25519PrivateKey) -> bool:
    """Seal a run as it stands. False where it has open steps, or where its last seal holds all of it already.

    Raises DeepSoundError (BAD_SETTINGS: no such run).
    """
    # Whoever takes back a step locks the run too, so nothing opens until this is written.
    run = locked_run(session, run_id)
    if has_open_steps(session, run_id):
        return False
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    events = event_chain(session, run)
    items = {chain.ordinal: head_of(chain.hashes) for chain in item_chains(session, run_id)}
    last = session.scalar(select(SealRow).order_by(SealRow.id.desc()).limit(1))
    witness = SealContent(
        head_of(events), items, None if last is None else (last.run_id, seal_hash(row_values(last)))
    )
    of_run = select(SealRow.merkle_root).where(SealRow.run_id == run_id).order_by(SealRow.id.desc()).limit(1)
    if session.scalar(of_run) == witness.root:
        return False
    row = stored(
        table_of(SealRow),
        {
            "run_id": run_id,
            "created_at": datetime.now(UTC),
            "items": len(items),
            "merkle_root": witness.root,
            "algorithm": ALGORITHM,
            "public_key": key.public_key().public_bytes_raw().hex(),
            "witness": witness.to_text(),
        },
    )
    signature = key.sign(signed_bytes(seal_hash(row))).hex()
    session.execute(insert(table_of(SealRow)), {**row, "signature": signature})
    return True


def all_seals(session: Session) -> Iterator[Mapping[str, Any]]:
    """Every seal, oldest first, as its row without the number the database gave it; one in memory at a time."""
    for seal in session.scalars(select(SealRow).order_by(SealRow.id)).yield_per(1):
        yield {name: value for name, value in row_values(seal).items() if name in SEAL_COLUMNS}
        session.expunge(seal)


def signed_bytes(sealed: str) -> bytes:
    """What is signed of a seal with this hash: the key may be used for other things too."""
    return f"deepsound seal 1\n{sealed}\n".encode()


def has_open_steps(session: Session, run_id: str) -> bool:
    """Whether something of a run is left to do."""
    return bool(
        session.scalar(select(exists().where(ItemRow.run_id == run_id, WorkRow.item_id == ItemRow.id, IS_OPEN)))
    )


def head_of(hashes: Sequence[str]) -> Head:
    """The last link of a chain; `hashes` begin with what it starts from."""
    return Head(len(hashes) - 1, hashes[-1])


def event_chain(session: Session, run: RunRow) -> list[str]:
    """The chain of what was done to a run: its own hash, then that of each event."""
    events = select(RunEventRow.hash).where(RunEventRow.run_id == run.id).order_by(RunEventRow.seq)
    return [run_hash(row_values(run)), *session.scalars(events)]


def item_chains(session: Session, run_id: str) -> Iterator[ItemChain]:
    """The chain of each item of a run, in order; as far as link follows link."""
    columns = (ItemRow.id, ItemRow.ordinal, ItemRow.hash)
    rows = (
        session.execute(select(*columns).where(ItemRow.run_id == run_id).order_by(ItemRow.ordinal)).tuples().all()
    )
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        following = _following(session, [item_id for item_id, *_ in chunk])
        for item_id, ordinal, first in chunk:
            yield ItemChain(item_id, ordinal, list(_walk(first, following[item_id])))


def _following(session: Session, item_ids: Sequence[int]) -> dict[int, dict[str, str]]:
    """Of each item, the hash of each link by that of the link before it."""
    following: dict[int, dict[str, str]] = {item_id: {} for item_id in item_ids}
    for kind in (AttemptRow, RetryRow, ReviewRow):
        links = select(kind.item_id, kind.previous_hash, kind.hash).where(kind.item_id.in_(item_ids))
        for item_id, previous, link in session.execute(links).tuples():
            following[item_id][previous] = link
    return following


def _walk(first: str, following: dict[str, str]) -> Iterable[str]:
    link: str | None = first
    while link is not None:
        yield link
        # Taken out, so that a chain bent into a ring ends too.
        link = following.pop(link, None)
