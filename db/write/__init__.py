"""The only code that inserts rows into the ledger's append-only tables, one module a table."""
