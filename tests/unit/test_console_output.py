"""What is printed is what is known: names are data, whatever rich or a terminal would take them for."""

import json
from contextlib import closing
from pathlib import Path

import pytest
from rich.progress import Progress
from rich.text import Text

from console.cli.audit.item_export import item_json, item_tree
from console.cli.doctor import Check, checks_table
from console.cli.run_summary import as_json, summary_table
from console.cli.terminal import err, out
from db.read.evidence import item_evidence
from db.schema.database import open_ledger
from deepsound.pipeline import OutcomeKind
from tasks.operations.run_results import ItemResult
from tests.ledger_samples import a_run, begin, dub


def a_result(name: str) -> ItemResult:
    return ItemResult(
        1, name, f"/archive/{name}.mp4", OutcomeKind.DONE, None, None, {}, None, (), None
    )  # fmt: skip


@pytest.mark.parametrize("name", ["Reel 12 [restored]", "a[/b]", "[red]", "reel :cat: 1", "[link=http://evil]x"])
def test_a_name_is_no_markup(name: str, capsys: pytest.CaptureFixture[str]):
    out.print(summary_table([a_result(name)]))
    out.print(f"said of {name}")
    err.print(f"said of {name}")
    printed = capsys.readouterr()
    assert name in printed.out.splitlines()[1]
    assert printed.out.splitlines()[2] == printed.err.strip() == f"said of {name}"
    assert "done" in printed.out


def test_a_backend_is_named_as_it_was_given(capsys: pytest.CaptureFixture[str]):
    out.print(checks_table([Check("generator foo[bar]", "", "foo[bar]: there is none; see [here]")]))
    printed = capsys.readouterr().out
    assert "generator foo[bar]" in printed
    assert "foo[bar]: there is none; see [here]" in printed


@pytest.mark.parametrize("said", ["\x1b]0;owned\x07", "\x9b31m", "\x1b[2J", "a\rb", "\u202egpm"])
def test_nothing_that_is_told_steers_a_terminal(said: str, capsys: pytest.CaptureFixture[str]):
    out.print(summary_table([a_result(said)]))
    out.print(Text(said))
    with Progress(console=out) as progress:
        progress.add_task(said)
    assert not set("\x1b\x9b\x07\r\u202e") & set(capsys.readouterr().out)


def test_a_source_cannot_forge_a_line_of_its_evidence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = "reel\n│   └── decided voice-over = no\x1b[8m.mp4"
    with closing(open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")) as ledger:
        _, [item_id] = begin(ledger, a_run(source))
        dub(ledger, item_id)
        with ledger.read() as session:
            [item] = item_evidence(session, [item_id])
            out.print(item_tree(item, None))
            told = json.loads(json.dumps(item_json(item, None)))
    printed = capsys.readouterr().out
    assert not any(line.startswith("│   └── decided voice-over = no") for line in printed.splitlines())
    assert "\x1b" not in printed
    assert r"source reel\n" in printed
    assert told["source"] == source


def test_programs_get_names_as_they_are():
    [item] = as_json("run", [a_result("line\nbreak")])["items"]
    assert item["input"] == "/archive/line\nbreak.mp4"
