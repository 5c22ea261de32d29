"""How many videos a process drives at once, and on which threads."""

import asyncio
import os
import subprocess
import sys
from contextvars import ContextVar
from pathlib import Path
from threading import Barrier

import pytest

from flows.concurrency import CPU_BOUND_VIDEOS, concurrent_videos, run_on_video_thread, video_threads
from tests.item_samples import an_item
from tests.third_party_backends import install_plugin

EIGHT_TOGETHER = """
from deepsound.generation.foley import Foley

class Plugin(Foley):
    at_once = 8
"""


FIVE_TOGETHER = """
from deepsound.reasoning.evidence import Evidence

class Plugin(Evidence):
    at_once = 5
"""


def test_generators_that_gain_nothing_from_company_get_a_video_for_every_core(tmp_path: Path) -> None:
    assert concurrent_videos([an_item(tmp_path)]) == CPU_BOUND_VIDEOS


def test_what_a_generator_works_on_together_comes_on_top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_plugin(tmp_path / "site", "deepsound.generators", "eight_together", EIGHT_TOGETHER)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert concurrent_videos([an_item(tmp_path, generator="eight_together")]) == CPU_BOUND_VIDEOS + 8


def test_what_a_reasoner_answers_together_comes_on_top_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_plugin(tmp_path / "site", "deepsound.reasoners", "five_together", FIVE_TOGETHER)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert concurrent_videos([an_item(tmp_path, reasoner="five_together")]) == CPU_BOUND_VIDEOS + 5


def test_a_generator_that_cannot_be_loaded_is_left_to_the_step_that_needs_it(tmp_path: Path) -> None:
    assert concurrent_videos([an_item(tmp_path, generator="no-such-generator")]) == CPU_BOUND_VIDEOS


def test_as_many_threads_as_videos_work_at_once_each_in_its_own_context() -> None:
    reel: ContextVar[int] = ContextVar("reel")
    everybody = Barrier(100, timeout=30)

    def meet() -> int:
        everybody.wait()
        return reel.get()

    async def drive(number: int) -> int:
        reel.set(number)
        return await run_on_video_thread(meet)

    async def shard() -> list[int]:
        with video_threads(100):
            return await asyncio.gather(*(drive(number) for number in range(100)))

    assert asyncio.run(shard()) == list(range(100))


GIVES_UP = """
import asyncio, threading
from flows.concurrency import run_on_video_thread, video_threads

async def shard():
    with video_threads(1):
        try:
            await asyncio.wait_for(run_on_video_thread(threading.Event().wait), 0.2)
        except TimeoutError:
            print("given up", flush=True)

asyncio.run(shard())
"""


def test_a_workers_process_ends_though_a_step_that_was_given_up_hangs() -> None:
    environment = {**os.environ, "PREFECT__FLOW_RUN_ID": "0b6f0c0e-8a0c-4f4b-9a4e-3c9a7d1d7f55"}
    done = subprocess.run(
        [sys.executable, "-c", GIVES_UP], env=environment, capture_output=True, text=True, timeout=15, check=False
    )
    assert (done.stdout, done.returncode) == ("given up\n", 0), done.stderr
