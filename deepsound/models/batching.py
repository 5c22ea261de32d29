"""Requests that threads of one process make at the same time become batches; each gets its own answer.

There is no thread behind it: whichever waiting thread finds a batch due runs it for all. So nothing is left over
when a process ends, and an idle batcher costs nothing.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Generator, Hashable, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from deepsound.errors import DeepSoundError, MemoryExhaustedError, is_out_of_memory

log = logging.getLogger(__name__)

Request = TypeVar("Request")
Result = TypeVar("Result")

_REMEMBERED_SECONDS = 600.0
"""How long the size that did not fit is avoided: what else took the memory may be gone by then."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What bounds a batch: how many requests, what they cost together in the backend's own unit, and for how
    many seconds it is held back, nothing else being run, while more requests may come.
    """

    requests: int
    cost: float = math.inf
    wait: float = 0.0


@dataclass(slots=True, eq=False)
class _Call(Generic[Request, Result]):
    """A request on its way, and who asked. `alone` once a batch with it has failed."""

    request: Request
    asker: object
    cost: float
    kind: Hashable
    since: float
    alone: bool = False
    answer: Future[Result] = field(default_factory=Future[Result])


class Batcher(Generic[Request, Result]):
    """Gives `run` requests of one `kind` at a time, oldest first, and never two batches at once.

    `run` answers its requests in their order. `cost` is positive and about proportional to memory.

    What goes wrong: out of memory halves the batch and goes on; any other failure of a batch is found out by
    running its requests one by one, so that only those fail that fail by themselves.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Request]], Sequence[Result]],
        limits: BatchLimits,
        *,
        cost: Callable[[Request], float],
        kind: Callable[[Request], Hashable],
    ) -> None:
        self._run = run
        self._limits = limits
        self._cost = cost
        self._kind = kind
        self._changed = threading.Condition()
        self._waiting: list[_Call[Request, Result]] = []
        self._joined = 0
        self._runner: object | None = None
        """Whoever runs `_batch`; None while nothing is run."""
        self._batch: list[_Call[Request, Result]] = []
        self._free_since = 0.0
        self._room = limits.cost
        self._room_until = 0.0

    @contextmanager
    def joined(self) -> Generator[Callable[[Sequence[Request]], list[Result]]]:
        """The way to ask. Between its questions a thread counts as company that may come: it should ask soon.

        Asking blocks until all requests of the call are answered, and raises what one of them failed with:
        DeepSoundError OUT_OF_MEMORY, or whatever `run` raised.
        """
        with self._changed:
            self._joined += 1
        try:
            yield self._ask
        finally:
            with self._changed:
                self._joined -= 1
                self._changed.notify_all()

    def _ask(self, requests: Sequence[Request]) -> list[Result]:
        asker, now = object(), time.monotonic()
        calls = [_Call[Request, Result](one, asker, self._cost(one), self._kind(one), now) for one in requests]
        try:
            with self._changed:
                self._waiting += calls
            while batch := self._next(asker, calls):
                self._attempt(batch)
                self._end_batch()
        finally:
            # An interrupted thread gives back what it took along, and leaves nothing of its own behind.
            with self._changed:
                if self._runner is asker:
                    self._end_batch()
                self._waiting = [call for call in self._waiting if call not in calls]
        return [call.answer.result() for call in calls]

    def _next(self, asker: object, calls: Sequence[_Call[Request, Result]]) -> list[_Call[Request, Result]]:
        """Wait until a batch is this thread's to run; empty once all `calls` are answered."""
        with self._changed:
            while not all(call.answer.done() for call in calls):
                if self._runner is not None:
                    self._changed.wait()
                    continue
                batch, is_full = self._gather()
                pause = max(batch[0].since, self._free_since) + self._limits.wait - time.monotonic()
                if is_full or pause <= 0 or not self._more_may_come():
                    self._runner, self._batch = asker, batch
                    self._waiting = [call for call in self._waiting if call not in batch]
                    return batch
                self._changed.wait(pause)
            return []

    def _more_may_come(self) -> bool:
        """Whether a thread that joined asks nothing at the moment."""
        return len({call.asker for call in self._waiting}) < self._joined

    def _gather(self) -> tuple[list[_Call[Request, Result]], bool]:
        """The oldest call and those that can go with it; True if no more would fit."""
        first = self._waiting[0]
        if first.alone:
            return [first], True
        room = self._room if time.monotonic() < self._room_until else self._limits.cost
        batch, cost = [first], first.cost
        for call in self._waiting[1:]:
            if call.alone or call.kind != first.kind:
                continue
            if len(batch) == self._limits.requests or cost + call.cost > room:
                return batch, True
            batch.append(call)
            cost += call.cost
        return batch, len(batch) == self._limits.requests or cost >= room

    def _attempt(self, batch: list[_Call[Request, Result]]) -> None:
        """Run a batch once: its calls are answered then, or will be run again in another way."""
        try:
            results = self._run([call.request for call in batch])
            if len(results) != len(batch):
                raise ValueError(f"{len(batch)} requests were given {len(results)} answers")
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who asked
            if len(batch) == 1:
                batch[0].answer.set_exception(_as_answer(error))
            elif is_out_of_memory(error):
                self._shrink(batch)
            else:
                for call in batch:
                    call.alone = True
            return
        for call, result in zip(batch, results, strict=True):
            call.answer.set_result(result)

    def _end_batch(self) -> None:
        with self._changed:
            self._waiting[:0] = [call for call in self._batch if not call.answer.done()]
            self._runner, self._batch = None, []
            self._free_since = time.monotonic()
            self._changed.notify_all()

    def _shrink(self, batch: Sequence[_Call[Request, Result]]) -> None:
        log.warning("%d requests at once do not fit the memory; going on with half as many", len(batch))
        self._room = sum(call.cost for call in batch) / 2
        self._room_until = time.monotonic() + _REMEMBERED_SECONDS


def _as_answer(error: Exception) -> Exception:
    if isinstance(error, DeepSoundError) or not is_out_of_memory(error):
        return error
    failure = MemoryExhaustedError(
        f"a single request does not fit the memory ({error})",
        remedy="free memory, or choose a smaller model",
    )
    failure.__cause__ = error
    return failure
