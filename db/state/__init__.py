"""The mutable part of the ledger: which steps are open, who holds a lease, what a run may still spend."""
