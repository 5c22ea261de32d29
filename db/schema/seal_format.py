"""What a seal covers and how it is serialized and signed, so that a seal can be checked outside the ledger.

A seal records the length of every chain: retries and reviews after the seal make chains longer, and its links must
still be their beginning. The Merkle root has one leaf for the run's events and one for each item.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from db.schema.merkle import merkle_root
from db.schema.tables import SealRow, table_of
from deepsound.canonical_json import Json, canonical_json

ALGORITHM = "Ed25519, RFC 6962 with SHA-256"

SEAL_COLUMNS = frozenset(column.name for column in table_of(SealRow).columns) - {"id"}
"""The columns of a seal that are its content: all but the id, which the database assigns."""


class Head(NamedTuple):
    """The number of links of a chain after its start, and the hash of the last one."""

    links: int
    hash: str


def head_of(hashes: Sequence[str]) -> Head:
    """Returns the head of a chain; `hashes` are its start and then each link."""
    return Head(len(hashes) - 1, hashes[-1])


@dataclass(frozen=True, slots=True)
class SealContent:
    """What a seal covers: the run's events, its items by ordinal, and the previous seal (run, hash), if any."""

    events: Head
    items: Mapping[int, Head]
    previous: tuple[str, str] | None

    @property
    def root(self) -> str:
        """The Merkle root over the heads, that of the events first."""
        of_items = (canonical_json(("item", ordinal, *head)) for ordinal, head in self.items.items())
        return merkle_root([leaf.encode() for leaf in (canonical_json(("run", *self.events)), *of_items)])

    def to_text(self) -> str:
        """Returns the content as canonical JSON, for the column `witness`."""
        items: list[Json] = [[ordinal, *head] for ordinal, head in self.items.items()]
        return canonical_json({"events": [*self.events], "items": items, "previous": self.previous})

    @classmethod
    def from_text(cls, text: str) -> "SealContent":
        """Parses the column `witness`. Raises ValueError for anything but the content of a seal."""
        try:
            content = cast(dict[str, Any], json.loads(text))
            items = {int(ordinal): Head(int(links), str(head)) for ordinal, links, head in content["items"]}
            events, previous = Head(int(content["events"][0]), str(content["events"][1])), content["previous"]
            return cls(events, items, None if previous is None else (str(previous[0]), str(previous[1])))
        except (LookupError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError("it names no chains") from error


def signed_bytes(seal_hash: str) -> bytes:
    """Returns what is signed for a seal with this hash. The prefix keeps the signature from any other use."""
    return f"deepsound seal 1\n{seal_hash}\n".encode()
