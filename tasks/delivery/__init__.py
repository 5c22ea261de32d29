"""Copies published artifacts to the output folder or bucket, with a sidecar that names the decision."""
