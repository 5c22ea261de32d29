"""What an audit finds wrong: rows that were changed, are missing or were added."""

from dataclasses import dataclass
from enum import StrEnum

UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""Raised when a manipulated row is loaded or hashed: an invalid time, an unknown step, JSON of another shape.

SQLite stores a value of any type in any column.
"""


class Problem(StrEnum):
    """What is wrong with a row."""

    CHANGED = "changed"
    MISSING = "missing"
    ADDED = "added"


@dataclass(frozen=True, slots=True)
class IntegrityFinding:
    """A row that is not as it was written, e.g. `attempt 3 (judge, round 1), thought 2`. No item: a run's row."""

    item_id: int | None
    row: str
    problem: Problem
    detail: str
