"""What every artifact store does. Subclasses provide a fixture `store`."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.storage.protocol import Artifact

NOTHING = hashlib.sha256(b"bytes that nobody put").hexdigest()


def a_file(folder, data=b"some sound", name="sound.wav"):
    path = folder / name
    path.write_bytes(data)
    return path


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class StoreBehaviour:
    def test_an_artifact_is_named_by_its_hash_and_comes_back_unchanged(self, store, tmp_path):
        data = os.urandom(300_000)
        artifact = store.put(a_file(tmp_path, data), "audio/wav")
        assert artifact == Artifact(sha256(data), 300_000, "audio/wav")
        assert store.has(artifact.sha256)
        with store.local(artifact.sha256) as path:
            assert path.read_bytes() == data

    def test_a_deleted_artifact_is_gone_and_can_be_put_again(self, store, tmp_path):
        artifact = store.put(a_file(tmp_path), "audio/wav")
        assert store.delete(artifact.sha256)
        assert not store.has(artifact.sha256)
        assert not store.is_intact(artifact.sha256)
        assert not store.delete(artifact.sha256)
        assert not store.delete(NOTHING)
        assert store.put(a_file(tmp_path), "audio/wav") == artifact
        assert store.is_intact(artifact.sha256)

    def test_an_empty_file_is_an_artifact(self, store, tmp_path):
        artifact = store.put(a_file(tmp_path, b""), "text/plain")
        assert (artifact.sha256, artifact.size) == (sha256(b""), 0)
        with store.local(artifact.sha256) as path:
            assert path.read_bytes() == b""

    def test_the_local_file_is_read_only(self, store, tmp_path):
        artifact = store.put(a_file(tmp_path), "audio/wav")
        with store.local(artifact.sha256) as path:
            assert path.stat().st_mode & 0o222 == 0

    def test_a_source_may_change_after_it_is_put(self, store, tmp_path):
        source = a_file(tmp_path, b"first")
        artifact = store.put(source, "text/plain")
        source.write_bytes(b"second")
        with store.local(artifact.sha256) as path:
            assert path.read_bytes() == b"first"

    def test_threads_that_put_the_same_bytes_store_one_artifact(self, store, tmp_path):
        data = os.urandom(200_000)
        sources = [a_file(tmp_path, data, f"copy-{number}.wav") for number in range(8)]
        with ThreadPoolExecutor(8) as threads:
            artifacts = set(threads.map(lambda source: store.put(source, "audio/wav"), sources))
        assert artifacts == {Artifact(sha256(data), 200_000, "audio/wav")}
        with store.local(sha256(data)) as path:
            assert path.read_bytes() == data

    def test_many_threads_read_one_artifact(self, store, tmp_path):
        data = os.urandom(200_000)
        store.put(a_file(tmp_path, data), "audio/wav")

        def read(_):
            with store.local(sha256(data)) as path:
                return path.read_bytes()

        with ThreadPoolExecutor(8) as threads:
            assert set(threads.map(read, range(16))) == {data}

    def test_a_missing_artifact_is_an_error_that_names_it(self, store):
        assert not store.has(NOTHING)
        with pytest.raises(DeepSoundError) as caught, store.local(NOTHING):
            pass
        assert caught.value.code is ErrorCode.ARTIFACT_MISSING
        assert NOTHING in str(caught.value)
        assert store.url in str(caught.value)

    def test_only_stored_artifacts_are_intact(self, store, tmp_path):
        artifact = store.put(a_file(tmp_path, os.urandom(300_000)), "audio/wav")
        assert store.is_intact(artifact.sha256)
        assert not store.is_intact(NOTHING)
        assert not store.is_intact("../../etc/passwd")

    def test_artifacts_are_listed_by_age(self, store, tmp_path):
        put = {store.put(a_file(tmp_path, os.urandom(100)), "audio/wav").sha256 for _ in range(3)}
        assert set(store.kept(timedelta(seconds=-60))) >= put
        assert not set(store.kept(timedelta(hours=1))) & put

    @pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n", "🎬" * 16])
    def test_a_name_that_is_no_hash_is_never_used_as_a_path(self, store, name):
        assert not store.has(name)
        with pytest.raises(DeepSoundError) as caught, store.local(name):
            pass
        assert caught.value.code is ErrorCode.ARTIFACT_MISSING

    @pytest.mark.parametrize("kind", ["gone", "folder", "pipe"])
    def test_a_source_that_is_no_regular_file_is_an_error_that_names_it(self, store, tmp_path, kind):
        source = tmp_path / "sound.wav"
        if kind == "folder":
            source.mkdir()
        if kind == "pipe":
            os.mkfifo(source)
        with pytest.raises(DeepSoundError) as caught:
            store.put(source, "audio/wav")
        assert caught.value.code is ErrorCode.SOURCE_MISSING
        assert str(source) in str(caught.value)

    def test_a_source_name_may_hold_any_character(self, store, tmp_path):
        for name in ("a b'\"; rm -rf $HOME.wav", "ピアノ\n.wav", "-rf", "%2e%2e%2f"):
            artifact = store.put(a_file(tmp_path, name.encode(), name), "audio/wav")
            assert store.has(artifact.sha256)
