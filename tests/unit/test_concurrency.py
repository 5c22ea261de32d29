"""How many videos a process works on concurrently, and on which threads."""

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

BATCHES_OF_EIGHT = """
from deepsound.generation.foley import Foley

class Plugin(Foley):
    concurrency = 8
"""


BATCHES_OF_FIVE = """
from deepsound.reasoning.evidence import Evidence

class Plugin(Evidence):
    concurrency = 5
"""


def test_without_batching_backends_there_is_one_video_per_core(tmp_path: Path) -> None:
    assert concurrent_videos([an_item(tmp_path)]) == CPU_BOUND_VIDEOS


def test_the_batch_size_of_a_generator_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_plugin(tmp_path / "site", "deepsound.generators", "batches_of_eight", BATCHES_OF_EIGHT)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert concurrent_videos([an_item(tmp_path, generator="batches_of_eight")]) == CPU_BOUND_VIDEOS + 8


def test_the_batch_size_of_a_reasoner_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_plugin(tmp_path / "site", "deepsound.reasoners", "batches_of_five", BATCHES_OF_FIVE)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert concurrent_videos([an_item(tmp_path, reasoner="batches_of_five")]) == CPU_BOUND_VIDEOS + 5


def test_a_generator_that_fails_to_load_is_ignored_here(tmp_path: Path) -> None:
    assert concurrent_videos([an_item(tmp_path, generator="no-such-generator")]) == CPU_BOUND_VIDEOS


def test_each_video_has_its_own_thread_and_context_variables() -> None:
    video: ContextVar[int] = ContextVar("video")
    barrier = Barrier(100, timeout=30)

    def meet() -> int:
        barrier.wait()
        return video.get()

    async def drive(number: int) -> int:
        video.set(number)
        return await run_on_video_thread(meet)

    async def shard() -> list[int]:
        with video_threads(100):
            return await asyncio.gather(*(drive(number) for number in range(100)))

    assert asyncio.run(shard()) == list(range(100))


TIMES_OUT = """
import asyncio, threading
from flows.concurrency import run_on_video_thread, video_threads

async def shard():
    with video_threads(1):
        try:
            await asyncio.wait_for(run_on_video_thread(threading.Event().wait), 0.2)
        except TimeoutError:
            print("timed out", flush=True)

asyncio.run(shard())
"""


def test_a_worker_process_exits_although_a_timed_out_step_still_blocks_its_thread() -> None:
    environment = {**os.environ, "PREFECT__FLOW_RUN_ID": "0b6f0c0e-8a0c-4f4b-9a4e-3c9a7d1d7f55"}
    done = subprocess.run(
        [sys.executable, "-c", TIMES_OUT], env=environment, capture_output=True, text=True, timeout=15, check=False
    )
    assert (done.stdout, done.returncode) == ("timed out\n", 0), done.stderr
