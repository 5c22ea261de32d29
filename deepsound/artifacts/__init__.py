"""Content-addressed stores for immutable bytes."""
