"""Folders and buckets behind one protocol, and what only one of them has."""

import io
import os
import subprocess
import sys
import urllib.request
from datetime import timedelta

import pytest

from deepsound.atomic_write import replacing
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.storage.location import location
from deepsound.storage.protocol import FileStat
from deepsound.storage.s3_client import connect
from tests.faulty_network import bad_network
from tests.location_behaviour import LocationBehaviour, put, read
from tests.s3_servers import a_bucket_name

_MB = 1 << 20


@pytest.fixture
def environment(moto, monkeypatch, tmp_path):
    for name, value in moto.environment(tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DEEPSOUND_S3_RETRIES", "2")
    return monkeypatch


@pytest.fixture
def bucket(environment, moto):
    name = a_bucket_name()
    moto.client().make_bucket(name)
    return location(f"s3://{name}")


class TestFileLocation(LocationBehaviour):
    @pytest.fixture
    def folder(self, tmp_path):
        return location(tmp_path / "out")


class TestS3Location(LocationBehaviour):
    @pytest.fixture
    def folder(self, bucket):
        return bucket / "out"


class TestWholeBucket(LocationBehaviour):
    @pytest.fixture
    def folder(self, bucket):
        return bucket


# --- parsing ---


def test_a_text_without_a_scheme_is_a_path(tmp_path):
    assert location("reels/a.mp4").path == location(tmp_path / "reels/a.mp4").path.relative_to(tmp_path)
    assert location("a:b//c").path is not None


def test_a_file_url_names_a_path():
    assert location("file:///archive/b%20%231.mp4") == location("/archive/b #1.mp4")
    with pytest.raises(DeepSoundError) as caught:
        location("file://server/share")
    assert caught.value.code is ErrorCode.BAD_SETTINGS


def test_a_relative_path_is_below_the_folder_that_is_given(tmp_path):
    bucket = location("s3://archive/lists")
    assert location("a.mp4", bucket) == location("s3://archive/lists/a.mp4")
    assert location("a.mp4", location(tmp_path)) == location(tmp_path / "a.mp4")
    assert location("/reels/a.mp4", bucket) == location("/reels/a.mp4")
    assert location("s3://other/a.mp4", location(tmp_path)) == location("s3://other/a.mp4")


def test_a_scheme_that_no_package_adds_is_an_error_that_names_the_known_ones():
    with pytest.raises(DeepSoundError) as caught:
        location("azure://container/reels")
    assert caught.value.code is ErrorCode.BAD_SETTINGS
    assert "location 'azure': not installed" in str(caught.value)
    assert "file, s3" in str(caught.value)


@pytest.mark.parametrize("url", ["s3://", "s3:///key", "s3://A/x", "s3://b\ncket/x"])
def test_a_url_without_a_possible_bucket_is_refused_in_one_line(url):
    with pytest.raises(DeepSoundError) as caught:
        location(url)
    assert caught.value.code is ErrorCode.BAD_SETTINGS
    assert "\n" not in str(caught.value)


def test_a_bucket_is_named_without_its_settings_and_no_path_needs_minio():
    code = "import sys, deepsound.storage.location as it; it.location('/a'); print('minio' in sys.modules)"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DEEPSOUND_S3")}
    told = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"
    assert str(location("s3://archive/reels/")) == "s3://archive/reels"


# --- files ---


def test_a_broken_link_and_a_folder_exist_but_are_no_files(tmp_path):
    link = tmp_path / "reel.wav"
    link.symlink_to("gone.wav")
    assert location(link).stat() == FileStat(0, is_file=False)
    assert location(tmp_path).stat().is_file is False


def test_a_symbolic_link_is_never_deleted(tmp_path):
    kept = put(tmp_path, location(tmp_path / "kept.wav"))
    link = tmp_path / "reel.wav"
    link.symlink_to("kept.wav")
    location(link).delete()
    assert link.is_symlink()
    assert read(kept) == b"some sound"


def test_two_names_of_one_file_are_equal_once_links_are_resolved(tmp_path):
    (tmp_path / "reels").mkdir()
    (tmp_path / "link").symlink_to("reels")
    assert location(tmp_path / "link/a.mp4").resolve() == location(tmp_path / "reels/a.mp4").resolve()


def test_partial_files_of_a_killed_writer_are_swept_once_they_are_old(tmp_path):
    (tmp_path / "out").mkdir()
    killed = replacing(tmp_path / "out" / "reel.wav")
    killed.__enter__()
    out = location(tmp_path / "out")
    assert out.sweep(timedelta(hours=1)) == 0
    assert out.sweep(timedelta(seconds=-1)) == 1
    assert location(tmp_path / "gone").sweep(timedelta(0)) == 0


def test_a_file_in_place_of_a_folder_is_an_error_that_names_it(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(DeepSoundError) as caught:
        put(tmp_path, location(tmp_path / "out" / "reel.wav"))
    assert caught.value.code is ErrorCode.OUTPUT_NOT_WRITABLE
    assert str(tmp_path / "out") in str(caught.value)


def test_a_disk_reports_its_free_space_before_the_folder_exists(tmp_path):
    assert location(tmp_path / "a" / "b").free_bytes() > 0


# --- buckets ---


def test_an_object_that_somebody_else_put_has_no_hash(bucket, moto):
    moto.client().put_object(bucket.bucket, "reel.wav", io.BytesIO(b"theirs"), 6)
    assert (bucket / "reel.wav").stat() == FileStat(6, None)


def test_a_key_is_a_name_and_not_a_path(bucket, moto):
    for key in ("a//b.wav", "a/.../c.wav"):
        moto.client().put_object(bucket.bucket, key, io.BytesIO(key.encode()), len(key))
    assert [read(file) for file in bucket.files()] == [b"a/.../c.wav", b"a//b.wav"]


def test_a_key_that_the_client_refuses_is_an_error_of_that_file(bucket):
    for access in (read, lambda file: file.stat()):
        with pytest.raises(DeepSoundError, match=r"'\.' or '\.\.'") as caught:
            access(bucket / "lists/../reel.mp4")
        assert caught.value.code is ErrorCode.SOURCE_MISSING


def test_an_interrupted_download_continues_at_the_same_byte(bucket, moto, environment, tmp_path):
    data = os.urandom(6 * _MB)
    put(tmp_path, bucket / "reel.mov", data)
    with bad_network(moto) as network:
        environment.setenv("DEEPSOUND_S3_ENDPOINT", "http://{}:{}".format(*network.address))
        network.cuts, network.cut_after = 3, 2 * _MB
        with (bucket / "reel.mov").local() as path:
            assert path.read_bytes() == data
        assert network.cuts == 0
        assert network.down < 7 * _MB


def test_an_object_that_is_replaced_while_it_is_read_is_an_error(bucket, moto, environment, tmp_path):
    size = 40 * _MB  # More than sockets buffer, so the server has not sent all of it when it is replaced.
    file = put(tmp_path, bucket / "reel.mov", bytes(size))
    with bad_network(moto) as network:
        environment.setenv("DEEPSOUND_S3_ENDPOINT", "http://{}:{}".format(*network.address))
        blocks = file.blocks()
        next(blocks)
        moto.client().put_object(bucket.bucket, "reel.mov", io.BytesIO(b"1" * size), size)
        network.cuts, network.cut_after = 1, 0
        with pytest.raises(DeepSoundError, match="replaced while it was read") as caught:
            list(blocks)
    assert caught.value.is_retryable


def test_a_link_to_an_object_opens_it_and_holds_no_secret(bucket, moto, tmp_path):
    link = put(tmp_path, bucket / "report.html").link()
    with urllib.request.urlopen(link) as page:
        assert page.read() == b"some sound"
        assert page.headers["content-type"] == "audio/wav"
    assert moto.secret_key not in link


def test_free_space_of_a_bucket_is_what_the_quota_leaves(bucket, environment, tmp_path):
    assert bucket.free_bytes() is None
    put(tmp_path, bucket / "reel.wav", bytes(1000))
    environment.setenv("DEEPSOUND_STORE_QUOTA_GB", "0.001")
    assert (bucket / "out").free_bytes() == 999_000
    for wrong in ("much", "inf", "nan"):
        environment.setenv("DEEPSOUND_STORE_QUOTA_GB", wrong)
        with pytest.raises(DeepSoundError, match="DEEPSOUND_STORE_QUOTA_GB") as caught:
            bucket.free_bytes()
        assert caught.value.code is ErrorCode.BAD_SETTINGS


def test_all_locations_of_a_server_share_one_client(environment):
    assert connect() is connect()
    environment.setenv("DEEPSOUND_S3_SECRET_KEY", "another secret key")
    first = connect()
    environment.setenv("DEEPSOUND_S3_SECRET_KEY", "a third secret key")
    assert connect() is not first
