"""Brings a ledger's tables up to date, however many processes try at once."""

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text

from deepsound.errors import BadSettingsError

_LOCK = 0x6465657073  # any number will do, as long as every release uses the same


def migrate(connection: Connection, where: str) -> None:
    """Create or update the tables inside the caller's transaction: all of it or nothing.

    A second process waits at the lock and then finds nothing to do. Raises DeepSoundError(BAD_SETTINGS) for a
    ledger written by a newer release.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    config = Config()
    config.set_main_option("script_location", "db.schema:migrations")
    if MigrationContext.configure(connection).get_current_revision() == _newest(config):
        return
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise BadSettingsError(
            "this ledger was written by a newer release",
            where=where,
            remedy="update deepsound, or name another ledger",
        ) from error


def _newest(config: Config) -> str | None:
    return ScriptDirectory.from_config(config).get_current_head()
