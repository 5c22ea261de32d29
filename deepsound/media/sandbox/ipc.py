"""Messages between parent and sandboxed process: JSON text, with at most one file descriptor.

Incoming messages are data and never code: no pickle. Large blocks travel in shared memory, and a message carries
the descriptor of that memory.
"""

import json
import mmap
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from deepsound.canonical_json import Json

Message = Mapping[str, Json]

_LARGEST = 1 << 17  # bytes of a message: three paths as long as Linux lets them be, every byte escaped


def pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected ends that preserve message boundaries and detect that the other end is closed."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(end: socket.socket, message: Message, fd: int | None = None) -> None:
    """Send a message and a descriptor. Raises OSError if the other end is closed."""
    data = json.dumps(message).encode()
    if fd is None:
        end.send(data)
    else:
        socket.send_fds(end, [data], [fd])


def receive(end: socket.socket) -> tuple[Message, int | None]:
    """Return the next message and its descriptor, which the caller closes.

    Raises EOFError if the other end is closed, TimeoutError, and ValueError if the message is not JSON.
    """
    try:
        data, fds, _, _ = socket.recv_fds(end, _LARGEST, 1, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError as error:
        raise EOFError from error
    if not data:
        raise EOFError
    return json.loads(data), fds[0] if fds else None


@dataclass(frozen=True, slots=True)
class SharedBlock:
    """Bytes that the sandboxed process wrote to shared memory, and a `header` that describes them."""

    header: Json
    fd: int
    _views: list[mmap.mmap] = field(default_factory=list[mmap.mmap])

    def view(self, size: int) -> mmap.mmap:
        """Map the first `size` bytes; what is written to the view is visible in no other view."""
        view = mmap.mmap(self.fd, size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
        self._views.append(view)
        return view

    def release(self) -> bool:
        """Close the views. Returns False if one is still in use, so that the memory can't be reused."""
        try:
            for view in self._views:
                view.close()
        except BufferError:
            return False
        return True
