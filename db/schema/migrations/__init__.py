"""Every change of the schema, as Alembic revisions."""
