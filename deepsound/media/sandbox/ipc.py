"""Messages between this process and a guarded one: JSON text, and at most one file descriptor along with it.

What comes in is data. Frames travel in memory that both processes share; a message brings its descriptor.
"""

import json
import socket
from collections.abc import Mapping

from deepsound.canonical_json import Json

Message = Mapping[str, Json]

_LARGEST = 1 << 17  # bytes of a message: three paths as long as Linux lets them be, every byte escaped


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends that keep messages apart and notice each other's end."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(end: socket.socket, message: Message, fd: int | None = None) -> None:
    """Send a message and a descriptor. Raises OSError where the other side is gone."""
    data = json.dumps(message).encode()
    if fd is None:
        end.send(data)
    else:
        socket.send_fds(end, [data], [fd])


def receive(end: socket.socket) -> tuple[Message, int | None]:
    """The next message and its descriptor, which is the caller's to close.

    Raises EOFError where the other side is gone, TimeoutError, ValueError for what is no JSON.
    """
    try:
        data, fds, _, _ = socket.recv_fds(end, _LARGEST, 1, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError as error:
        raise EOFError from error
    if not data:
        raise EOFError
    return json.loads(data), fds[0] if fds else None
