"""Keeps footage in memory, so that each process decodes a video once for all its steps and threads."""

import threading
from collections.abc import Callable
from concurrent.futures import Future

from deepsound.media.observers import Footage


class FootageCache:
    """Footage by key, made on first demand and kept until it is evicted."""

    def __init__(self) -> None:
        self._made: dict[str, Future[Footage]] = {}
        self._lock = threading.Lock()

    def get(self, key: str, make: Callable[[], Footage]) -> Footage:
        """The footage under `key`. The first thread that asks makes it, the others wait. A failure is not kept."""
        with self._lock:
            future = self._made.get(key)
            is_first = future is None
            if future is None:
                future = self._made[key] = Future()
        if not is_first:
            return future.result()
        try:
            footage = make()
        except BaseException as error:
            self.evict(key)
            future.set_exception(error)
            raise
        future.set_result(footage)
        return footage

    def evict(self, key: str) -> None:
        """Drop the footage under `key`, if there is any."""
        with self._lock:
            self._made.pop(key, None)
