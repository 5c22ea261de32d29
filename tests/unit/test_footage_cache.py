"""A video is decoded once by a process, however many threads ask for what was seen of it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deepsound.errors import DeepSoundError
from deepsound.media.decode import decode_video
from deepsound.media.observers import Footage
from tasks.runtime.footage_cache import FootageCache
from tests.made_clips import write_clip

THREADS = 8


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", seconds=0.2)


def test_threads_that_ask_at_once_share_one_decode(clip: Path):
    cache, started, looks = FootageCache(), threading.Barrier(THREADS), []

    def ask(_: int) -> Footage:
        started.wait()
        return cache.get("reel", lambda: looks.append(1) or decode_video(clip, []))

    with ThreadPoolExecutor(THREADS) as pool:
        seen = list(pool.map(ask, range(THREADS)))
    assert len(looks) == 1
    assert all(footage is seen[0] for footage in seen)


def test_videos_do_not_wait_for_each_other(clip: Path):
    cache, second_done = FootageCache(), threading.Event()

    def slow() -> Footage:
        assert second_done.wait(timeout=20)
        return decode_video(clip, [])

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(cache.get, "first", slow)
        cache.get("second", lambda: decode_video(clip, []))
        second_done.set()
        assert first.result(timeout=20).frames == 5


def test_a_failure_is_told_to_all_who_waited_and_is_not_kept(clip: Path, tmp_path: Path):
    cache, started, looks = FootageCache(), threading.Barrier(THREADS), []

    def fail() -> Footage:
        looks.append(1)
        waiting.wait(timeout=20)
        return decode_video(tmp_path / "missing.mp4", [])

    def ask(_: int) -> str:
        started.wait()
        with pytest.raises(DeepSoundError) as caught:
            cache.get("reel", fail)
        return str(caught.value)

    waiting = threading.Event()
    with ThreadPoolExecutor(THREADS) as pool:
        told = pool.map(ask, range(THREADS))
        waiting.set()
        assert all("missing.mp4" in line for line in told)
    assert len(looks) <= THREADS
    assert cache.get("reel", lambda: decode_video(clip, [])).frames == 5


def test_what_was_let_go_is_seen_anew(clip: Path):
    cache = FootageCache()
    first = cache.get("reel", lambda: decode_video(clip, []))
    assert cache.get("reel", lambda: decode_video(clip, [])) is first
    cache.evict("reel")
    assert cache.get("reel", lambda: decode_video(clip, [])) is not first
