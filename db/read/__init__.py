"""Queries on the ledger. Nothing here writes."""
