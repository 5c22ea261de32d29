"""Who gives an order, as the ledger names them."""

import getpass
import socket


def current_actor() -> str:
    """`user@host`; a process without a name in the user database is called by its number."""
    try:
        user = getpass.getuser()
    except (
        KeyError,
        OSError,
    ):  # Containers run under numbers nobody entered anywhere; OSError from Python 3.13 on.
        import os

        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"
