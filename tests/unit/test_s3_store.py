"""Artifact stores in a bucket, on a good and on a bad network."""

import io
import os
import threading
import time
import traceback
from contextlib import ExitStack
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.storage import open_store
from tests.faulty_network import bad_network
from tests.s3_servers import a_bucket_name, free_port
from tests.store_behaviour import StoreBehaviour, a_file

_MB = 1 << 20


@pytest.fixture
def environment(moto, monkeypatch, tmp_path):
    """The variables of a working server; a request is tried three times."""
    for name, value in moto.environment(tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DEEPSOUND_S3_RETRIES", "2")
    return monkeypatch


@pytest.fixture
def store(environment):
    return open_store(f"s3://{a_bucket_name()}/archive")


@pytest.fixture
def network(moto, environment):
    with bad_network(moto) as network:
        environment.setenv("DEEPSOUND_S3_ENDPOINT", "http://{}:{}".format(*network.address))
        yield network


def bucket_of(store):
    return store.url.removeprefix("s3://").partition("/")[0]


def keys(moto, store):
    return [found.object_name for found in moto.client().list_objects(bucket_of(store), recursive=True)]


def key(digest, prefix="archive/"):
    return f"{prefix}{digest[:2]}/{digest[2:4]}/{digest}"


def empty_cache(environment, tmp_path):
    environment.setenv("DEEPSOUND_CACHE_FOLDER", str(tmp_path / "another cache"))


class TestS3Store(StoreBehaviour):
    pass


def test_an_object_is_named_by_its_hash_and_keeps_its_media_type(store, moto, tmp_path):
    digest = store.put(a_file(tmp_path), "audio/wav").sha256
    assert keys(moto, store) == [key(digest)]
    assert moto.client().stat_object(bucket_of(store), key(digest)).content_type == "audio/wav"


def test_stored_bytes_are_not_sent_again(network, tmp_path):
    store = open_store(f"s3://{a_bucket_name()}")
    source = a_file(tmp_path, os.urandom(2 * _MB))
    store.put(source, "audio/wav")
    sent = network.up
    store.put(source, "audio/wav")
    assert network.up - sent < 10_000


def test_an_object_of_the_wrong_size_is_sent_again(store, moto, tmp_path):
    digest = store.put(a_file(tmp_path), "audio/wav").sha256
    moto.client().put_object(bucket_of(store), key(digest), io.BytesIO(b"half"), 4)
    store.put(a_file(tmp_path), "audio/wav")
    assert moto.client().get_object(bucket_of(store), key(digest)).data == b"some sound"


def test_a_file_uploaded_in_parts_comes_back_unchanged(environment, tmp_path):
    url = f"s3://{a_bucket_name()}"
    data = os.urandom(40 * _MB)
    digest = open_store(url).put(a_file(tmp_path, data), "video/mp4").sha256
    empty_cache(environment, tmp_path)
    with open_store(url).local(digest) as path:
        assert path.read_bytes() == data


def test_a_local_copy_is_used_again_without_a_download(network, tmp_path):
    store = open_store(f"s3://{a_bucket_name()}")
    digest = store.put(a_file(tmp_path), "audio/wav").sha256
    network.close()
    with store.local(digest) as path:
        assert path.read_bytes() == b"some sound"


def test_is_intact_reads_the_bucket_and_not_the_local_copy(store, moto, tmp_path):
    digest = store.put(a_file(tmp_path, b"some sound"), "audio/wav").sha256
    with store.local(digest):
        assert store.is_intact(digest)
    moto.client().put_object(bucket_of(store), key(digest), io.BytesIO(b"some s0und"), 10)
    assert not store.is_intact(digest)


def test_an_object_with_other_bytes_is_an_error_that_names_it(store, moto, environment, tmp_path):
    digest = store.put(a_file(tmp_path, b"some sound"), "audio/wav").sha256
    moto.client().put_object(bucket_of(store), key(digest), io.BytesIO(b"some s0und"), 10)
    empty_cache(environment, tmp_path)
    with pytest.raises(DeepSoundError) as caught, open_store(store.url).local(digest):
        pass
    assert caught.value.code is ErrorCode.ARTIFACT_DAMAGED
    assert digest in str(caught.value)
    assert store.url in str(caught.value)


@pytest.mark.parametrize(
    "prefix", ["", "a/b/c", "ä ö/日本語", "100%25", "a b+c", "what?x=1#y", "'\";--", "...", "s3:", "<&>"]
)
def test_any_printable_prefix_works(environment, moto, tmp_path, prefix):
    store = open_store(f"s3://{a_bucket_name()}/{prefix}")
    digest = store.put(a_file(tmp_path), "audio/wav").sha256
    assert keys(moto, store) == [key(digest, f"{prefix}/" if prefix else "")]
    empty_cache(environment, tmp_path)
    with open_store(store.url).local(digest) as path:
        assert path.read_bytes() == b"some sound"


@pytest.mark.parametrize(
    "rest", ["", "A", "ab", "127.0.0.1", "b_c_d", "a..b", "bucket/../x", "bucket//x", "bucket/./x", "bucket/x\ny",
             "bucket/" + "x" * 1000, "bucket/\udcff", "b\ncket"],
)  # fmt: skip
def test_an_impossible_bucket_or_prefix_is_a_one_line_error(environment, rest):
    with pytest.raises(DeepSoundError) as caught:
        open_store(f"s3://{rest}")
    assert caught.value.code is ErrorCode.BAD_SETTINGS
    assert str(caught.value).encode().count(b"\n") == 0


# --- a bad network ---


def test_an_interrupted_download_continues_at_the_same_byte(network, environment, tmp_path):
    data = os.urandom(6 * _MB)
    store = open_store(f"s3://{a_bucket_name()}")
    digest = store.put(a_file(tmp_path, data), "video/mp4").sha256
    empty_cache(environment, tmp_path)
    network.down, network.cuts, network.cut_after = 0, 3, 2 * _MB
    with open_store(store.url).local(digest) as path:
        assert path.read_bytes() == data
    assert network.cuts == 0
    assert network.down < 7 * _MB


def test_an_interrupted_upload_is_repeated(network, moto, tmp_path):
    store = open_store(f"s3://{a_bucket_name()}")
    data = os.urandom(4 * _MB)
    network.cuts, network.cut_after = 2, 1 * _MB
    digest = store.put(a_file(tmp_path, data), "video/mp4").sha256
    assert network.cuts == 0
    assert moto.client().get_object(bucket_of(store), key(digest, "")).data == data


def test_a_slow_network_is_no_error(network, tmp_path):
    network.delay = 0.1
    store = open_store(f"s3://{a_bucket_name()}")
    digest = store.put(a_file(tmp_path), "audio/wav").sha256
    assert store.has(digest)


def unreachable(action, host):
    start = time.monotonic()
    with pytest.raises(DeepSoundError) as caught:
        action()
    assert time.monotonic() - start < 20
    assert caught.value.code is ErrorCode.STORE_UNREACHABLE
    assert caught.value.is_retryable
    assert host in str(caught.value)
    return caught.value


def test_a_silent_server_times_out(network, environment, tmp_path):
    network.silent = True
    environment.setenv("DEEPSOUND_S3_TIMEOUT", "0.5")
    store = open_store("s3://archive")
    host = "{}:{}".format(*network.address)
    error = unreachable(lambda: store.put(a_file(tmp_path), "audio/wav"), host)
    assert "stopped answering" in str(error)
    assert network.connections == 3


@pytest.mark.parametrize("use", ["put", "has", "local"])
def test_an_unreachable_server_is_named_after_repeated_tries(environment, tmp_path, use):
    host = f"127.0.0.1:{free_port()}"
    environment.setenv("DEEPSOUND_S3_ENDPOINT", f"http://{host}")
    store = open_store("s3://archive")

    def use_it():
        if use == "put":
            store.put(a_file(tmp_path), "audio/wav")
        elif use == "has":
            store.has("0" * 64)
        else:
            with store.local("0" * 64):
                pass

    assert "takes no connections" in str(unreachable(use_it, host))


def test_a_network_that_keeps_failing_is_an_error_and_no_partial_object_stays(network, moto, tmp_path):
    store = open_store(f"s3://{a_bucket_name()}")
    store.has("0" * 64)
    network.cuts, network.cut_after = 1000, 64_000
    source = a_file(tmp_path, os.urandom(2 * _MB))
    unreachable(lambda: store.put(source, "video/mp4"), network.address[0])
    assert keys(moto, store) == []
    network.cuts = 0
    assert store.has(store.put(source, "video/mp4").sha256)


@pytest.fixture(params=[200, 404])
def web_server(request):
    """A web server, as answers at a wrong port: it returns pages."""

    class Page(BaseHTTPRequestHandler):
        def answer(self):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(request.param)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", "4")
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else b"what")

        do_GET = do_HEAD = do_PUT = do_POST = answer  # noqa: N815 - http.server's names

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_server_that_does_not_speak_s3_is_refused(web_server, environment, tmp_path):
    environment.setenv("DEEPSOUND_S3_ENDPOINT", f"http://{web_server}")
    with pytest.raises(DeepSoundError) as caught:
        open_store("s3://archive").put(a_file(tmp_path), "audio/wav")
    assert caught.value.code is ErrorCode.STORE_REFUSED
    assert web_server in str(caught.value)


