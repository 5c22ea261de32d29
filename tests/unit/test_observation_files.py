"""Observations are stored atomically, mapped when they are read, and refused if damaged."""

import json
import os
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import psutil
import pytest

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.observation_files import load_observations, save_observations


def test_observations_are_stored_and_read_back_complete(tmp_path: Path) -> None:
    observations = {
        "flow": {"time": np.arange(3.0), "score": np.array([[1, 2], [3, 4]], np.uint8).T},
        "faces": {"count": np.array(7)},
        "blind": {},
    }
    save_observations(observations, tmp_path / "a.safetensors")
    read = load_observations(tmp_path / "a.safetensors")
    assert set(read) == set(observations)
    assert np.array_equal(read["flow"]["score"], observations["flow"]["score"])
    assert read["flow"]["score"].dtype == np.uint8
    assert (read["faces"]["count"].shape, read["faces"]["count"]) == ((), 7)
    assert read["blind"] == {}


def test_values_are_read_from_disk_when_they_are_used(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).standard_normal((4096, 512))
    save_observations({"a": {"x": stored}}, tmp_path / "kept")
    read = load_observations(tmp_path / "kept")
    (tmp_path / "kept").unlink()
    tracemalloc.start()
    some = read["a"]["x"][1000:1002].copy()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(some, stored[1000:1002])
    assert peak < stored.nbytes / 100


def test_a_file_larger_than_memory_can_be_mapped(tmp_path: Path) -> None:
    path, memory = tmp_path / "kept", psutil.virtual_memory().total + psutil.swap_memory().total
    save_observations({"a": {"x": np.zeros(8, np.uint8)}}, path)
    data, size = path.read_bytes(), 2 * memory // 8 * 8
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["a/x"] |= {"shape": [size], "data_offsets": [0, size]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + size)  # a sparse file, which takes no space
    last = load_observations(path)["a"]["x"][-1:]
    last[:] = 1
    assert last == 1


def test_equal_observations_give_equal_bytes(tmp_path: Path) -> None:
    array = np.random.default_rng(0).standard_normal(100)
    save_observations({"a": {"x": array, "y": array[:3]}, "b": {"z": array}}, tmp_path / "1")
    save_observations({"b": {"z": array.copy()}, "a": {"y": array[:3], "x": array}}, tmp_path / "2")
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, ErrorCode.ARTIFACT_MISSING),
        (b"", ErrorCode.ARTIFACT_DAMAGED),
        (b"x" * 100, ErrorCode.ARTIFACT_DAMAGED),
    ],
)
def test_missing_and_damaged_files_are_refused(tmp_path: Path, content, code) -> None:
    path = tmp_path / "a.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DeepSoundError) as caught:
        load_observations(path)
    assert caught.value.code is code


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_reported_and_no_file_is_left(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this machine does not let its root mount a disk")
    try:
        with pytest.raises(DeepSoundError) as caught:
            save_observations({"a": {"x": np.zeros(2 << 20, np.uint8)}}, disk / "kept")
        assert caught.value.code is ErrorCode.DISK_FULL
        assert str(disk / "kept") in str(caught.value)
        assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_observations({"a": {"x": np.arange(1000)}}, path)
    os.truncate(path, path.stat().st_size - 8)
    with pytest.raises(DeepSoundError) as caught:
        load_observations(path)
    assert caught.value.code is ErrorCode.ARTIFACT_DAMAGED
