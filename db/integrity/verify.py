"""Finds what was changed, removed or slipped in behind the ledger's back, by hashing everything again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.read.evidence import item_evidence
from db.schema import hashing
from db.schema.records import StepRef, WorkState
from db.schema.tables import (
    AttemptRow,
    Base,
    DocumentRow,
    ItemRow,
    RetryRow,
    RunEventRow,
    RunRow,
    WorkRow,
    row_values,
)
from db.state.attempt_history import chain_links, replay_rows
from deepsound.pipeline import Step

_BATCH = 50

UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""What comes of values that are none of their column: no time, no step, JSON of another shape."""


class Problem(StrEnum):
    """What is wrong with a row."""

    CHANGED = "changed"
    MISSING = "missing"
    ADDED = "added"


@dataclass(frozen=True, slots=True)
class IntegrityFinding:
    """One row that is not as it was written, e.g. `attempt 3 (judge, round 1), thought 2`. No item: the run."""

    item_id: int | None
    row: str
    problem: Problem
    detail: str


def verify_item(session: Session, item_id: int) -> list[IntegrityFinding]:
    """Check an item, its video, its chain of attempts and all that belongs to them. Empty: all as written.

    Rows cut off the end of a chain show as long as the to-do list still knows of them; beyond that it takes
    the run's seal, see `seal_checks`.
    """
    return list(_check_items(session, [item_id]))


def verify_run(session: Session, run_id: str) -> list[IntegrityFinding]:
    """Check a run's settings, its list, what was done to it, and every item."""
    try:
        run = session.get(RunRow, run_id)
        if run is None:
            return [IntegrityFinding(None, f"run {run_id}", Problem.MISSING, "no such run")]
        findings = [*_check_head(session, run)]
    except UNREADABLE as error:
        detail = f"it, its list or its events can't be read: {error}"
        findings = [IntegrityFinding(None, f"run {run_id}", Problem.CHANGED, detail)]
    item_ids = session.scalars(select(ItemRow.id).where(ItemRow.run_id == run_id).order_by(ItemRow.ordinal)).all()
    for start in range(0, len(item_ids), _BATCH):
        findings += _check_items(session, item_ids[start : start + _BATCH])
        session.expunge_all()
    return findings


def _check_head(session: Session, run: RunRow) -> Iterator[IntegrityFinding]:
    if hashing.settings_sha256(run.settings) != run.settings_sha256:
        yield IntegrityFinding(None, f"run {run.id}", Problem.CHANGED, "settings do not match their hash")
    if not manifest_is_intact(session, run):
        detail = "its items are not those it was started with"
        yield IntegrityFinding(None, f"run {run.id}", Problem.CHANGED, detail)
    yield from _check_events(session, run)


def manifest_is_intact(session: Session, run: RunRow) -> bool:
    """Whether the items of a run are, in order, those it was started with."""
    columns = (ItemRow.source, ItemRow.video_sha256, ItemRow.overrides, ItemRow.output_name)
    lines = session.execute(select(*columns).where(ItemRow.run_id == run.id).order_by(ItemRow.ordinal)).tuples()
    return hashing.manifest_sha256(lines) == run.manifest_sha256


def _check_events(session: Session, run: RunRow) -> Iterator[IntegrityFinding]:
    events = session.scalars(
        select(RunEventRow).where(RunEventRow.run_id == run.id).order_by(RunEventRow.seq)
    ).all()
    seq, previous = 0, hashing.run_hash(row_values(run))
    for event in events:
        yield from (_gap(None, f"run_event {missing}") for missing in range(seq + 1, event.seq))
        name = f"run_event {event.seq} ({event.kind})"
        if event.seq == seq + 1 and event.previous_hash != previous:
            yield IntegrityFinding(None, name, Problem.CHANGED, "it does not follow the one before it")
        if hashing.own_hash(row_values(event)) != event.hash:
            yield IntegrityFinding(None, name, Problem.CHANGED, "it does not match its hash")
        seq, previous = event.seq, event.hash


def _gap(item_id: int | None, row: str) -> IntegrityFinding:
    return IntegrityFinding(item_id, row, Problem.MISSING, "the chain has a gap")


