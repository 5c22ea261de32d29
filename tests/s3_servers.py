"""Real S3 servers for tests: moto's (any secret will do) and a Ceph RadosGW (real signatures), without Docker.

Both are fixtures of the session: `moto` an `S3Server`, `radosgw` a `RadosGateway`.
"""

import secrets
import shutil
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest
from minio import Minio

_CEPH_PROGRAMS = ("ceph-authtool", "monmaptool", "ceph-mon", "ceph-osd", "ceph", "radosgw", "radosgw-admin")
_CEPH_PACKAGES = "radosgw ceph-mon ceph-osd ceph-mgr ceph-common"
_STARTS_WITHIN = 120  # seconds


@dataclass(frozen=True)
class S3Server:
    """Where a server listens, and the one user it knows."""

    host: str
    port: int
    access_key: str
    secret_key: str

    @property
    def endpoint(self):
        return f"http://{self.host}:{self.port}"

    def environment(self, cache):
        return {
            "DEEPSOUND_S3_ENDPOINT": self.endpoint,
            "DEEPSOUND_S3_ACCESS_KEY": self.access_key,
            "DEEPSOUND_S3_SECRET_KEY": self.secret_key,
            "DEEPSOUND_CACHE_FOLDER": str(cache),
        }

    def client(self):
        """A plain client, to look at a bucket from outside."""
        return Minio(f"{self.host}:{self.port}", self.access_key, self.secret_key, secure=False)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def a_bucket_name():
    return f"artifacts-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def moto():
    from moto.server import ThreadedMotoServer  # here, so that other tests don't wait for it

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield S3Server(host, port, "some-access-key", "some-secret-key")
    server.stop()


class RadosGateway:
    """A Ceph cluster of one monitor, one OSD in a file and one S3 gateway, on loopback and free ports."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._config = folder / "ceph.conf"
        self._daemons = []
        self._gateway = None
        self.server = S3Server("127.0.0.1", free_port(), "test-access-key", secrets.token_hex(16))

    def start(self):
        addresses = f"[v2:127.0.0.1:{free_port()},v1:127.0.0.1:{free_port()}]"
        cluster, osd = str(uuid.uuid4()), str(uuid.uuid4())
        for name in ("mon", "osd", "rgw"):
            (self._folder / name).mkdir()
        self._config.write_text(_ceph_config(self._folder, cluster, addresses, self.server.port))
        self._make_keys()
        monitors = str(self._folder / "monmap")
        self._do("monmaptool", "--create", "--addv", "a", addresses, "--fsid", cluster, monitors)
        self._ceph("ceph-mon", "--mkfs", "-i", "a", "--monmap", monitors)
        self._daemons.append(self._run("ceph-mon", "-i", "a"))
        self._ceph("ceph", "osd", "new", osd, "0")
        self._ceph("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._daemons.append(self._run("ceph-osd", "-i", "0"))
        self.start_gateway()
        self.add_user(self.server.access_key, self.server.secret_key)

    def add_user(self, access_key, secret_key, buckets=0):
        """A user named by its access key, who may own so many buckets; 0: any number, -1: none."""
        who = (f"--uid={access_key}", "--display-name=x", f"--max-buckets={buckets}")
        keys = (f"--access-key={access_key}", f"--secret={secret_key}")
        self._ceph("radosgw-admin", "user", "create", *who, *keys)

    def start_gateway(self):
        self._gateway = self._run("radosgw", "-n", "client.rgw.x")
        deadline = time.monotonic() + _STARTS_WITHIN
        while time.monotonic() < deadline and self._gateway.poll() is None:
            try:
                socket.create_connection((self.server.host, self.server.port), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError(f"the gateway does not start: {self._last_words('client.rgw.x')}")

    def kill_gateway(self):
        """The S3 server is gone at once, its data stays."""
        self._gateway.kill()
        self._gateway.wait()

    def stop(self):
        for daemon in (self._gateway, *reversed(self._daemons)):
            if daemon is not None:
                daemon.kill()  # the data is thrown away, so nothing is worth waiting for
                daemon.wait()

    def _make_keys(self):
        everything = ("--cap", "mon", "allow *", "--cap", "osd", "allow *")
        self._key("mon.", "--cap", "mon", "allow *")
        self._key("client.admin", *everything)
        self._key("osd.0", "--cap", "mon", "allow profile osd", "--cap", "osd", "allow *")
        self._key("client.rgw.x", "--cap", "mon", "allow rw", "--cap", "osd", "allow rwx")

    def _key(self, name, *capabilities):
        keyring = self._folder / "keyring"
        create = () if keyring.exists() else ("--create-keyring",)
        self._do("ceph-authtool", *create, str(keyring), "--gen-key", "-n", name, *capabilities)

    def _ceph(self, program, *arguments):
        self._do(program, "-c", str(self._config), *arguments)

    def _do(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, timeout=_STARTS_WITHIN)
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stderr[-2000:]}")

    def _run(self, program, *arguments):
        # In the foreground and tied to us: a test run that is killed leaves no servers behind. The tie is to the
        # thread that starts it, so start servers from the main thread.
        command = ["setpriv", "--pdeathsig", "KILL", program, "-f", "-c", str(self._config), *arguments]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _last_words(self, name):
        log = self._folder / f"{name}.log"
        return log.read_text(errors="replace")[-2000:] if log.exists() else "no log"


def _ceph_config(folder, cluster, addresses, port):
    return f"""
[global]
fsid = {cluster}
mon host = {addresses}
public addr = 127.0.0.1
keyring = {folder}/keyring
log file = {folder}/$name.log
admin socket =
run dir = {folder}
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data avail crit = 1
mon max pg per osd = 1000
osd objectstore = bluestore
bluestore block size = {4 << 30}
bluestore block create = true
bluestore cache autotune = false
bluestore cache size = {64 << 20}
osd memory target = 939524096
[mon]
mon data = {folder}/mon
[osd]
osd data = {folder}/osd
[client.rgw.x]
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw thread pool size = 32
rgw enable usage log = false
"""


@pytest.fixture(scope="session")
def radosgw(tmp_path_factory):
    missing = [program for program in (*_CEPH_PROGRAMS, "setpriv") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"no {missing[0]} here; apt-get install --no-install-recommends {_CEPH_PACKAGES}")
    gateway = RadosGateway(tmp_path_factory.mktemp("ceph"))
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.stop()
