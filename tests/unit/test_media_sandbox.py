"""Media that break what reads them: the process that does it goes, this one stays, and so do the other videos."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.audio import write_float_wav
from deepsound.media.decode import decode_video
from deepsound.media.decoder_pool import POOL, warm_up
from deepsound.media.extract_audio import extract_audio
from deepsound.media.mux import mux
from deepsound.media.observers import FrameSampling
from deepsound.media.probe import probe
from deepsound.media.sandbox import ipc
from deepsound.media.sandbox.child_channel import BLOCKS_AHEAD, ChildChannel
from deepsound.media.sandbox.limits import SandboxLimits
from tests.made_clips import clicks, read_number, write_clip
from tests.sandbox_checks import FAULT, decoders, failure_of, zombies


class Watcher:
    """Does something with every block it sees."""

    name, version = "watcher", "1"

    def __init__(self, then: Callable[[np.ndarray], None], rate: float | None = None) -> None:
        self.sampling = FrameSampling(rate, None)
        self.then = then

    def see(self, frames, times) -> None:  # noqa: ARG002 - every observer gets them
        self.then(frames)

    def finish(self):
        return {}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(
        tmp_path_factory.mktemp("clips") / "fine.mp4", seconds=4, size=(64, 48), audio=clicks([0.5], 4.0)
    )


@pytest.fixture
def poison(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "poison.mp4", seconds=0.2, size=(64, 48), audio=clicks([0.1], 0.2))


@pytest.fixture(autouse=True)
def ends_clean() -> Iterator[None]:
    """Only processes that wait for the next file are left, and no zombies."""
    yield
    assert decoders() == {process.pid for process in POOL.idle()}
    assert not zombies()


# --- what may happen to it -----------------------------------------------------------------------------------


def test_a_file_that_crashes_what_reads_it_is_one_error_and_the_next_file_is_read(
    clip: Path, poison: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FAULT, "crash:poison")
    failure = failure_of(lambda: probe(poison))
    assert failure.code is ErrorCode.DECODER_CRASHED
    assert not failure.is_retryable
    assert str(failure).startswith(f"{poison}: its decoder ended with signal 11 (Segmentation fault)")
    assert probe(clip).frames == 100


def test_every_way_into_a_file_is_guarded(poison: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = probe(poison)
    sound = poison.with_name("new.wav")
    write_float_wav(sound, 8000, 1, [np.zeros((800, 1), np.float32)])
    monkeypatch.setenv(FAULT, "leave:poison")
    made = {"own": poison.with_name("own.wav"), "video": poison.with_name("out.mp4")}
    for work in (
        lambda: decode_video(poison, [], info),
        lambda: extract_audio(poison, info, made["own"]),
        lambda: mux(poison, sound, made["video"], info),
    ):
        assert "ended with exit code 3" in str(failure_of(work))
    assert sorted(path.name for path in poison.parent.iterdir()) == ["new.wav", "poison.mp4"]


def test_a_file_that_hangs_is_given_up(poison: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe(clip)
    under_other_limits = decoders()
    monkeypatch.setenv(FAULT, "hang:poison")
    monkeypatch.setenv("DEEPSOUND_DECODER_SECONDS", "0.8")
    failure = failure_of(lambda: probe(poison))
    assert failure.code is ErrorCode.DECODER_OVER_LIMIT
    assert not failure.is_retryable
    assert "no progress for over 0.8 s" in str(failure)
    assert not decoders() & under_other_limits


def test_one_that_is_killed_from_outside_may_be_tried_again(clip: Path) -> None:
    failure = failure_of(lambda: decode_video(clip, [Watcher(lambda _: kill(signal.SIGKILL))]))
    assert (failure.code, failure.is_retryable) == (ErrorCode.OUT_OF_MEMORY, True)


def kill(signal_number: int) -> None:
    for pid in decoders() - {process.pid for process in POOL.idle()}:
        os.kill(pid, signal_number)


def test_a_crash_in_the_middle_of_a_film_is_an_error_and_not_a_short_film(clip: Path) -> None:
    seen: list[int] = []

    def crash_it(frames: np.ndarray) -> None:
        seen.extend(read_number(frame) for frame in frames)
        kill(signal.SIGSEGV)

    assert failure_of(lambda: decode_video(clip, [Watcher(crash_it)])).code is ErrorCode.DECODER_CRASHED
    assert seen == list(range(len(seen)))
    assert 32 <= len(seen) < 100


@pytest.mark.parametrize("own", [TimeoutError("the model"), KeyboardInterrupt()])
def test_what_an_observer_raises_is_its_own_and_the_next_film_is_seen(clip: Path, own: BaseException) -> None:
    def stumble(frames: np.ndarray) -> None:
        raise own

    with pytest.raises(type(own)) as caught:
        decode_video(clip, [Watcher(stumble)])
    assert caught.value is own
    assert decode_video(clip, []).frames == 100


# --- what it is given, and what it gives back ------------------------------------------------------------------


def test_one_process_does_file_after_file(clip: Path, poison: Path) -> None:
    probe(clip)
    first = decoders()
    assert failure_of(lambda: probe(clip.with_name("absent.mp4"))).code is ErrorCode.SOURCE_MISSING
    assert decode_video(poison, []).frames == 5
    assert decoders() == first


def test_threads_do_not_get_in_each_others_way(clip: Path, poison: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FAULT, "crash:poison")

    def numbers(path: Path) -> list[int] | ErrorCode:
        seen: list[int] = []
        try:
            decode_video(path, [Watcher(lambda frames: seen.extend(map(read_number, frames)))])
        except DeepSoundError as error:
            return error.code
        return seen

    with ThreadPoolExecutor(3) as threads:
        results = list(threads.map(numbers, [clip, poison, clip] * 2))
    assert results == [list(range(100)), ErrorCode.DECODER_CRASHED, list(range(100))] * 2


def test_it_is_told_no_secrets_and_kept_within_bounds(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DEEPSOUND_S3_SECRET_KEY", "AWS_SECRET_ACCESS_KEY", "DEEPSOUND_SERVED_API_KEY", "DEEPSOUND_DB"):
        monkeypatch.setenv(name, "swordfish")
    monkeypatch.setenv("DEEPSOUND_DECODER_GIB", "1.5")
    probe(clip)
    [process] = POOL.idle()
    about = Path(f"/proc/{process.pid}")
    assert b"swordfish" not in (about / "environ").read_bytes()
    bounds = {line[:26].strip(): line[26:].split()[:2] for line in (about / "limits").read_text().splitlines()}
    assert bounds["Max data size"] == [str(27 << 26)] * 2
    assert bounds["Max core file size"] == ["1", "1"]
    assert bounds["Max cpu time"][0] != "unlimited"
    assert (about / "oom_score_adj").read_text().strip() == "1000"
    assert os.getsid(process.pid) != os.getsid(0), "Ctrl-C at the terminal is for the program, not for it"


def test_frames_belong_to_whom_they_were_shown(clip: Path) -> None:
    kept: list[np.ndarray] = []

    def spoil(frames: np.ndarray) -> None:
        kept.append(frames)
        if len(kept) % 2:
            frames[:] = 0

    first, second = Watcher(spoil), Watcher(spoil)
    second.name = "second"
    decode_video(clip, [first, second])
    assert all(not frames.any() for frames in kept[::2])
    assert [read_number(frame) for frames in kept[1::2] for frame in frames] == list(range(100))


def test_files_are_called_as_the_caller_called_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(failure_of(lambda: probe(Path("absent.mp4")))).startswith("absent.mp4: ")


def test_no_more_blocks_are_made_than_are_looked_at() -> None:
    here, there = ipc.pair()
    line = ChildChannel(there, SandboxLimits(8, 300))
    made: list[int] = []

    def decode() -> None:
        for number in range(BLOCKS_AHEAD + 1):
            line.send_block(line.memory(), [0, [1, 1, 1, 3], [0.0]])
            made.append(number)

    with here, there:
        thread = threading.Thread(target=decode)
        thread.start()
        for _ in range(BLOCKS_AHEAD):
            os.close(ipc.receive(here)[1] or -1)
        here.settimeout(0.1)
        with pytest.raises(TimeoutError):
            ipc.receive(here)
        assert len(made) == BLOCKS_AHEAD
        ipc.send(here, {"free": True})
        os.close(ipc.receive(here)[1] or -1)
        thread.join()


@pytest.mark.parametrize(
    ("name", "value"), [("DEEPSOUND_DECODER_GIB", "-1"), ("DEEPSOUND_DECODER_SECONDS", "soon")]
)
def test_limits_that_are_none_are_refused(
    clip: Path, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    failure = failure_of(lambda: probe(clip))
    assert failure.code is ErrorCode.BAD_SETTINGS
    assert name in str(failure)


def test_warming_up_starts_the_one_that_is_used_then(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "C.UTF-8")
    warm_up()
    before = decoders()
    probe(clip)
    assert decoders() == before