def _check_items(session: Session, item_ids: Sequence[int]) -> Iterator[IntegrityFinding]:
    try:
        yield from [*_check_loaded(session, item_ids)]
    except UNREADABLE as error:
        session.expunge_all()
        yield from _find_unreadable(session, item_ids, error)


def _check_loaded(session: Session, item_ids: Sequence[int]) -> Iterator[IntegrityFinding]:
    items = {item.id: item for item in item_evidence(session, item_ids)}
    work = session.scalars(select(WorkRow).where(WorkRow.item_id.in_(item_ids))).all()
    for item_id in item_ids:
        if item_id in items:
            item = items[item_id]
            yield from dict.fromkeys(_check_item(item))
            yield from _check_work(item, [row for row in work if row.item_id == item_id])
        else:
            yield IntegrityFinding(item_id, f"item {item_id}", Problem.MISSING, "no such item")


def _find_unreadable(session: Session, item_ids: Sequence[int], error: Exception) -> Iterator[IntegrityFinding]:
    """One by one, where rows can't even be loaded or hashed: a time or JSON that is none any more."""
    if len(item_ids) > 1:
        for item_id in item_ids:
            yield from _check_items(session, [item_id])
        return
    item_id, found = item_ids[0], False
    seqs = session.scalars(
        select(AttemptRow.seq).where(AttemptRow.item_id == item_id).order_by(AttemptRow.seq)
    ).all()
    for seq in seqs:
        only = select(AttemptRow).where(AttemptRow.item_id == item_id, AttemptRow.seq == seq)
        try:
            hashing.own_hash(row_values(session.scalars(only).one()))
        except UNREADABLE as reason:
            found = True
            yield IntegrityFinding(item_id, f"attempt {seq}", Problem.CHANGED, f"it can't be read: {reason}")
    if not found:
        yield IntegrityFinding(item_id, f"item {item_id}", Problem.CHANGED, f"it can't be read: {error}")


def _check_item(item: ItemRow) -> Iterator[IntegrityFinding]:
    video = None if item.video is None else row_values(item.video)
    if hashing.item_hash(row_values(item), row_values(item.run), video) != item.hash:
        detail = "it, its video or its run does not match its hash"
        yield IntegrityFinding(item.id, f"item {item.id}", Problem.CHANGED, detail)
    yield from _check_chain(item)


def _check_chain(item: ItemRow) -> Iterator[IntegrityFinding]:
    attempts = retries = 0
    previous: str | None = item.hash
    between = {(review.previous_hash, review.hash) for review in item.reviews}
    for link in chain_links(item.attempts, item.retries):
        if isinstance(link, RetryRow):
            name, gap = f"retry {link.seq} ({link.step}, round {link.round})", "retry"
            before, retries = retries, link.seq
            found = _check_retry(link)
        else:
            name, gap = f"attempt {link.seq} ({link.step}, round {link.round})", "attempt"
            before, attempts = attempts, link.seq
            found = _check_attempt(link)
        yield from (_gap(item.id, f"{gap} {missing}") for missing in range(before + 1, link.seq))
        if link.seq != before + 1:
            previous = None
        if previous not in (None, link.previous_hash) and (previous, link.previous_hash) not in between:
            yield IntegrityFinding(item.id, name, Problem.CHANGED, "it does not follow the one before it")
        for row, problem, detail in found:
            yield IntegrityFinding(item.id, ", ".join(filter(None, [name, row])), problem, detail)
        previous = link.hash
    yield from _check_reviews(item)


def _check_reviews(item: ItemRow) -> Iterator[IntegrityFinding]:
    """Reviews are links too: each is followed by the retry it led to, and named by attempts after that."""
    hashes = {attempt.id: attempt.hash for attempt in item.attempts}
    led_to = {retry.previous_hash for retry in item.retries}
    present = {review.seq for review in item.reviews}
    named = {seq for attempt in item.attempts for seq in _reviews_named(attempt)}
    for seq in sorted((named | set(range(1, max(present, default=0)))) - present):
        yield IntegrityFinding(item.id, f"review {seq}", Problem.MISSING, "what came of it is there")
    for review in item.reviews:
        if hashing.review_hash(row_values(review), hashes.get(review.attempt_id)) != review.hash:
            yield IntegrityFinding(item.id, f"review {review.seq}", Problem.CHANGED, "it does not match its hash")
        elif review.hash not in led_to:
            yield IntegrityFinding(item.id, f"review {review.seq}", Problem.ADDED, "nothing was done for it")


