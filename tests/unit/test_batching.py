"""What threads ask for at once is worked on together, and no answer depends on the company it was found in."""

import ctypes
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepsound.errors import DeepSoundError, DiskFullError, ErrorCode, MemoryExhaustedError, is_out_of_memory
from deepsound.models.batching import Batcher, BatchLimits

LONG = 60.0
"""Seconds that no test lives to see: whoever is held back for so long hangs."""


class Model:
    """Squares numbers. A number costs itself, and odd ones don't mix with even ones."""

    def __init__(self, limits: BatchLimits, check: Callable[[Sequence[int]], object] = lambda _: None) -> None:
        self.batches: list[list[int]] = []
        self.check = check
        self.at_work = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()
        self.busy = threading.Lock()
        self.batcher = Batcher(self.run, limits, cost=float, kind=lambda number: number % 2)

    def run(self, numbers: Sequence[int]) -> list[int]:
        assert self.busy.acquire(blocking=False), "two batches at once"
        try:
            self.batches.append(list(numbers))
            self.at_work.set()
            assert self.may_end.wait(LONG)
            self.check(numbers)
            return [number**2 for number in numbers]
        finally:
            self.busy.release()

    def ask(self, *numbers: int) -> list[int]:
        with self.batcher.joined() as ask:
            return ask(numbers)

    def ask_together(self, *questions: Sequence[int]) -> list[Future[list[int]]]:
        """Each question from a thread of its own; nobody asks before all have joined."""
        everybody = threading.Barrier(len(questions))

        def one(numbers: Sequence[int]) -> list[int]:
            with self.batcher.joined() as ask:
                everybody.wait(LONG)
                return ask(numbers)

        with ThreadPoolExecutor(len(questions)) as pool:
            return [pool.submit(one, numbers) for numbers in questions]

    @property
    def sizes(self) -> list[int]:
        return [len(batch) for batch in self.batches]


def fits(most: int, error: Callable[[], object] = MemoryError) -> Callable[[Sequence[int]], None]:
    """Memory for so many requests at once."""

    def check(numbers: Sequence[int]) -> None:
        if len(numbers) > most:
            raised = error()
            raise raised if isinstance(raised, BaseException) else AssertionError

    return check


def refuses(*bad: int) -> Callable[[Sequence[int]], None]:
    def check(numbers: Sequence[int]) -> None:
        for number in numbers:
            if number in bad:
                raise ValueError(f"cannot square {number}")

    return check


def answers(asked: Sequence[Future[list[int]]]) -> list[list[int]]:
    return [future.result(0) for future in asked]


def test_what_is_asked_at_once_is_one_batch_and_everybody_gets_their_own_answer() -> None:
    model = Model(BatchLimits(requests=8, wait=LONG))
    assert answers(model.ask_together([2], [4], [6, 8])) == [[4], [16], [36, 64]]
    assert model.sizes == [4]


def test_a_lone_request_does_not_wait_for_company_that_cannot_come() -> None:
    model = Model(BatchLimits(requests=8, wait=LONG))
    assert model.ask(3) == [9]


def test_a_request_waits_for_company_no_longer_than_it_may() -> None:
    model = Model(BatchLimits(requests=8, wait=0.05))
    with model.batcher.joined():
        begun = time.monotonic()
        assert model.ask(3) == [9]
    assert 0.05 <= time.monotonic() - begun < 5


def test_company_that_leaves_is_not_waited_for() -> None:
    model = Model(BatchLimits(requests=8, wait=LONG))
    with ThreadPoolExecutor(1) as pool, model.batcher.joined():
        asked = pool.submit(model.ask, 3)
        while not model.batcher._waiting:
            time.sleep(0.001)
    assert asked.result(0) == [9]


def test_threads_that_ask_again_and_again_stay_together() -> None:
    model = Model(BatchLimits(requests=8, wait=LONG))

    def ask_often(first: int) -> list[int]:
        with model.batcher.joined() as ask:
            everybody.wait(LONG)
            return [ask([first + 2 * turn])[0] for turn in range(5)]

    everybody = threading.Barrier(3)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(ask_often, [0, 100, 200]))
    assert found[1] == [(100 + 2 * turn) ** 2 for turn in range(5)]
    assert model.sizes == [3] * 5


def test_what_comes_while_the_model_is_at_work_is_the_next_batch() -> None:
    model = Model(BatchLimits(requests=8))
    model.may_end.clear()
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(model.ask, 2)]
        model.at_work.wait(LONG)
        asked += [pool.submit(model.ask, number) for number in (4, 6, 8)]
        while len(model.batcher._waiting) < 3:
            time.sleep(0.001)
        model.may_end.set()
    assert answers(asked) == [[4], [16], [36], [64]]
    assert model.sizes == [1, 3]


