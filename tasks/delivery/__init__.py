"""Copies published artifacts to where people find them, with a sidecar that names the decision."""
