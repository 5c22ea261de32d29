"""The declarative base of the ledger's tables, the column types they share, and conversions of rows."""

from sqlalchemy import JSON, MetaData, String, Table
from sqlalchemy.orm import DeclarativeBase

from db.schema.column_types import Values

SHA256 = String(64)
NULLABLE_JSON = JSON(none_as_null=True)


class Base(DeclarativeBase):
    """Names every constraint the same way on both databases, so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def table_of(row: type[Base]) -> Table:
    """Returns the table behind a row class."""
    return Base.metadata.tables[row.__tablename__]


def row_values(row: Base) -> Values:
    """Returns a loaded row as values by column name."""
    return {name: getattr(row, name) for name in table_of(type(row)).columns.keys()}  # noqa: SIM118 - no dict
