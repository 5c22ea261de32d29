"""Checks of the ledger against its own hashes, seals and run lists."""
