"""Finding items by whatever an auditor holds, and seeing everything about them."""

from pathlib import Path

from db.read.evidence import find_items, item_evidence
from db.schema.database import Ledger, open_ledger
from tests.ledger_samples import (
    GENERATE_STEP,
    PLAN_STEP,
    SETTINGS,
    a_run,
    a_video,
    attempt,
    begin,
    bytes_of,
    dub,
    write,
)


def test_an_item_is_found_by_anything_that_is_known_of_it(ledger: Ledger) -> None:
    run_id, (item_id, _) = begin(ledger, a_run("archive/reel_1.mp4", "archive/reelX1.mp4"))
    dub(ledger, item_id)
    published = bytes_of(f"item {item_id} mp4", "video/mp4")
    with ledger.read() as session:
        by_video = a_video("archive/reel_1.mp4").sha256
        for known in (str(item_id), "archive/reel_1.mp4", "reel_1.mp4", by_video, published.sha256):
            assert find_items(session, known) == [item_id], known
        assert sorted(find_items(session, run_id)) == [item_id, item_id + 1]
        for unknown in ("", "el_1.mp4", "%", "0" * 64, "²", "9" * 40):
            assert find_items(session, unknown) == [], unknown


def test_the_newest_item_comes_first(ledger: Ledger) -> None:
    _, (older,) = begin(ledger, a_run("a.mp4"))
    _, (newer,) = begin(ledger, a_run("a.mp4"))
    with ledger.read() as session:
        assert find_items(session, "a.mp4") == [newer, older]


def test_an_artifact_leads_to_the_items_that_reused_the_attempt_that_made_it(ledger: Ledger) -> None:
    _, (maker, reuser) = begin(ledger, a_run("a.mp4", "b.mp4"))
    made = write(ledger, attempt(maker, PLAN_STEP, GENERATE_STEP, outputs={"coarse": bytes_of("coarse")}))
    write(ledger, attempt(reuser, PLAN_STEP, GENERATE_STEP, reused_attempt_id=made))
    with ledger.read() as session:
        assert find_items(session, bytes_of("coarse").sha256) == [reuser, maker]


def test_the_evidence_of_an_item_leads_from_a_changed_sound_to_the_words_that_caused_it(ledger: Ledger) -> None:
    _, (item_id,) = begin(ledger, a_run("a.mp4"))
    dub(ledger, item_id)
    with ledger.read() as session:
        (item,) = item_evidence(session, [item_id])
    # Everything is loaded: the session is closed.
    assert item.run.settings == SETTINGS
    assert item.run.code_version.release == "0.1.0"
    assert item.video is not None
    assert item.video.probe is not None
    (effect, _) = next(made for made in item.attempts if made.step == "separate").effects
    assert effect.decision is not None
    judged = effect.decision.attempt
    assert judged.raw_output is not None
    assert judged.raw_output[effect.decision.span_start : effect.decision.span_end] == "A"
    judge = next(made for made in item.attempts if made.step == "judge")
    assert judge.id == judged.id
    assert judge.parameters is not None
    assert '"speech_threshold":0.5' in judge.parameters.body
    assert judge.frames is not None
    assert judge.environment.packages["package-3"] == "1.3"


def test_items_come_in_the_order_asked_and_unknown_ones_not_at_all(ledger: Ledger) -> None:
    _, (first, second) = begin(ledger, a_run("a.mp4", "b.mp4"))
    with ledger.read() as session:
        assert [item.id for item in item_evidence(session, [second, 999, first])] == [second, first]


def test_a_video_takes_less_than_25_kilobytes(tmp_path: Path) -> None:
    items = 25
    file = tmp_path / "ledger.sqlite3"
    open_ledger(f"sqlite:///{file}").close()
    empty = file.stat().st_size
    ledger = open_ledger(f"sqlite:///{file}")
    _, ids = begin(ledger, a_run(*(f"archive/box-17/reel-{number:05}.mp4" for number in range(items))))
    for item_id in ids:
        dub(ledger, item_id)
    ledger.close()
    assert (file.stat().st_size - empty) / items < 25_000
