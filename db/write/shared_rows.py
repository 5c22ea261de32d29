"""Inserts rows of content that runs and attempts share, each once.

Writes the tables `document`, `code_version`, `environment`, `model`, `artifact` and `video`.
"""

from collections.abc import Sequence

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.schema.column_types import Values
from db.schema.tables import Base, table_of


def insert_shared(session: Session, kind: type[Base], rows: Sequence[Values]) -> None:
    """Inserts the rows whose key is new, in order of the keys, so that two writers can't deadlock."""
    if not rows:
        return
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    unique = {row["sha256"]: row for row in rows}
    ordered = [unique[sha256] for sha256 in sorted(unique)]
    session.execute(dialect.insert(table_of(kind)).on_conflict_do_nothing(), ordered)
