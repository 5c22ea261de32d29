"""The cache of local copies: bounded, shared by processes, and verified."""

import os
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.storage.local_copies import LocalCopies
from tests.store_behaviour import sha256

_KB = 1000


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def copies_of(cache, limit=10**9):
    return LocalCopies(cache, limit, "s3://bucket")


def add(copies, data):
    with copies.of_blocks([data]) as copy:
        return copy.sha256


def there(cache):
    return {path.name for path in cache.glob("??/??/*")}


def nothing_to_download():
    raise AssertionError("this copy should have been there")


def test_a_copy_is_downloaded_once_for_all_readers(cache):
    downloads = []

    def download():
        downloads.append(1)
        return [b"some ", b"sound"]

    for copies in (copies_of(cache), copies_of(cache)):
        for _ in range(2):
            with copies.of_hash(sha256(b"some sound"), download) as path:
                assert path.read_bytes() == b"some sound"
    assert len(downloads) == 1


def test_the_least_recently_used_copies_are_evicted_first(cache):
    copies = copies_of(cache, limit=100 * _KB)
    blobs = [bytes([number]) * 20 * _KB for number in range(5)]
    for data in blobs:
        add(copies, data)
    with copies.of_hash(sha256(blobs[0]), nothing_to_download):
        pass
    newest = add(copies, b"new" * 7 * _KB)
    assert there(cache) == {sha256(data) for data in (blobs[0], *blobs[3:])} | {newest}


def test_copies_in_use_are_never_evicted(cache):
    copies = copies_of(cache, limit=50 * _KB)
    with ExitStack() as stack:
        held = [stack.enter_context(copies.of_blocks([os.urandom(20 * _KB)])).path for _ in range(5)]
        assert all(path.exists() for path in held)
    last = add(copies, os.urandom(20 * _KB))
    kept = there(cache)
    assert last in kept
    assert len(kept) <= 2


_HOLDER = """
import sys
from pathlib import Path
from deepsound.storage.local_copies import LocalCopies
with LocalCopies(Path(sys.argv[1]), 10**9, "").of_blocks([b"held" * 5000]) as copy:
    print(copy.sha256, flush=True)
    sys.stdin.read()
"""


def test_a_copy_in_use_by_another_process_stays_until_that_process_ends(cache):
    copies = copies_of(cache, limit=30 * _KB)
    command = [sys.executable, "-c", _HOLDER, str(cache)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    held = holder.stdout.readline().strip()
    add(copies, os.urandom(20 * _KB))
    assert held in there(cache)
    holder.kill()
    holder.wait()
    add(copies, os.urandom(20 * _KB))
    assert held not in there(cache)


def test_a_damaged_copy_is_downloaded_again(cache):
    digest = add(copies_of(cache), b"some sound")
    kept = next(cache.glob("??/??/*"))
    kept.chmod(0o644)
    kept.write_bytes(b"some s0und")
    with copies_of(cache).of_hash(digest, lambda: [b"some sound"]) as path:
        assert path.read_bytes() == b"some sound"


def test_a_download_of_other_bytes_is_refused_and_not_kept(cache):
    wanted = sha256(b"some sound")
    copies = copies_of(cache)
    with pytest.raises(DeepSoundError) as caught, copies.of_hash(wanted, lambda: [b"other sound"]):
        pass
    assert caught.value.code is ErrorCode.ARTIFACT_DAMAGED
    assert wanted in str(caught.value)
    assert "s3://bucket" in str(caught.value)
    assert there(cache) == set()


def test_the_partial_file_of_a_killed_download_is_removed_after_a_day(cache):
    left = cache / "incoming" / "rest"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a so")
    add(copies_of(cache), b"some sound")
    assert left.exists()
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(left, (two_days_ago, two_days_ago))
    add(copies_of(cache), b"other sound")
    assert not left.exists()
