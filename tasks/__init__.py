"""One module a step: look in the ledger, call the engine, store the artifact, write the ledger."""
