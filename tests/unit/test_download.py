"""Downloads: gone on with where they stopped, whole or not there, and one clear line where they can't be had."""

import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.models.download import Download, download
from tests.store_behaviour import sha256
from tests.weights_publisher import Publisher, publishing

DATA = np.random.default_rng(1).bytes(300_000)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing() as opened:
        opened.files["/weights.pth"] = DATA
        yield opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models" / "weights.pth"


def wanted(publisher: Publisher, **known: int | None) -> Download:
    told = {"size": len(DATA), "sha256": sha256(DATA)} | known
    return Download(f"{publisher.url}/weights.pth", sha256(DATA), **told)


def fetch(what: Download, path: Path) -> list[tuple[int, int | None]]:
    told: list[tuple[int, int | None]] = []
    download(what, path, lambda here, of: told.append((here, of)))
    return told


def failure(what: Download, path: Path) -> DeepSoundError:
    with pytest.raises(DeepSoundError) as caught:
        fetch(what, path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return caught.value


def in_folder(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


@pytest.mark.parametrize("known", [{}, {"size": None}, {"size": None, "sha256": None}])
def test_a_file_comes_whole_and_leaves_nothing_beside_it(publisher: Publisher, path: Path, known: dict[str, None]):
    told = fetch(wanted(publisher, **known), path)
    assert path.read_bytes() == DATA
    assert in_folder(path) == ["weights.pth"]
    assert told[-1] == (len(DATA), len(DATA))


@pytest.mark.parametrize("known", [{}, {"size": None}])
def test_cut_connections_are_gone_on_with(publisher: Publisher, path: Path, known: dict[str, None]):
    publisher.cuts = [100_000, 50_000]
    fetch(wanted(publisher, **known), path)
    assert path.read_bytes() == DATA
    assert publisher.ranges() == [None, "bytes=100000-", "bytes=150000-"]


def test_so_are_those_of_an_earlier_process(publisher: Publisher, path: Path):
    interrupted(publisher, wanted(publisher), path)
    assert not path.exists()
    fetch(wanted(publisher), path)
    assert path.read_bytes() == DATA
    assert publisher.ranges()[-1] == "bytes=100000-"


def interrupted(publisher: Publisher, what: Download, path: Path) -> None:
    """Fetch 100 kB of it, after which the publisher takes it away for a moment."""
    publisher.cuts = [100_000]

    def stop(here: int, of: int | None) -> None:
        publisher.statuses = [404]

    with pytest.raises(DeepSoundError, match="HTTP 404"):
        download(what, path, stop)


def test_only_the_same_version_is_gone_on_with(publisher: Publisher, path: Path):
    interrupted(publisher, wanted(publisher), path)
    fetch(Download(f"{publisher.url}/weights.pth", "another version", len(DATA)), path)
    assert publisher.ranges()[-1] is None
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("bad", ["knows_ranges", "shifts_ranges"])
def test_a_server_that_sends_other_bytes_than_asked_for_does_no_harm(publisher: Publisher, path: Path, bad: str):
    interrupted(publisher, wanted(publisher), path)
    setattr(publisher, bad, bad == "shifts_ranges")
    fetch(wanted(publisher), path)
    assert path.read_bytes() == DATA


def test_what_is_longer_than_the_file_is_no_beginning_of_it(publisher: Publisher, path: Path):
    interrupted(publisher, wanted(publisher, size=None), path)
    [part] = path.parent.iterdir()
    part.write_bytes(DATA + b"more")
    fetch(wanted(publisher, size=None), path)
    assert path.read_bytes() == DATA


def test_a_server_with_a_bad_moment_is_asked_again(publisher: Publisher, path: Path):
    publisher.statuses = [503]
    fetch(wanted(publisher), path)
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("served", [DATA[:-1] + b"x", DATA + b"x"], ids=["as long", "longer"])
def test_other_bytes_never_get_the_name(publisher: Publisher, path: Path, served: bytes):
    path.parent.mkdir(parents=True)
    path.write_bytes(b"what was here")
    publisher.files["/weights.pth"] = served
    assert failure(wanted(publisher), path).code is ErrorCode.MODEL_FAILED
    assert path.read_bytes() == b"what was here"


def test_without_a_network_the_line_says_what_to_put_where(path: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/weights.pth"
    error = failure(Download(url, "1"), path)
    assert error.code is ErrorCode.MODEL_MISSING
    assert "can't be reached" in str(error)
    assert error.remedy == f"put it there yourself, from {url}"


@pytest.mark.parametrize(("status", "told"), [(404, "does not hand it out"), (403, "HF_TOKEN")])
def test_a_refusal_says_what_can_be_done(publisher: Publisher, path: Path, status: int, told: str):
    publisher.statuses = [status]
    error = failure(wanted(publisher), path)
    assert (error.code, told in str(error)) == (ErrorCode.MODEL_MISSING, True)


def test_credentials_are_not_handed_on_to_another_host(publisher: Publisher, path: Path):
    publisher.redirects["/signed-in"] = f"http://localhost:{publisher.port}/weights.pth"
    fetch(Download(f"{publisher.url}/signed-in", "1", headers={"Authorization": "Bearer secret"}), path)
    (_, first, _, to_publisher), (_, then, _, to_other) = publisher.asked
    assert (first, to_publisher["authorization"]) == ("/signed-in", "Bearer secret")
    assert then == "/weights.pth"
    assert "authorization" not in to_other


def test_two_processes_do_not_fetch_the_same_file_at_once(publisher: Publisher, path: Path):
    second: list[DeepSoundError] = []

    def meanwhile(here: int, of: int | None) -> None:
        if not second:
            second.append(failure(wanted(publisher), path))

    download(wanted(publisher), path, meanwhile)
    assert "another process" in str(second[0])
    assert path.read_bytes() == DATA


def test_what_does_not_fit_the_disk_is_not_begun(publisher: Publisher, path: Path):
    assert failure(wanted(publisher, size=10**18), path).code is ErrorCode.DISK_FULL
    assert publisher.asked == []


def test_a_folder_that_can_not_be_written_is_named(publisher: Publisher, path: Path):
    path.parent.write_text("a file where the folder should be")
    assert failure(wanted(publisher), path).code is ErrorCode.OUTPUT_NOT_WRITABLE
