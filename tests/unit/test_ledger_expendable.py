"""What retention may take: nothing of a video that waits for a person, all but the results once it has ended."""

from datetime import timedelta

from db.read.deletable import deletable_artifacts, deletable_sources
from db.schema.database import Ledger
from deepsound.cot import Verdict
from deepsound.pipeline import OutcomeKind
from tests.ledger_samples import (
    CHECK_STEP,
    GENERATE_STEP,
    JUDGE_STEP,
    NOON,
    PLAN_STEP,
    PUBLISH_STEP,
    SEPARATE_STEP,
    a_run,
    a_video,
    attempt,
    begin,
    bytes_of,
    write,
)
from tests.unit.test_ledger_reviews import go_on, rule

COARSE, LATER = bytes_of("coarse"), NOON + timedelta(days=30)


def spare(ledger: Ledger) -> tuple[list[str], list[str]]:
    """Artifacts, and copies of sources, that may go."""
    with ledger.read() as session:
        return deletable_artifacts(session, LATER, 10), deletable_sources(session, LATER, 10)


def test_what_waits_for_a_person_stays_and_goes_once_it_was_reviewed_and_has_ended(ledger: Ledger) -> None:
    _, (item_id,) = begin(ledger, a_run("a.mp4"))
    write(ledger, attempt(item_id, PLAN_STEP, GENERATE_STEP))
    write(ledger, attempt(item_id, GENERATE_STEP, JUDGE_STEP, outputs={"coarse": COARSE}))
    write(ledger, attempt(item_id, JUDGE_STEP, PUBLISH_STEP))
    write(ledger, attempt(item_id, PUBLISH_STEP, OutcomeKind.NEEDS_REVIEW))
    assert spare(ledger) == ([], []), "a person has to hear it"
    rule(ledger, item_id, Verdict.YES, SEPARATE_STEP)
    assert spare(ledger) == ([], []), "it is open"
    separated = attempt(item_id, SEPARATE_STEP, CHECK_STEP)
    checked = attempt(item_id, CHECK_STEP, PUBLISH_STEP)
    published = attempt(item_id, PUBLISH_STEP, OutcomeKind.DONE)
    go_on(ledger, item_id, separated, checked, published, retries=2)
    assert spare(ledger) == ([COARSE.sha256], [a_video("a.mp4").sha256])