def test_a_server_without_tls_is_refused_where_https_is_asked_for(moto, environment, tmp_path):
    environment.setenv("DEEPSOUND_S3_ENDPOINT", f"https://{moto.host}:{moto.port}")
    with pytest.raises(DeepSoundError) as caught:
        open_store("s3://archive").has("0" * 64)
    assert caught.value.code is ErrorCode.STORE_REFUSED
    assert "DEEPSOUND_S3_ENDPOINT" in str(caught.value)


# --- settings and secrets ---


def test_secrets_are_in_no_url_repr_error_or_traceback(environment):
    environment.setenv("DEEPSOUND_S3_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    environment.setenv("DEEPSOUND_S3_RETRIES", "0")
    store = open_store("s3://archive/x")
    with pytest.raises(DeepSoundError) as caught:
        store.has("0" * 64)
    shown = "".join([store.url, repr(store), *traceback.format_exception(caught.value)])
    assert "some-secret-key" not in shown
    assert "some-access-key" not in shown


def test_credentials_in_a_url_are_refused_and_not_quoted(environment):
    url = "s3://me:{}@archive/x".format("hunter2")  # so that this line, in the traceback, does not hold it
    with pytest.raises(DeepSoundError) as caught:
        open_store(url)
    assert caught.value.code is ErrorCode.BAD_SETTINGS
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DEEPSOUND_S3_ENDPOINT", None),
        ("DEEPSOUND_S3_ENDPOINT", "http://me:hunter2@host:9000"),
        ("DEEPSOUND_S3_ENDPOINT", "http://host:9000/bucket"),
        ("DEEPSOUND_S3_ENDPOINT", "ftp://host"),
        ("DEEPSOUND_S3_ENDPOINT", "http://[::1"),
        ("DEEPSOUND_S3_ENDPOINT", "http://host:port"),
        ("DEEPSOUND_S3_ENDPOINT", ""),
        ("DEEPSOUND_S3_SECRET_KEY", None),
        ("DEEPSOUND_S3_REGION", "no region!"),
        ("DEEPSOUND_S3_TIMEOUT", "soon"),
        ("DEEPSOUND_S3_RETRIES", "-1"),
        ("DEEPSOUND_CACHE_GB", "0"),
    ],
)
def test_an_unusable_setting_is_named_and_its_value_is_not_quoted(environment, variable, value):
    if value is None:
        environment.delenv(variable)
    else:
        environment.setenv(variable, value)
    with pytest.raises(DeepSoundError) as caught:
        open_store("s3://archive")
    assert caught.value.code is ErrorCode.BAD_SETTINGS
    assert variable in str(caught.value)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("access", "secret"),
    [("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY")],
)
def test_aws_and_minio_variables_give_credentials_too(environment, tmp_path, access, secret):
    for name in ("DEEPSOUND_S3_ACCESS_KEY", "DEEPSOUND_S3_SECRET_KEY"):
        environment.delenv(name)
    with pytest.raises(DeepSoundError) as caught:
        open_store("s3://archive")
    assert caught.value.code is ErrorCode.BAD_SETTINGS
    environment.setenv(access, "other-access-key")
    environment.setenv(secret, "other-secret-key")
    assert open_store(f"s3://{a_bucket_name()}").put(a_file(tmp_path), "audio/wav").size == 10


# --- the bucket ---


def test_stores_that_open_a_missing_bucket_at_the_same_time_create_it_once(environment):
    stores = [open_store(f"s3://{a_bucket_name()}")] * 4
    stores += [open_store(stores[0].url) for _ in range(4)]
    with ExitStack() as stack:
        threads = [threading.Thread(target=store.has, args=("0" * 64,)) for store in stores]
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
    assert not stores[0].has("0" * 64)


def test_sweep_aborts_unfinished_uploads_of_artifacts_only(store, moto):
    store.has("0" * 64)
    client = moto.client()
    ours, another = key("1" * 64), "archive/holiday.mp4"
    for name in (ours, another, key("1" * 64, "archive2/")):
        client._create_multipart_upload(bucket_of(store), name, {})
    assert store.sweep(timedelta(0)) == 1
    left = {upload.object_name for upload in client._list_multipart_uploads(bucket_of(store)).uploads}
    assert left == {another, key("1" * 64, "archive2/")}
