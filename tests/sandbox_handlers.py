"""Handlers for tests of the sandbox: they have nothing to do with media."""

import errno
import os

from deepsound.canonical_json import Json
from deepsound.media.sandbox.child_channel import ChildChannel
from deepsound.media.sandbox.ipc import Message


def _double(request: Message, channel: ChildChannel) -> dict[str, Json]:
    return {"number": 2 * int(str(request["number"]))}


def _fill_disk(request: Message, channel: ChildChannel) -> dict[str, Json]:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _exhaust_memory(request: Message, channel: ChildChannel) -> dict[str, Json]:
    raise RuntimeError("std::bad_alloc")


HANDLERS = {"double": _double, "fill_disk": _fill_disk, "exhaust_memory": _exhaust_memory}
