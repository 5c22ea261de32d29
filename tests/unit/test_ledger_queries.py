"""What tasks and flows ask of a ledger."""

from sqlalchemy import event

from db.read.queries import OpenStep, find_finished, find_open_run, item_histories, item_history, unfinished_steps
from db.schema.database import Ledger
from db.schema.records import StepRef, WorkState
from db.state.lease_queue import claim
from deepsound.errors import StoreUnreachableError
from deepsound.pipeline import OutcomeKind, Step
from tests.ledger_samples import (
    CHECK_STEP,
    GENERATE_STEP,
    JUDGE_STEP,
    OWNER,
    PLAN_STEP,
    PUBLISH_STEP,
    SEPARATE_STEP,
    a_run,
    attempt,
    begin,
    bytes_of,
    dub,
    write,
)

KEY = "5" * 64
DOWN = StoreUnreachableError("no answer")


def test_a_finished_step_is_found_by_its_key_in_any_run(ledger: Ledger) -> None:
    _, (first,) = begin(ledger, a_run("a.mp4"))
    coarse = bytes_of("coarse")
    made = attempt(
        first, PLAN_STEP, GENERATE_STEP, step_key=KEY, result={"samples": 3}, outputs={"coarse": coarse}
    )
    attempt_id = write(ledger, made)
    with ledger.read() as session:
        found = find_finished(session, KEY)
        assert find_finished(session, "6" * 64) is None
    assert found is not None
    assert (found.attempt_id, found.result, found.outputs) == (attempt_id, {"samples": 3}, {"coarse": coarse})


def test_neither_a_failed_nor_a_reused_attempt_stands_for_a_result(ledger: Ledger) -> None:
    _, (first, second, third) = begin(ledger, a_run("a.mp4", "b.mp4", "c.mp4"))
    write(ledger, attempt(first, PLAN_STEP, OutcomeKind.FAILED, step_key=KEY, failure=DOWN))
    with ledger.read() as session:
        assert find_finished(session, KEY) is None
    made = write(ledger, attempt(second, PLAN_STEP, GENERATE_STEP, step_key=KEY))
    write(ledger, attempt(third, PLAN_STEP, GENERATE_STEP, step_key=KEY, reused_attempt_id=made))
    with ledger.read() as session:
        found = find_finished(session, KEY)
    assert found is not None
    assert found.attempt_id == made


def test_the_history_of_an_item_is_enough_to_go_on_from(ledger: Ledger) -> None:
    _, (item_id,) = begin(ledger, a_run("a.mp4"))
    dub(ledger, item_id)
    with ledger.read() as session:
        history = item_history(session, item_id)
    assert [step.at for step in history] == [
        PLAN_STEP,
        GENERATE_STEP,
        JUDGE_STEP,
        SEPARATE_STEP,
        CHECK_STEP,
        PUBLISH_STEP,
    ]
    judged = history[2]
    assert judged.result["verdict"] == "yes"
    assert judged.probability == 0.97
    assert [(made.key, made.value) for made in judged.decisions] == [("voice_over", "yes")]
    assert sorted(history[3].outputs) == ["background", "voice"]


def test_of_a_step_done_again_the_history_shows_the_latest_and_of_a_failure_nothing(ledger: Ledger) -> None:
    _, (item_id,) = begin(ledger, a_run("a.mp4"))
    write(ledger, attempt(item_id, PLAN_STEP, PLAN_STEP, failure=DOWN))
    write(ledger, attempt(item_id, PLAN_STEP, GENERATE_STEP, result={"try": 1}))
    write(ledger, attempt(item_id, GENERATE_STEP, PLAN_STEP, result={"try": 1}))
    write(ledger, attempt(item_id, PLAN_STEP, GENERATE_STEP, result={"try": 2}))
    with ledger.read() as session:
        history = item_history(session, item_id)
    assert [(step.at, step.result) for step in history] == [(GENERATE_STEP, {"try": 1}), (PLAN_STEP, {"try": 2})]


def test_a_reused_step_shows_the_result_of_the_attempt_it_stands_for(ledger: Ledger) -> None:
    _, (first,) = begin(ledger, a_run("a.mp4"))
    dub(ledger, first)
    _, (second,) = begin(ledger, a_run("a.mp4"))
    with ledger.read() as session:
        original = next(step for step in item_history(session, first) if step.at == JUDGE_STEP)
    write(ledger, attempt(second, PLAN_STEP, JUDGE_STEP))
    write(ledger, attempt(second, JUDGE_STEP, SEPARATE_STEP, reused_attempt_id=original.attempt_id))
    with ledger.read() as session:
        assert item_history(session, second)[-1] == original


def test_what_is_unfinished_is_one_query_in_the_order_of_the_list(ledger: Ledger) -> None:
    run_id, (done, running, waiting) = begin(ledger, a_run("a.mp4", "b.mp4", "c.mp4"))
    begin(ledger, a_run("other.mp4"))
    dub(ledger, done)
    write(ledger, attempt(waiting, PLAN_STEP, StepRef(Step.GENERATE, 1)))
    with ledger.write() as session:
        claim(session, running, PLAN_STEP, OWNER, 60)
    statements: list[str] = []
    with ledger.read() as session:
        event.listen(session.get_bind(), "before_cursor_execute", lambda *context: statements.append(context[2]))
        left = unfinished_steps(session, run_id)
    assert left == [
        OpenStep(running, PLAN_STEP, WorkState.RUNNING, OWNER),
        OpenStep(waiting, GENERATE_STEP, WorkState.PENDING, None),
    ]
    assert len([statement for statement in statements if statement.startswith("SELECT")]) == 1


def test_an_unfinished_run_is_found_by_what_it_was_asked_and_a_finished_one_is_not(ledger: Ledger) -> None:
    run = a_run("a.mp4")
    asked = (run.settings_sha256, run.manifest_sha256)
    run_id, (item_id,) = begin(ledger, run)
    with ledger.read() as session:
        assert find_open_run(session, *asked) == run_id
        assert find_open_run(session, run.settings_sha256, a_run("b.mp4").manifest_sha256) is None
        assert find_open_run(session, "0" * 64, run.manifest_sha256) is None
    dub(ledger, item_id)
    with ledger.read() as session:
        assert find_open_run(session, *asked) is None


def test_the_list_is_hashed_in_order_and_with_everything_in_it() -> None:
    hashes = {a_run(*names).manifest_sha256 for names in (("a", "b"), ("b", "a"), ("a",), ("a", "b", "c"))}
    assert len(hashes) == 4


def test_the_histories_of_many_items_are_those_of_each(ledger: Ledger):
    _, items = begin(ledger, a_run("a.mp4", "b.mp4", "c.mp4"))
    for item_id in items[:2]:
        dub(ledger, item_id)
    with ledger.read() as session:
        together = item_histories(session, items)
        assert together == {item_id: item_history(session, item_id) for item_id in items}
    assert [len(together[item_id]) for item_id in items] == [6, 6, 0]
