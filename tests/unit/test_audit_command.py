"""`deepsound audit` and `deepsound run`, as typed: where there is nothing to read, and with seals."""

import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from console.cli.app import main
from db.schema.database import open_ledger
from deepsound.errors import DeepSoundError
from flows.local_run import drive_run
from tasks.runtime.stores import StoreUrls
from tasks.runtime.worker import open_worker
from tests.ledger_samples import a_run, begin, dub

Typed = Callable[..., tuple[int, str, list[str]]]

READING = [
    ("audit", "verify"),
    ("audit", "verify", "nonesuch"),
    ("audit", "reconcile"),
    ("audit", "show", "reel"),
    ("audit", "report", "nonesuch"),
    ("review",),
    ("run", "list"),
    ("run", "status", "nonesuch"),
    ("run", "watch", "nonesuch"),
    ("run", "retry", "nonesuch"),
    ("run", "prune", "--older-than-days", "30"),
]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    monkeypatch.setenv("DEEPSOUND_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)

    def type_it(*arguments: str) -> tuple[int, str, list[str]]:
        monkeypatch.setattr(sys, "argv", ["deepsound", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        printed = capsys.readouterr()
        return int(stopped.value.code or 0), printed.out, printed.err.splitlines()

    return type_it


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_what_only_reads_makes_no_ledger_and_says_that_there_is_none(
    typed: Typed, tmp_path: Path, command: tuple[str, ...]
):
    file = tmp_path / "typo" / "ledger.sqlite3"
    code, out, [complaint] = typed(*command, "--db", f"sqlite:///{file}")
    assert (code, out) == (2, "")
    assert "there is no ledger" in complaint
    assert "--db" in complaint
    assert not file.parent.exists()


def test_a_database_of_something_else_is_no_ledger_and_stays_as_it_is(typed: Typed, tmp_path: Path):
    file = tmp_path / "photos.sqlite3"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE photo (name TEXT)")
    before = file.read_bytes()
    code, _, [complaint] = typed("audit", "verify", "--db", f"sqlite:///{file}")
    assert code == 2
    assert "there is no ledger" in complaint
    assert file.read_bytes() == before


def test_an_empty_postgresql_database_is_no_ledger(typed: Typed, postgres_url: str):
    for _ in range(2):
        code, _, [complaint] = typed("audit", "verify", "--db", postgres_url)
        assert code == 2
        assert "there is no ledger" in complaint


@pytest.mark.parametrize("check", ["verify", "reconcile"])
def test_nothing_to_check_does_not_pass(typed: Typed, tmp_path: Path, check: str):
    url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    open_ledger(url).close()
    code, out, [complaint] = typed("audit", check, "--db", url)
    assert (code, out) == (2, "")
    assert "no run" in complaint
    code, _, [complaint] = typed("audit", check, "nonesuch", "--db", url)
    assert code == 2
    assert "there is no run nonesuch" in complaint


@pytest.mark.parametrize("at", ["tomorrow", "0001-01-01T00:00+14:00"])
def test_what_is_no_time_to_start_at_is_one_line(typed: Typed, at: str):
    code, out, [complaint] = typed("run", "submit", "reels", "--at", at)
    assert (code, out) == (2, "")
    assert f"{at!r} is not a time" in complaint


def test_a_budget_without_end_is_one_line(typed: Typed):
    code, out, [complaint] = typed("run", "submit", "reels", "--budget-gpu-hours", "inf")
    assert (code, out) == (2, "")
    assert "the budget is infinite" in complaint


OF_ANOTHER_KIND = """-----BEGIN PUBLIC KEY-----
MDIwEAYHKoZIzj0CAQYFK4EEAAYDHgAEpoldgesGhk6y/To2YSF7Zf2hE9AuvZ1L
G4wkjQ==
-----END PUBLIC KEY-----
"""
"""A public key, of a curve that is too short to be of use (secp112r1)."""


class Sealing:
    """A ledger of runs that were sealed with a key in a file as they ended."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url, self.folder, self._patch = f"sqlite:///{folder / 'ledger.sqlite3'}", folder, monkeypatch
        self.key = self.new_key("seal")
        monkeypatch.setenv("DEEPSOUND_SEAL_KEY", str(self.key))
        self.runs = [self.end_a_run(), self.end_a_run()]
        monkeypatch.delenv("DEEPSOUND_SEAL_KEY")
        self.trust("seal")

    def new_key(self, name: str) -> Path:
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (self.folder / f"{name}.pub.pem").write_bytes(public)
        file = self.folder / f"{name}.pem"
        file.write_bytes(private)
        file.chmod(0o400)
        return file

    def trust(self, *names: str) -> None:
        both = b"".join((self.folder / f"{name}.pub.pem").read_bytes() for name in names)
        (self.folder / "trusted.pem").write_bytes(both)
        self._patch.setenv("DEEPSOUND_SEAL_PUBLIC_KEY", str(self.folder / "trusted.pem"))

    def end_a_run(self) -> str:
        place = StoreUrls(db=self.url, store=str(self.folder / "store"))
        worker = open_worker(place)
        run_id, [item] = begin(worker.ledger, a_run("a.mp4"))
        dub(worker.ledger, item)
        drive_run(worker, place, run_id, print)
        return run_id

    def remove_the_last_run(self) -> None:
        with closing(sqlite3.connect(self.folder / "ledger.sqlite3")) as connection:
            for table, condition in (("run", "id = ?"), ("item", "run_id = ?"), ("seal", "run_id = ?")):
                connection.execute(f"DROP TRIGGER {table}_refuses_delete")
                connection.execute(f"DELETE FROM {table} WHERE {condition}", (self.runs[-1],))  # noqa: S608
            connection.commit()


@pytest.fixture
def sealing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sealing:
    return Sealing(tmp_path, monkeypatch)


def test_a_run_is_sealed_as_it_ends_and_verifies(typed: Typed, sealing: Sealing):
    code, out, notes = typed("audit", "verify", "--rows", "--db", sealing.url)
    assert (code, notes) == (0, [])
    assert out.count("everything is as it was written") == 2


def test_an_unsealed_run_is_a_note_and_so_is_a_seal_of_nobody_known(
    typed: Typed, sealing: Sealing, monkeypatch: pytest.MonkeyPatch
):
    sealing.end_a_run()
    monkeypatch.delenv("DEEPSOUND_SEAL_PUBLIC_KEY")
    code, _, notes = typed("audit", "verify", "--rows", "--db", sealing.url)
    assert code == 0
    assert notes[0].startswith("1 of 3 runs have no current seal")
    assert "DEEPSOUND_SEAL_PUBLIC_KEY" in notes[1]


def test_a_wrong_key_is_told_and_an_old_one_may_be_trusted_too(typed: Typed, sealing: Sealing):
    sealing.new_key("new")
    sealing.trust("new")
    code, out, _ = typed("audit", "verify", "--rows", "--db", sealing.url)
    assert code == 1
    assert "seal 1 changed: it is signed by another key" in out
    (sealing.folder / "trusted.pem").write_text(OF_ANOTHER_KIND)
    code, _, [complaint] = typed("audit", "verify", "--rows", "--db", sealing.url)
    assert (code, "holds no Ed25519 key" in complaint) == (2, True)
    sealing.trust("new", "seal")
    assert typed("audit", "verify", "--rows", "--db", sealing.url)[0] == 0


def test_a_run_taken_from_the_end_shows_against_what_was_kept_outside(typed: Typed, sealing: Sealing):
    code, printed, _ = typed("audit", "seals", "--db", sealing.url)
    assert (code, printed.count("\n")) == (0, 2)
    kept = sealing.folder / "kept.jsonl"
    kept.write_text(printed)
    check = ("audit", "verify", "--rows", "--db", sealing.url, "--seals", str(kept))
    assert typed(*check)[0] == 0
    sealing.remove_the_last_run()
    code, out, _ = typed(*check)
    assert code == 1
    assert f"run {sealing.runs[-1]} missing" in out
    line = json.loads(printed.splitlines()[0])
    for wrong in ({}, {**line, "public_key": [5]}, {**line, "signature": None}, {**line, "created_at": 5}):
        kept.write_text(f"{json.dumps(wrong)}\n")
        code, _, [complaint] = typed(*check)
        assert code == 2
        assert "line 1 of" in complaint
    kept.write_text("")
    code, _, [complaint] = typed(*check)
    assert (code, "kept.jsonl holds no seal" in complaint) == (2, True)
    kept.write_text(printed, encoding="utf-16")
    code, _, [complaint] = typed(*check)
    assert (code, "kept.jsonl is not UTF-8" in complaint) == (2, True)


def test_a_key_that_others_may_read_seals_nothing(sealing: Sealing, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DEEPSOUND_SEAL_KEY", str(sealing.key))
    sealing.key.chmod(0o644)
    with pytest.raises(DeepSoundError, match="others than its owner"):
        sealing.end_a_run()
    sealing.key.chmod(0o600)
    sealing.key.write_text("no key")
    with pytest.raises(DeepSoundError, match="holds no Ed25519 key"):
        sealing.end_a_run()
    monkeypatch.setenv("DEEPSOUND_SEAL_KEY", "a name too long" * 100)
    with pytest.raises(DeepSoundError, match="cannot read a name too long"):
        sealing.end_a_run()
