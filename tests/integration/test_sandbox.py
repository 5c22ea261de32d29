"""Sandboxed processes beside other processes: kernel limits, dying parents, forks, and a run."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from deepsound.errors import ErrorCode
from deepsound.media.audio import write_float_wav
from deepsound.media.decode import decode_video
from deepsound.media.decoder_pool import HANDLERS
from deepsound.media.mux import mux
from deepsound.media.probe import probe
from deepsound.media.sandbox.process import ProcessEndedError, SandboxProcess, child_environment
from deepsound.pipeline import OutcomeKind
from tests.archive_setup import Archive
from tests.made_clips import tone, write_clip
from tests.sandbox_checks import FAULT, decoders, failure_of, state
from tests.voiced_clips import silent_clip

pytestmark = pytest.mark.integration


@pytest.fixture
def poison(tmp_path: Path) -> Path:
    return silent_clip(tmp_path / "poison.mp4", seconds=0.2)


def has_ended_within(seconds: float, pid: int) -> bool:
    deadline = time.monotonic() + seconds
    while state(pid) not in ("", "Z") and time.monotonic() < deadline:
        time.sleep(0.01)
    return state(pid) in ("", "Z")


def test_the_kernel_ends_a_process_that_computes_for_ever(poison: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FAULT, "spin:poison")
    monkeypatch.setenv("DEEPSOUND_DECODER_SECONDS", "0.01")
    process = SandboxProcess(HANDLERS, child_environment())
    request = {"handler": "probe", "paths": {"video": str(poison)}}
    with pytest.raises(ProcessEndedError) as caught:
        process.run(request, 60, lambda _: None)
    process.end()
    assert caught.value.code == -signal.SIGXCPU


def test_a_picture_too_large_for_the_memory_limit_gives_an_error_that_names_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (7680, 4320)
    black = np.zeros((size[1], size[0], 3), np.uint8)
    clip = write_clip(tmp_path / "8k.mp4", size=size, times=[0], frames=[black], options={"preset": "ultrafast"})
    monkeypatch.setenv("DEEPSOUND_DECODER_GIB", "0.2")
    failure = failure_of(lambda: decode_video(clip, []))
    assert failure.code is ErrorCode.DECODER_OVER_LIMIT
    assert "over 0.2 GiB of memory" in str(failure)
    assert "DEEPSOUND_DECODER_GIB" in failure.remedy
    monkeypatch.delenv("DEEPSOUND_DECODER_GIB")
    assert decode_video(clip, []).frames == 1


def test_the_process_dies_with_its_parent_in_the_middle_of_a_request(poison: Path) -> None:
    program = f"from pathlib import Path; from deepsound.media.probe import probe; probe(Path({str(poison)!r}))"
    parent = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, FAULT: "spin:poison"})
    while not (children := decoders(parent.pid)):
        time.sleep(0.02)
    [child] = children
    while seconds_computed(child) < 1.5:  # starting takes a third of that
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    assert has_ended_within(5, child)


def seconds_computed(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_no_process_is_left_when_the_program_ends(poison: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from deepsound.media.decode import decode_video\n"
        "from deepsound.media.decoder_pool import POOL\n"
        "assert decode_video(Path(sys.argv[1]), []).frames == 5\n"
        "print(*(process.pid for process in POOL.idle()))\n"
        "assert not {'prefect', 'torch', 'sqlalchemy', 'decord', 'deepsound.media.in_sandbox'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, poison], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert [state(int(pid)) for pid in done.stdout.split()] == [""]


def test_a_fork_starts_its_own_processes(tmp_path: Path) -> None:
    clips = {length: silent_clip(tmp_path / f"{length}.mp4", length / 25) for length in (5, 10)}

    def lengths(length: int) -> set[int]:
        return {probe(clips[length]).frames for _ in range(50)}

    probe(clips[5])
    before = decoders()
    ours, theirs = socket.socketpair()
    fork = os.fork()
    if not fork:
        with suppress(BaseException):
            theirs.send(str(lengths(10)).encode())
        os._exit(0)
    assert lengths(5) == {5}
    os.waitpid(fork, 0)
    assert ours.recv(100) == b"{10}"
    assert decoders() == before


def test_a_decoder_killed_while_writing_leaves_no_result(tmp_path: Path) -> None:
    clip, sound = write_clip(tmp_path / "long.mkv", seconds=120, rate=2, size=(64, 48)), tmp_path / "long.wav"
    write_float_wav(sound, 48_000, 1, [tone(300, 120.0)])

    def kill_when_half_written() -> None:
        while not any(path.stat().st_size for path in tmp_path.glob("*.partial")):
            time.sleep(0.001)
        for pid in decoders():
            os.kill(pid, signal.SIGABRT)

    info = probe(clip)
    killer = threading.Thread(target=kill_when_half_written)
    killer.start()
    failure = failure_of(lambda: mux(clip, sound, tmp_path / "out.mp4", info))
    killer.join()
    assert failure.code is ErrorCode.DECODER_CRASHED
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long.mkv", "long.wav"]


def test_a_video_that_crashes_its_decoder_fails_alone(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = {"first": 0.4, "poison": 0.5, "last": 0.6}
    clips = [silent_clip(archive.folder / f"{name}.mp4", seconds) for name, seconds in lengths.items()]
    monkeypatch.setenv(FAULT, "crash:poison")
    results = {result.name: result for result in archive.dub(*clips)}
    assert [results[name].outcome for name in ("first", "last")] == [OutcomeKind.DONE] * 2
    assert results["poison"].outcome is OutcomeKind.FAILED
    assert results["poison"].error.startswith(f"poison: plan: {clips[1]}: its decoder ended with signal 11")
    [failed] = [item for item in archive.items() if item.output_name == "poison"]
    attempts = [(attempt.step, attempt.error_code, attempt.is_retryable) for attempt in failed.attempts]
    assert attempts == [("plan", ErrorCode.DECODER_CRASHED, False)]
    assert archive.leftovers() == []
