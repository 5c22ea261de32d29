"""Runs inside `db.schema.migrate.migrate`, which hands over a connection that already holds the lock."""

from alembic import context

from db.schema.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
