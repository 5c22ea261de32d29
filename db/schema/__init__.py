"""The ledger's tables, their hashing, and migrations."""
