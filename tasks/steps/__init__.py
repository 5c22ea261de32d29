"""The steps of the chain, one module each, and the runner that all of them share."""
