"""Hashes of checkpoints: remembered for the file they were taken of, and for no other."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from deepsound.models import file_hashes
from deepsound.models.file_hashes import checkpoint_sha256, source_sha256
from deepsound.user_dirs import cache_folder
from tests.count_opens import counted_opens

LONG_AGO = 1_600_000_000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder() / "checkpoints"


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"first weights")
    # As if its last change were long ago: the system notes when that was, and nobody can turn it back.
    monkeypatch.setattr(file_hashes, "_SETTLED_NS", -1)
    return path


def of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def in_cache(cache: Path) -> list[Path]:
    return sorted(cache.iterdir()) if cache.is_dir() else []


def test_a_file_is_read_once(checkpoint: Path, cache: Path) -> None:
    assert checkpoint_sha256(checkpoint) == of(b"first weights")
    [entry] = in_cache(cache)
    entry.write_text(entry.read_text().replace(of(b"first weights"), of(b"from the cache")))
    assert checkpoint_sha256(checkpoint) == of(b"from the cache")


def test_a_file_written_over_is_read_again_though_size_and_time_are_the_same(checkpoint: Path) -> None:
    checkpoint_sha256(checkpoint)
    then = checkpoint.stat()
    time.sleep(0.01)
    checkpoint.write_bytes(b"other weights")
    os.utime(checkpoint, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert (checkpoint.stat().st_size, checkpoint.stat().st_mtime_ns) == (then.st_size, then.st_mtime_ns)
    assert checkpoint_sha256(checkpoint) == of(b"other weights")


def test_a_file_put_in_its_place_is_read_again(checkpoint: Path, tmp_path: Path) -> None:
    os.utime(checkpoint, (LONG_AGO, LONG_AGO))
    checkpoint_sha256(checkpoint)
    other = tmp_path / "other.pth"
    other.write_bytes(b"other weights")
    os.utime(other, (LONG_AGO, LONG_AGO))
    other.replace(checkpoint)
    assert checkpoint_sha256(checkpoint) == of(b"other weights")


def test_files_of_one_name_in_two_folders_are_kept_apart(checkpoint: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / checkpoint.name
    other.parent.mkdir()
    other.write_bytes(b"other weights")
    for _ in range(2):
        assert checkpoint_sha256(checkpoint) == of(b"first weights")
        assert checkpoint_sha256(other) == of(b"other weights")


def test_a_file_that_was_just_written_is_not_remembered_yet(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "fresh.pth"
    path.write_bytes(b"half of the weights")
    assert checkpoint_sha256(path) == of(b"half of the weights")
    assert not in_cache(cache)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"sha256": "0"}', b"\xff\xfe"])
def test_a_damaged_entry_is_no_entry(checkpoint: Path, cache: Path, damage: bytes) -> None:
    checkpoint_sha256(checkpoint)
    [entry] = in_cache(cache)
    entry.write_bytes(damage)
    assert checkpoint_sha256(checkpoint) == of(b"first weights")
    assert len(entry.read_bytes()) > len(damage)


def test_without_a_cache_it_takes_longer_and_that_is_all(checkpoint: Path, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"a file where the folder should be")
    assert checkpoint_sha256(checkpoint) == of(b"first weights")


def test_an_absent_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        checkpoint_sha256(tmp_path / "gone.pth")


def test_a_source_is_read_once_and_again_when_it_looks_changed(checkpoint: Path, cache: Path) -> None:
    with counted_opens(checkpoint) as opens:
        for _ in range(2):
            assert source_sha256(checkpoint) == of(b"first weights")
        assert opens() == 1
    then = checkpoint.stat()
    time.sleep(0.01)
    checkpoint.write_bytes(b"other weights")
    os.utime(checkpoint, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert source_sha256(checkpoint) == of(b"other weights")
    assert not in_cache(cache), "what lies in people's archives is written down in the ledger alone"