def test_a_thread_that_came_out_of_step_is_waited_for_once_the_model_is_free() -> None:
    model = Model(BatchLimits(requests=8, wait=0.3))
    model.may_end.clear()

    def ask_twice() -> list[int]:
        with model.batcher.joined() as ask:
            first = ask([2])
            time.sleep(0.05)
            return first + ask([8])

    with ThreadPoolExecutor(3) as pool:
        early = pool.submit(ask_twice)
        model.at_work.wait(LONG)
        late = [pool.submit(model.ask, number) for number in (4, 6)]
        time.sleep(0.35)
        model.may_end.set()
    assert answers([early, *late]) == [[4, 64], [16], [36]]
    assert model.sizes == [1, 3]


def test_a_batch_has_no_more_requests_than_allowed() -> None:
    model = Model(BatchLimits(requests=2, wait=LONG))
    answers(model.ask_together([2], [4], [6], [8], [10]))
    assert model.sizes == [2, 2, 1]


def test_a_batch_costs_no_more_than_allowed_but_one_request_always_runs() -> None:
    model = Model(BatchLimits(requests=8, cost=10, wait=LONG))
    assert answers(model.ask_together([4, 6, 2, 100])) == [[16, 36, 4, 10_000]]
    assert model.batches == [[4, 6], [2], [100]]


def test_requests_of_different_kinds_do_not_share_a_batch() -> None:
    model = Model(BatchLimits(requests=8, wait=LONG))
    assert answers(model.ask_together([1, 2, 3, 4])) == [[1, 4, 9, 16]]
    assert sorted(model.batches) == [[1, 3], [2, 4]]


ALLOCATIONS = [
    lambda: MemoryError(),
    lambda: np.empty(10**15),
    lambda: torch.empty(10**15),
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    lambda: MemoryExhaustedError("the networks do not fit"),
]


@pytest.mark.parametrize("allocate", ALLOCATIONS)
def test_out_of_memory_halves_the_batch_and_goes_on(allocate: Callable[[], object]) -> None:
    model = Model(BatchLimits(requests=8, wait=LONG), fits(3, allocate))
    assert answers(model.ask_together(*[[2]] * 8)) == [[4]] * 8
    assert model.sizes == [8, 4, 2, 2, 2, 2]


def test_the_size_that_did_not_fit_is_not_tried_again_at_once() -> None:
    model = Model(BatchLimits(requests=8, wait=LONG), fits(3))
    for _ in range(2):
        answers(model.ask_together(*[[2]] * 8))
    assert model.sizes == [8, 4] + [2] * 8


def test_the_size_that_did_not_fit_is_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepsound.models.batching._REMEMBERED_SECONDS", 0.2)
    model = Model(BatchLimits(requests=2, wait=LONG), fits(1))
    answers(model.ask_together([2], [4]))
    time.sleep(0.25)
    model.check = fits(2)
    answers(model.ask_together([2], [4]))
    assert model.sizes == [2, 1, 1, 2]


def test_a_request_that_does_not_fit_alone_fails_and_the_others_go_on() -> None:
    def too_large(numbers: Sequence[int]) -> None:
        if sum(numbers) >= 100:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")

    model = Model(BatchLimits(requests=8, wait=LONG), too_large)
    small, large, other = model.ask_together([2], [100], [4])
    assert answers([small, other]) == [[4], [16]]
    with pytest.raises(DeepSoundError, match="does not fit the memory") as raised:
        large.result(0)
    assert raised.value.code is ErrorCode.OUT_OF_MEMORY
    assert raised.value.remedy


def test_bad_input_fails_alone() -> None:
    model = Model(BatchLimits(requests=8, wait=LONG), refuses(4))
    good, bad, other = model.ask_together([2], [4], [6])
    assert answers([good, other]) == [[4], [36]]
    with pytest.raises(ValueError, match="cannot square 4"):
        bad.result(0)


def test_a_crash_reaches_everybody_and_leaves_the_batcher_at_work() -> None:
    model = Model(BatchLimits(requests=8, wait=LONG), refuses(2, 4, 6))
    for asked in model.ask_together([2], [4], [6]):
        with pytest.raises(ValueError, match="cannot square"):
            asked.result(0)
    assert model.ask(8) == [64]


def test_too_few_answers_are_a_failure() -> None:
    batcher = Batcher(lambda numbers: [0], BatchLimits(2, wait=LONG), cost=float, kind=lambda _: None)  # noqa: ARG005
    with batcher.joined() as ask:
        assert ask([1, 2]) == [0, 0], "alone, each has its answer"
    batcher = Batcher(lambda numbers: [], BatchLimits(2), cost=float, kind=lambda _: None)  # noqa: ARG005
    with batcher.joined() as ask, pytest.raises(ValueError, match="0 answers"):
        ask([1])


