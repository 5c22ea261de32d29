"""A file appears under its name complete or not at all, and what killed processes left is swept."""

import errno
import os
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from deepsound.atomic_write import replacing, sweep_partials
from deepsound.errors import DeepSoundError, ErrorCode


def test_a_file_gets_its_name_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    with replacing(target) as partial:
        partial.write_bytes(b"half")
        assert not target.exists()
        assert partial.parent == tmp_path
        partial.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with pytest.raises(FileNotFoundError), replacing(target) as partial:
        partial.write_bytes((tmp_path / "absent").read_bytes())
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_umask_applies(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "a.bin") as partial:
            partial.write_bytes(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o640


def test_a_name_of_the_greatest_length_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 251 + ".wav")
    with replacing(target) as partial:
        partial.write_bytes(b"x")
    assert target.read_bytes() == b"x"


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_the_error_names_a_folder_that_can_not_be_written(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeepSoundError) as caught, replacing(tmp_path / folder / "out.wav"):
        pass
    assert caught.value.code is ErrorCode.OUTPUT_NOT_WRITABLE
    assert "out.wav" in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_reported_as_full(tmp_path: Path) -> None:
    with pytest.raises(DeepSoundError) as caught, replacing(tmp_path / "a.bin"):
        Path("/dev/full").write_bytes(b"x")
    assert caught.value.code is ErrorCode.DISK_FULL
    assert list(tmp_path.iterdir()) == []


def test_other_system_errors_are_passed_on(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no such device"), replacing(tmp_path / "a.bin"):
        raise OSError(errno.ENODEV, "no such device")
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_removes_only_what_killed_processes_left(tmp_path: Path) -> None:
    folder = tmp_path / "reels"
    folder.mkdir()
    others = [folder / ".download.partial", folder / "a.mp4"]
    for path in others:
        path.touch()
    writing = replacing(folder / "a.wav")
    partial = writing.__enter__()
    assert sweep_partials(tmp_path, timedelta(hours=1)) == 0, "a process may still write to it"
    assert sweep_partials(tmp_path, timedelta(seconds=-1)) == 1
    assert not partial.exists()
    assert sorted(folder.iterdir()) == sorted(others)
