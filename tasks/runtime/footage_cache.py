"""Footage in memory: each video is decoded once by a process, however many steps or threads ask for it."""

import threading
from collections.abc import Callable
from concurrent.futures import Future

from deepsound.media.observers import Footage


class FootageCache:
    """Footage by key, made on first demand and kept until it is let go."""

    def __init__(self) -> None:
        self._made: dict[str, Future[Footage]] = {}
        self._lock = threading.Lock()

    def get(self, key: str, make: Callable[[], Footage]) -> Footage:
        """The footage under `key`; the first to ask makes it, others wait. A failure is not kept."""
        with self._lock:
            future = self._made.get(key)
            mine = future is None
            if future is None:
                future = self._made[key] = Future()
        if not mine:
            return future.result()
        try:
            footage = make()
        except BaseException as error:
            self.let_go(key)
            future.set_exception(error)
            raise
        future.set_result(footage)
        return footage

    def let_go(self, key: str) -> None:
        """Forget it; the store has what was seen."""
        with self._lock:
            self._made.pop(key, None)
