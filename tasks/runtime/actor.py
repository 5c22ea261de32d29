"""Names the person or process that gives an order, for the ledger."""

import getpass
import os
import socket


def current_actor() -> str:
    """`user@host`, or `uid-N@host` where the user database has no name for the process's user."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # Containers often run under such a user; OSError from Python 3.13 on.
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"