def _reviews_named(attempt: AttemptRow) -> Iterator[int]:
    named = (attempt.result or {}).get("review")
    if isinstance(named, dict) and isinstance(seq := cast(dict[str, Any], named).get("seq"), int):
        yield seq


def _check_retry(retry: RetryRow) -> Iterator[tuple[str, Problem, str]]:
    if hashing.retry_hash(row_values(retry)) != retry.hash:
        yield "", Problem.CHANGED, "it does not match its hash"


def _check_attempt(attempt: AttemptRow) -> Iterator[tuple[str, Problem, str]]:
    reused = None if attempt.reused is None else attempt.reused.hash
    if hashing.attempt_hash(row_values(attempt), reused) != attempt.hash:
        yield "", Problem.CHANGED, "it does not match its hash"
    present, written = _digests(attempt), attempt.digests
    for row in [*written, *(row for row in present if row not in written)]:
        if row not in present:
            yield row, Problem.MISSING, "its attempt names it"
        elif row not in written:
            yield row, Problem.ADDED, "its attempt does not name it"
        elif present[row] != written[row]:
            yield row, Problem.CHANGED, "it does not match its digest"
    yield from _check_shared(attempt)


def _digests(attempt: AttemptRow) -> dict[str, str]:
    owned: dict[str, Sequence[Base]] = {
        "thought": attempt.thoughts,
        "decision": attempt.decisions,
        "effect": attempt.effects,
        "attempt_artifact": attempt.artifacts,
        "attempt_model": attempt.models,
    }
    rows = {table: [row_values(row) for row in of_table] for table, of_table in owned.items()}
    kept = {link.artifact_sha256: row_values(link.artifact) for link in attempt.artifacts if link.artifact}
    causes = [effect.decision for effect in attempt.effects if effect.decision]
    return hashing.digests(rows, kept, {cause.attempt_id: cause.attempt.hash for cause in causes})


def _check_shared(attempt: AttemptRow) -> Iterator[tuple[str, Problem, str]]:
    """Rows known by the hash of what they hold."""
    held = [
        (attempt.parameters_sha256, attempt.parameters),
        (attempt.template_sha256, attempt.template),
        (attempt.prompt_sha256, attempt.prompt),
        (attempt.frames_sha256, attempt.frames),
        (attempt.code_version_sha256, attempt.code_version),
        (attempt.environment_sha256, attempt.environment),
        *((link.model_sha256, link.model) for link in attempt.models),
    ]
    for sha256, row in held:
        if sha256 is None:
            continue
        if row is None:
            yield f"what {sha256} stands for", Problem.MISSING, "no such row"
        elif sha256 != _content_sha256(row):
            yield f"{row.__tablename__} {sha256}", Problem.CHANGED, "it does not match its hash"


def _content_sha256(row: Base) -> str:
    return (
        hashing.document_sha256(row.body)
        if isinstance(row, DocumentRow)
        else hashing.content_sha256(row_values(row))
    )


def _check_work(item: ItemRow, work: Sequence[WorkRow]) -> Iterator[IntegrityFinding]:
    """The to-do list as a witness of attempts and retries cut off the end of the chain."""
    present = {StepRef(Step(row.step), row.round): WorkState(row.state) for row in work}
    expected = replay_rows(item.attempts, item.retries).states
    for at, state in present.items():
        is_open = state in (WorkState.PENDING, WorkState.RUNNING)
        if not is_open and expected.get(at) is not state:
            row = f"attempt at {at.step}, round {at.round}"
            yield IntegrityFinding(item.id, row, Problem.MISSING, f"the to-do list says {state}, no attempt does")
        if is_open and expected.get(at) in (WorkState.DONE, WorkState.FAILED):
            row = f"retry of {at.step}, round {at.round}"
            yield IntegrityFinding(
                item.id, row, Problem.MISSING, f"the to-do list says {state}, the attempts do not"
            )
    for at, state in expected.items():
        if at not in present:
            row = f"work {at.step}, round {at.round}"
            yield IntegrityFinding(item.id, row, Problem.MISSING, f"by its attempts it is {state}")
