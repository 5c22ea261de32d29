"""`deepsound audit` and `deepsound run`, as typed, where there is nothing to read."""

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from console.app import main
from db.engine import open_ledger

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
