"""Questions that threads ask of a reasoner at the same moment."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from deepsound.reasoning.protocol import Reply


def ask_together(ask: Callable[[int], Reply], count: int) -> list[Reply]:
    """What `ask` is told for each number below `count`, each from a thread of its own."""
    together = Barrier(count)

    def asked(number: int) -> Reply:
        together.wait()
        return ask(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(asked, range(count)))


def check_same_in_company(beside: Sequence[Reply], alone: Sequence[Reply]) -> None:
    """Some were answered in one batch, and each as it was alone."""
    assert max(int(str(one.parameters["batch"])) for one in beside) > 1
    for mine, theirs in zip(beside, alone, strict=True):
        assert (mine.raw, mine.form) == (theirs.raw, theirs.form)
        assert (mine.prompt_tokens, mine.reply_tokens) == (theirs.prompt_tokens, theirs.reply_tokens)
        assert mine.probability == (theirs.probability and pytest.approx(theirs.probability, abs=1e-4))
