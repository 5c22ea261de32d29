"""The bucket store against a real server: real signatures, real parts, real deaths of the server."""

import os
import re
import time
import traceback
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.storage import open_store
from tests.faulty_network import bad_network
from tests.s3_servers import a_bucket_name
from tests.store_behaviour import StoreBehaviour, a_file, sha256

pytestmark = pytest.mark.integration

_MB = 1 << 20


@pytest.fixture
def environment(radosgw, monkeypatch, tmp_path):
    for name, value in radosgw.server.environment(tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture(scope="module")
def bucket(radosgw):
    name = a_bucket_name()
    radosgw.server.client().make_bucket(name)
    return name


@pytest.fixture
def store(environment, bucket, tmp_path):
    return open_store(f"s3://{bucket}/{tmp_path.name}")


@pytest.fixture
def network(radosgw, environment):
    with bad_network(radosgw.server) as network:
        environment.setenv("DEEPSOUND_S3_ENDPOINT", "http://{}:{}".format(*network.address))
        yield network


@pytest.fixture
def gateway(radosgw):
    """The server, for tests that kill it: it runs again afterwards."""
    yield radosgw
    radosgw.kill_gateway()
    radosgw.start_gateway()


def objects(radosgw, store):
    bucket, _, prefix = store.url.removeprefix("s3://").partition("/")
    return list(radosgw.server.client().list_objects(bucket, prefix, recursive=True))


def empty_cache(environment, tmp_path):
    environment.setenv("DEEPSOUND_CACHE_FOLDER", str(tmp_path / "another cache"))


def failure_of(action):
    with pytest.raises(DeepSoundError) as caught:
        action()
    return caught.value


class TestStoreOnRadosGateway(StoreBehaviour):
    pass


def test_a_missing_bucket_is_created(environment, tmp_path):
    store = open_store(f"s3://{a_bucket_name()}")
    assert store.has(store.put(a_file(tmp_path), "audio/wav").sha256)


def test_a_file_uploaded_in_parts_comes_back_unchanged(store, environment, tmp_path):
    data = os.urandom(36 * _MB)
    digest = store.put(a_file(tmp_path, data), "video/mp4").sha256
    empty_cache(environment, tmp_path)
    with open_store(store.url).local(digest) as path:
        assert path.read_bytes() == data


@pytest.mark.parametrize(
    "prefix", ["ä ö/日本語", "100%25", "a b+c", "what?x=1#y", "'\";--", "...", "<&>", "a*b~c"]
)
def test_any_printable_prefix_works(environment, bucket, tmp_path, prefix):
    store = open_store(f"s3://{bucket}/{prefix}")
    digest = store.put(a_file(tmp_path, prefix.encode()), "audio/wav").sha256
    empty_cache(environment, tmp_path)
    with open_store(store.url).local(digest) as path:
        assert path.read_bytes() == prefix.encode()


@pytest.mark.parametrize("variable", ["DEEPSOUND_S3_SECRET_KEY", "DEEPSOUND_S3_ACCESS_KEY"])
def test_wrong_credentials_are_refused_and_not_shown(environment, store, tmp_path, variable):
    environment.setenv(variable, "not-the-right-key")
    error = failure_of(lambda: open_store(store.url).put(a_file(tmp_path), "audio/wav"))
    assert error.code is ErrorCode.STORE_REFUSED
    assert not error.is_retryable
    assert store.url in str(error)
    assert "not-the-right-key" not in "".join(traceback.format_exception(error))


@pytest.fixture
def stranger(environment, radosgw):
    """Another user of the server, who may create no buckets, is who we are now."""
    name = f"stranger-{uuid.uuid4().hex[:8]}"
    radosgw.add_user(name, "stranger-secret-key", buckets=-1)
    environment.setenv("DEEPSOUND_S3_ACCESS_KEY", name)
    environment.setenv("DEEPSOUND_S3_SECRET_KEY", "stranger-secret-key")
    return name


def test_a_bucket_of_somebody_else_is_refused(stranger, bucket, tmp_path):
    error = failure_of(lambda: open_store(f"s3://{bucket}").put(a_file(tmp_path), "audio/wav"))
    assert error.code is ErrorCode.STORE_REFUSED


def test_a_missing_bucket_that_may_not_be_created_is_refused(stranger, tmp_path):
    error = failure_of(lambda: open_store(f"s3://{a_bucket_name()}").put(a_file(tmp_path), "audio/wav"))
    assert error.code is ErrorCode.STORE_REFUSED
    assert "does not exist and may not be created" in str(error)


def documented_policy(bucket, user):
    [policy] = re.findall(r"```json\n(.*?)```", Path("docs/reference/stores.md").read_text(), re.DOTALL)
    return policy.replace("arn:aws:iam::ACCOUNT:user/deepsound", f"arn:aws:iam:::user/{user}").replace(
        "BUCKET", bucket
    )


def test_the_documented_policy_is_enough(stranger, radosgw, environment, tmp_path):
    bucket = a_bucket_name()
    owner = radosgw.server.client()
    owner.make_bucket(bucket)
    owner.set_bucket_policy(bucket, documented_policy(bucket, stranger))
    store, data = open_store(f"s3://{bucket}/x"), os.urandom(20 * _MB)
    digest = store.put(a_file(tmp_path, data), "video/mp4").sha256
    assert store.has(digest)
    assert not store.has("0" * 64)
    assert store.sweep(timedelta(seconds=-60)) == 0
    empty_cache(environment, tmp_path)
    with open_store(store.url).local(digest) as path:
        assert path.read_bytes() == data


def test_a_server_stopped_during_an_upload_is_an_error_and_no_partial_object_stays(
    gateway, network, environment, bucket, tmp_path
):
    environment.setenv("DEEPSOUND_S3_RETRIES", "3")
    store = open_store(f"s3://{bucket}/stopped")
    data = os.urandom(40 * _MB)
    source, digest = a_file(tmp_path, data), sha256(data)
    with ThreadPoolExecutor(1) as thread:
        network.delay = 0.001
        sending = thread.submit(store.put, source, "video/mp4")
        network.wait_until("up", 20 * _MB)
        gateway.kill_gateway()
        error = failure_of(sending.result)
    assert error.code is ErrorCode.STORE_UNREACHABLE
    assert error.is_retryable
    assert "{}:{}".format(*network.address) in str(error)

    gateway.start_gateway()
    network.delay = 0
    assert objects(gateway, store) == []
    assert not store.has(digest)
    assert store.sweep(timedelta(hours=1)) == 0
    assert store.sweep(timedelta(seconds=-60)) == 1
    assert store.sweep(timedelta(seconds=-60)) == 0
    assert store.put(source, "video/mp4").sha256 == digest
    empty_cache(environment, tmp_path)
    with open_store(store.url).local(digest) as path:
        assert path.read_bytes() == data


def test_an_upload_continues_when_the_server_is_back(gateway, network, environment, bucket, tmp_path):
    environment.setenv("DEEPSOUND_S3_RETRIES", "8")
    store = open_store(f"s3://{bucket}/back")
    data = os.urandom(40 * _MB)
    with ThreadPoolExecutor(1) as thread:
        network.delay = 0.001
        sending = thread.submit(store.put, a_file(tmp_path, data), "video/mp4")
        network.wait_until("up", 20 * _MB)
        gateway.kill_gateway()
        network.delay = 0
        time.sleep(2)
        gateway.start_gateway()
        digest = sending.result().sha256
    assert [found.size for found in objects(gateway, store)] == [len(data)]
    empty_cache(environment, tmp_path)
    with open_store(store.url).local(digest) as path:
        assert path.read_bytes() == data


def test_a_download_continues_when_the_server_is_back(gateway, network, environment, bucket, tmp_path):
    environment.setenv("DEEPSOUND_S3_RETRIES", "8")
    url, data = f"s3://{bucket}/down", os.urandom(24 * _MB)
    digest = open_store(url).put(a_file(tmp_path, data), "video/mp4").sha256
    empty_cache(environment, tmp_path)

    def read():
        with open_store(url).local(digest) as path:
            return path.read_bytes()

    with ThreadPoolExecutor(1) as thread:
        network.down, network.delay = 0, 0.001
        reading = thread.submit(read)
        network.wait_until("down", 8 * _MB)
        gateway.kill_gateway()
        network.delay = 0
        time.sleep(2)
        gateway.start_gateway()
        assert reading.result() == data
    assert network.down < 26 * _MB
