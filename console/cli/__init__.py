"""The `deepsound` command: one module for each subcommand."""
