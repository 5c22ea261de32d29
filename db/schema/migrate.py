"""Creates or updates a ledger's tables; safe when several processes do it at the same time."""

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text

from deepsound.errors import BadSettingsError

_LOCK = 0x6465657073  # key of PostgreSQL's advisory lock: any number, the same in every release


def migrate(connection: Connection, where: str) -> None:
    """Runs all missing migrations inside the caller's transaction.

    A second process waits for the lock and then finds nothing to do. `where` names the ledger in errors. Raises
    BadSettingsError for a ledger written by a newer release.
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