def test_when_the_thread_at_work_is_interrupted_another_takes_over() -> None:
    def interrupt_once(_: Sequence[int]) -> None:
        model.check = lambda _: None
        raise KeyboardInterrupt

    model = Model(BatchLimits(requests=8, wait=LONG), interrupt_once)
    asked = model.ask_together([2], [4], [6])
    interrupted = [future for future in asked if future.exception(0)]
    assert [type(future.exception(0)) for future in interrupted] == [KeyboardInterrupt]
    assert len([future.result(0) for future in asked if future not in interrupted]) == 2


def test_a_waiting_thread_that_is_interrupted_takes_its_requests_along() -> None:
    class StopIt(BaseException): ...

    model = Model(BatchLimits(requests=8))
    model.may_end.clear()
    stopped: list[BaseException] = []

    def ask_in_vain() -> None:
        try:
            model.ask(4)
        except StopIt as error:
            stopped.append(error)

    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(model.ask, 2)]
        model.at_work.wait(LONG)
        waiting = threading.Thread(target=ask_in_vain)
        waiting.start()
        asked.append(pool.submit(model.ask, 6))
        while len(model.batcher._waiting) < 2:
            time.sleep(0.001)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(waiting.ident or 0), ctypes.py_object(StopIt))
        model.may_end.set()
        waiting.join(LONG)
    assert len(stopped) == 1
    assert answers(asked) == [[4], [36]]
    assert not model.batcher._waiting
    assert model.ask(8) == [64]


def test_a_request_whose_cost_cannot_be_told_fails_alone() -> None:
    def cost(number: int) -> float:
        return 1 / number

    batcher = Batcher(list, BatchLimits(2, wait=LONG), cost=cost, kind=lambda _: None)
    with batcher.joined() as ask, pytest.raises(ZeroDivisionError):
        ask([0])
    with batcher.joined() as ask:
        assert ask([1]) == [1]


def test_no_thread_is_left_behind() -> None:
    before = set(threading.enumerate())
    model = Model(BatchLimits(requests=8, wait=LONG))
    answers(model.ask_together([2], [4]))
    assert set(threading.enumerate()) == before


@settings(max_examples=40, deadline=None)
@given(
    questions=st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(1, 9), max_size=3)), max_size=4),
        min_size=1,
        max_size=6,
    ),
    limits=st.builds(
        BatchLimits,
        requests=st.integers(1, 4),
        cost=st.sampled_from([5.0, 12.0, math.inf]),
        wait=st.sampled_from([0.0, 0.002, 0.01]),
    ),
    capacity=st.sampled_from([1, 2, 100]),
    bad=st.sets(st.integers(1, 9), max_size=2),
)
def test_however_requests_arrive_each_is_answered_within_the_limits(
    questions: list[list[tuple[int, list[int]]]], limits: BatchLimits, capacity: int, bad: set[int]
) -> None:
    def check(numbers: Sequence[int]) -> None:
        fits(capacity)(numbers)
        refuses(*bad)(numbers)

    model = Model(limits, check)

    def ask_in_turn(mine: list[tuple[int, list[int]]]) -> int:
        failures = 0
        with model.batcher.joined() as ask:
            for pause, numbers in mine:
                time.sleep(pause / 1000)
                try:
                    assert ask(numbers) == [number**2 for number in numbers]
                    assert not bad.intersection(numbers)
                except ValueError:
                    assert bad.intersection(numbers)
                    failures += 1
        return failures

    with ThreadPoolExecutor(len(questions)) as pool:
        failures = sum(pool.map(ask_in_turn, questions))
    assert failures == sum(bool(bad.intersection(numbers)) for mine in questions for _, numbers in mine)
    assert sum(model.sizes) >= sum(len(numbers) for mine in questions for _, numbers in mine)
    for batch in model.batches:
        assert len(batch) <= limits.requests
        assert sum(batch) <= limits.cost or len(batch) == 1
        assert len({number % 2 for number in batch}) == 1


@pytest.mark.parametrize("allocate", ALLOCATIONS)
def test_memory_that_ran_out_is_told_from_other_failures(allocate: Callable[[], object]) -> None:
    error: object
    try:
        error = allocate()
    except (MemoryError, RuntimeError) as raised:
        error = raised
    assert isinstance(error, Exception)
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes cannot be multiplied"), DiskFullError("full"), OSError()])
def test_other_failures_are_not_taken_for_memory_that_ran_out(error: Exception) -> None:
    assert not is_out_of_memory(error)
