"""Names and texts from outside come back from the database as they went in, or visibly marked."""

import math
import os
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from db.integrity.verify import verify_run
from db.read.evidence import find_items, item_evidence
from db.read.queries import item_history
from db.schema.column_types import escape_name, finite, in_utc, storable, storable_json, unescape_name
from db.schema.database import Ledger
from db.schema.run_records import NewItem, NewRun
from db.schema.tables import ItemRow
from deepsound.pipeline import OutcomeKind
from tests.ledger_samples import CODE, PLAN_STEP, SETTINGS, a_video, attempt, begin, write

HOSTILE = [
    "'; DROP TABLE attempt; --.mp4",
    'a"b`c$(rm -rf ~).mp4',
    "100%_sure%s{0}\\n.mp4",
    "Zoë/映像/🎬 \u202egpj.mp4",
    "line\nbreak\ttab.mp4",
    os.fsdecode(b"reel-\xff\xfe.mp4"),
    "back\\slash\\xff.mp4",
    "nul\x00byte.mp4",
    "x" * 5000 + ".mp4",
]


@given(st.binary())
def test_any_bytes_a_file_system_allows_survive_as_text(name: bytes) -> None:
    text = escape_name(os.fsdecode(name))
    assert text.encode().decode() == text
    assert os.fsencode(unescape_name(text)) == name


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_any_name_can_be_escaped_and_brought_back(name: str) -> None:
    assert unescape_name(escape_name(name)) == name
    assert b"\x00" not in escape_name(name).encode()


def test_an_ordinary_name_is_stored_as_it_is() -> None:
    assert escape_name("archive/Zoë 映像.mp4") == "archive/Zoë 映像.mp4"


def test_an_undecodable_byte_can_be_read_by_a_person() -> None:
    assert escape_name(os.fsdecode(b"reel-\xff.mp4")) == r"reel-\xff.mp4"


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_text_is_made_storable_without_moving_a_character(text: str) -> None:
    kept = storable(text)
    assert len(kept) == len(text)
    assert "\x00" not in kept
    assert kept.encode().decode() == kept


def test_json_is_made_storable_all_the_way_down() -> None:
    assert storable_json({"a\x00": [("x\ud800", 1.5)], "b": {"c": None}}) == {
        "a\ufffd": [["x\ufffd", 1.5]],
        "b": {"c": None},
    }


def test_what_is_no_number_is_not_measured() -> None:
    assert finite(-math.inf) is None
    assert finite(math.nan) is None
    assert finite(1) == 1.0


def test_a_time_is_kept_in_utc() -> None:
    tokyo = datetime(2026, 11, 1, 9, 30, tzinfo=timezone(timedelta(hours=9)))
    assert in_utc(tokyo) == datetime(2026, 11, 1, 0, 30, tzinfo=UTC)
    with pytest.raises(ValueError, match="has no time zone"):
        in_utc(datetime(2026, 11, 1, 9, 30))


def test_hostile_names_are_data(ledger: Ledger) -> None:
    items = [NewItem(name, f"out/{name}", a_video(str(number))) for number, name in enumerate(HOSTILE)]
    run_id, ids = begin(ledger, NewRun(HOSTILE[0], SETTINGS, items, CODE))
    with ledger.read() as session:
        kept = session.execute(select(ItemRow.source, ItemRow.output_name).order_by(ItemRow.ordinal)).all()
        assert kept == [(name, f"out/{name}") for name in HOSTILE]
        assert [find_items(session, name) for name in HOSTILE] == [[item_id] for item_id in ids]
        assert verify_run(session, run_id) == []
        assert session.scalar(select(func.count()).select_from(ItemRow)) == len(HOSTILE)


def test_hostile_words_of_a_model_are_data(ledger: Ledger) -> None:
    run_id, (item_id,) = begin(ledger, NewRun("reels", SETTINGS, [NewItem("a.mp4", "a", a_video("a"))], CODE))
    said = "'); DELETE FROM run; -- \x00 \ud83d 🎬 \\u0000 <CONCLUSION> A"
    write(
        ledger, attempt(item_id, PLAN_STEP, OutcomeKind.DONE, prompt=said, raw_output=said, result={said: [said]})
    )
    with ledger.read() as session:
        (item,) = item_evidence(session, [item_id])
        (step,) = item_history(session, item_id)
        assert verify_run(session, run_id) == []
    kept = said.replace("\x00", "\ufffd").replace("\ud83d", "\ufffd")
    assert item.attempts[0].raw_output == kept
    assert item.attempts[0].prompt is not None
    assert item.attempts[0].prompt.body == kept
    assert step.result == {kept: [kept]}
