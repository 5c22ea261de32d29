"""Artifact stores in a folder."""

import multiprocessing
import os
import subprocess
import sys
import time
from datetime import timedelta

import pytest

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.storage.folder_store import FolderStore
from tests.store_behaviour import StoreBehaviour, a_file, sha256


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


def files_under(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def kept(tmp_path, digest):
    return tmp_path / "store" / digest[:2] / digest[2:4] / digest


class TestFolderStore(StoreBehaviour):
    pass


def test_an_artifact_is_stored_under_the_first_bytes_of_its_hash_and_no_other_file_stays(store, tmp_path):
    digest = store.put(a_file(tmp_path), "audio/wav").sha256
    assert files_under(tmp_path / "store") == [f"{digest[:2]}/{digest[2:4]}/{digest}"]


def test_other_bytes_under_a_hash_are_not_intact(store, tmp_path):
    digest = store.put(a_file(tmp_path), "audio/wav").sha256
    file = kept(tmp_path, digest)
    file.chmod(0o644)
    file.write_bytes(b"others")
    assert not store.is_intact(digest)


def test_stored_bytes_are_not_rewritten(store, tmp_path):
    digest = store.put(a_file(tmp_path), "audio/wav").sha256
    before = kept(tmp_path, digest).stat()
    FolderStore(tmp_path / "store").put(a_file(tmp_path, name="again.wav"), "audio/wav")
    after = kept(tmp_path, digest).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def damage(path, data):
    later = path.stat().st_mtime_ns + 10**9
    path.chmod(0o644)
    path.write_bytes(data)
    # Clocks of file systems may tick so slowly that a put and this look like the same moment.
    os.utime(path, ns=(later, later))


def test_a_damaged_file_is_an_error_that_names_it(store, tmp_path):
    digest = store.put(a_file(tmp_path, b"some sound"), "audio/wav").sha256
    damage(kept(tmp_path, digest), b"some s0und")
    for opened in (store, FolderStore(tmp_path / "store")):
        with pytest.raises(DeepSoundError) as caught, opened.local(digest):
            pass
        assert caught.value.code is ErrorCode.ARTIFACT_DAMAGED
        assert str(kept(tmp_path, digest)) in str(caught.value)


def test_putting_the_bytes_again_repairs_a_damaged_file(store, tmp_path):
    source = a_file(tmp_path, b"some sound")
    digest = store.put(source, "audio/wav").sha256
    damage(kept(tmp_path, digest), b"some")
    store.put(source, "audio/wav")
    with store.local(digest) as path:
        assert path.read_bytes() == b"some sound"


def test_a_process_hashes_an_artifact_once_and_compares_its_size_and_time_later(tmp_path):
    data = os.urandom(64 << 20)
    digest = FolderStore(tmp_path / "store").put(a_file(tmp_path, data), "audio/wav").sha256
    store = FolderStore(tmp_path / "store")
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        with store.local(digest):
            seconds.append(time.perf_counter() - start)
    assert seconds[1] < seconds[0] / 5


def test_a_store_is_named_by_a_file_url_and_needs_no_folder_before_the_first_put(tmp_path):
    store = FolderStore(tmp_path / "päth with # and %")
    assert store.url == (tmp_path / "päth with # and %").as_uri()
    assert not store.has(sha256(b""))
    assert store.sweep(timedelta(0)) == 0
    assert not (tmp_path / "päth with # and %").exists()


def _put_copies(folder, source, times):
    store = FolderStore(folder)
    for _ in range(times):
        store.put(source, "audio/wav")


def test_processes_that_put_the_same_bytes_at_the_same_time_store_one_artifact(store, tmp_path):
    source = a_file(tmp_path, os.urandom(100_000))
    with multiprocessing.get_context("spawn").Pool(4) as processes:
        processes.starmap(_put_copies, [(tmp_path / "store", source, 5)] * 4)
    assert len(files_under(tmp_path / "store")) == 1
    with store.local(sha256(source.read_bytes())) as path:
        assert path.read_bytes() == source.read_bytes()


_WRITER = """
import sys
from pathlib import Path
from deepsound.storage.folder_store import FolderStore
FolderStore(Path(sys.argv[1])).put(Path(sys.argv[2]), "audio/wav")
"""


def test_a_killed_writer_leaves_only_an_incoming_file_which_sweep_removes(store, tmp_path):
    source, incoming = tmp_path / "long.wav", tmp_path / "store" / "incoming"
    with source.open("wb") as file:
        file.truncate(1 << 30)
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path / "store"), str(source)])
    while not (incoming.is_dir() and any(incoming.iterdir())):
        time.sleep(0.005)
    writer.kill()
    writer.wait()
    assert [path.parent for path in (tmp_path / "store").rglob("*") if path.is_file()] == [incoming]
    assert store.sweep(timedelta(hours=1)) == 0
    assert store.sweep(timedelta(seconds=-1)) == 1
    assert files_under(tmp_path / "store") == []


_WITH_SMALL_FILES_ONLY = """
import resource, signal, sys
from pathlib import Path
from deepsound.storage.folder_store import FolderStore
from deepsound.errors import DeepSoundError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    FolderStore(Path(sys.argv[1])).put(Path(sys.argv[2]), "audio/wav")
except DeepSoundError as error:
    print(error.code, error)
"""


def test_a_full_disk_is_an_error_that_names_it_and_no_partial_file_stays(tmp_path):
    source = a_file(tmp_path, bytes(3 << 20))
    command = [sys.executable, "-c", _WITH_SMALL_FILES_ONLY, str(tmp_path / "store"), str(source)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith("disk_full")
    assert str(tmp_path / "store") in said
    assert files_under(tmp_path / "store") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_store_works_again_once_a_full_disk_has_space(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine does not let its root mount a disk")
    try:
        store = FolderStore(disk)
        with pytest.raises(DeepSoundError) as caught:
            store.put(a_file(tmp_path, bytes(3 << 20)), "audio/wav")
        assert caught.value.code is ErrorCode.DISK_FULL
        assert files_under(disk) == []
        store.put(a_file(tmp_path, bytes(1 << 20)), "audio/wav")
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_file_in_place_of_the_folder_is_a_one_line_error(tmp_path):
    in_the_way = a_file(tmp_path, name="store")
    with pytest.raises(DeepSoundError) as caught:
        FolderStore(in_the_way).put(a_file(tmp_path), "audio/wav")
    assert caught.value.code is ErrorCode.STORE_REFUSED
    assert str(in_the_way) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    with pytest.raises(DeepSoundError) as caught:
        FolderStore(closed / "store").put(a_file(tmp_path), "audio/wav")
    assert caught.value.code is ErrorCode.STORE_REFUSED
