"""A file that breaks its decoder ends only the sandboxed process: this one and the other videos go on."""

import errno
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
from deepsound.media.sandbox.process import MemoryLimitError, SandboxProcess, child_environment
from tests.made_clips import clicks, read_number, write_clip
from tests.sandbox_checks import FAULT, decoders, failure_of, zombies


class CallingObserver:
    """Calls a function with every block of frames."""

    name, version = "calling", "1"

    def __init__(self, on_block: Callable[[np.ndarray], None], rate: float | None = None) -> None:
        self.sampling = FrameSampling(rate, None)
        self.on_block = on_block

    def see(self, frames, times) -> None:  # noqa: ARG002 - the protocol has it
        self.on_block(frames)

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
    """Check that only idle processes are left, and no zombies."""
    yield
    assert decoders() == {process.pid for process in POOL.idle()}
    assert not zombies()


# --- crashes, hangs and limits -------------------------------------------------------------------------------


def test_a_file_that_crashes_its_decoder_gives_one_error_and_the_next_file_is_read(
    clip: Path, poison: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FAULT, "crash:poison")
    failure = failure_of(lambda: probe(poison))
    assert failure.code is ErrorCode.DECODER_CRASHED
    assert not failure.is_retryable
    assert str(failure).startswith(f"{poison}: its decoder ended with signal 11 (Segmentation fault)")
    assert probe(clip).frames == 100


