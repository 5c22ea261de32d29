"""What the language model has read of videos, kept for the next question about the same one."""

from collections import OrderedDict
from collections.abc import Callable

from deepsound.reasoning.local.token_generation import KeyValues

PREFIX_CACHE_BYTES = 2**30
"""Of what was read of videos: about thirteen at the released sizes of VideoLLaMA2.1, in 16 bits."""


class PrefixCache:
    """Beginnings of prompts by key, the least recently used ones let go as soon as `most_bytes` are passed.

    Not for several threads at once.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, KeyValues] = OrderedDict()

    def get(self, key: str, make: Callable[[], KeyValues]) -> KeyValues:
        """The one under `key`, made where it is not kept. One too large to be kept is made each time."""
        found = self._kept.pop(key, None) or make()
        self._kept[key] = found
        while self.size > self._most_bytes:
            self._kept.popitem(last=False)
        return found

    @property
    def size(self) -> int:
        """Memory of all that is kept, in bytes."""
        return sum(one.size for one in self._kept.values())
