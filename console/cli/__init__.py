"""The `deepsound` command: one module a subcommand."""