def test_every_operation_on_a_source_runs_in_the_sandbox(poison: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = probe(poison)
    sound = poison.with_name("new.wav")
    write_float_wav(sound, 8000, 1, [np.zeros((800, 1), np.float32)])
    monkeypatch.setenv(FAULT, "leave:poison")
    targets = {"own": poison.with_name("own.wav"), "video": poison.with_name("out.mp4")}
    for operation in (
        lambda: decode_video(poison, [], info),
        lambda: extract_audio(poison, info, targets["own"]),
        lambda: mux(poison, sound, targets["video"], info),
    ):
        assert "ended with exit code 3" in str(failure_of(operation))
    assert sorted(path.name for path in poison.parent.iterdir()) == ["new.wav", "poison.mp4"]


def test_a_file_whose_decoder_hangs_times_out(poison: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe(clip)
    under_other_limits = decoders()
    monkeypatch.setenv(FAULT, "hang:poison")
    monkeypatch.setenv("DEEPSOUND_DECODER_SECONDS", "0.8")
    failure = failure_of(lambda: probe(poison))
    assert failure.code is ErrorCode.DECODER_OVER_LIMIT
    assert not failure.is_retryable
    assert "no progress for over 0.8 s" in str(failure)
    assert not decoders() & under_other_limits


def test_a_decoder_killed_from_outside_gives_a_retryable_error(clip: Path) -> None:
    failure = failure_of(lambda: decode_video(clip, [CallingObserver(lambda _: kill(signal.SIGKILL))]))
    assert (failure.code, failure.is_retryable) == (ErrorCode.OUT_OF_MEMORY, True)


def kill(signal_number: int) -> None:
    for pid in decoders() - {process.pid for process in POOL.idle()}:
        os.kill(pid, signal_number)


def test_a_crash_in_the_middle_of_a_video_is_an_error_and_not_a_short_video(clip: Path) -> None:
    seen: list[int] = []

    def crash_it(frames: np.ndarray) -> None:
        seen.extend(read_number(frame) for frame in frames)
        kill(signal.SIGSEGV)

    assert failure_of(lambda: decode_video(clip, [CallingObserver(crash_it)])).code is ErrorCode.DECODER_CRASHED
    assert seen == list(range(len(seen)))
    assert 32 <= len(seen) < 100


@pytest.mark.parametrize("error", [TimeoutError("the model"), KeyboardInterrupt()])
def test_an_observers_exception_is_passed_on_and_the_next_video_is_decoded(
    clip: Path, error: BaseException
) -> None:
    def fail(frames: np.ndarray) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        decode_video(clip, [CallingObserver(fail)])
    assert caught.value is error
    assert decode_video(clip, []).frames == 100


# --- processes, environment and frames -----------------------------------------------------------------------


def test_one_process_serves_file_after_file(clip: Path, poison: Path) -> None:
    probe(clip)
    first = decoders()
    assert failure_of(lambda: probe(clip.with_name("absent.mp4"))).code is ErrorCode.SOURCE_MISSING
    assert decode_video(poison, []).frames == 5
    assert decoders() == first


def test_the_sandbox_runs_the_handlers_of_any_module() -> None:
    process = SandboxProcess("tests.sandbox_handlers", child_environment())

    def reply_to(handler: str) -> ipc.Message:
        return process.run({"handler": handler, "paths": {}, "number": 21}, 60, lambda _: None)

    assert reply_to("double") == {"result": {"number": 42}}
    assert reply_to("fill_disk") == {"os_error": [errno.ENOSPC, os.strerror(errno.ENOSPC)]}
    with pytest.raises(MemoryLimitError):
        reply_to("exhaust_memory")
    process.end()


def test_threads_decode_independently(clip: Path, poison: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FAULT, "crash:poison")

    def numbers(path: Path) -> list[int] | ErrorCode:
        seen: list[int] = []
        try:
            decode_video(path, [CallingObserver(lambda frames: seen.extend(map(read_number, frames)))])
        except DeepSoundError as error:
            return error.code
        return seen

    with ThreadPoolExecutor(3) as threads:
        results = list(threads.map(numbers, [clip, poison, clip] * 2))
    assert results == [list(range(100)), ErrorCode.DECODER_CRASHED, list(range(100))] * 2


def test_the_process_gets_no_secrets_and_has_limits(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert os.getsid(process.pid) != os.getsid(0), "Ctrl-C at the terminal must not reach it"


def test_an_observer_may_keep_and_change_its_frames(clip: Path) -> None:
    kept: list[np.ndarray] = []

    def overwrite(frames: np.ndarray) -> None:
        kept.append(frames)
        if len(kept) % 2:
            frames[:] = 0

    first, second = CallingObserver(overwrite), CallingObserver(overwrite)
    second.name = "second"
    decode_video(clip, [first, second])
    assert all(not frames.any() for frames in kept[::2])
    assert [read_number(frame) for frames in kept[1::2] for frame in frames] == list(range(100))


def test_errors_name_files_as_the_caller_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(failure_of(lambda: probe(Path("absent.mp4")))).startswith("absent.mp4: ")


def test_the_child_waits_while_two_blocks_are_unreleased() -> None:
    here, there = ipc.pair()
    channel = ChildChannel(there, SandboxLimits(8, 300))
    sent: list[int] = []

    def decode() -> None:
        for number in range(BLOCKS_AHEAD + 1):
            channel.send_block(channel.memory(), [0, [1, 1, 1, 3], [0.0]])
            sent.append(number)

    with here, there:
        thread = threading.Thread(target=decode)
        thread.start()
        for _ in range(BLOCKS_AHEAD):
            os.close(ipc.receive(here)[1] or -1)
        here.settimeout(0.1)
        with pytest.raises(TimeoutError):
            ipc.receive(here)
        assert len(sent) == BLOCKS_AHEAD
        ipc.send(here, {"free": True})
        os.close(ipc.receive(here)[1] or -1)
        thread.join()


@pytest.mark.parametrize(
    ("name", "value"), [("DEEPSOUND_DECODER_GIB", "-1"), ("DEEPSOUND_DECODER_SECONDS", "soon")]
)
def test_invalid_limits_are_refused(clip: Path, name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    failure = failure_of(lambda: probe(clip))
    assert failure.code is ErrorCode.BAD_SETTINGS
    assert name in str(failure)


def test_warming_up_starts_the_process_that_serves_the_next_file(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANG", "C.UTF-8")
    warm_up()
    before = decoders()
    probe(clip)
    assert decoders() == before
