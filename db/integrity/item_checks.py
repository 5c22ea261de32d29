"""Checks one item's rows against their hashes: its chain, what belongs to each attempt, and its rows of `work`."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

from db.integrity.findings import IntegrityFinding, Problem
from db.schema import hashing
from db.schema.records import StepRef, WorkState
from db.schema.tables import AttemptRow, Base, DocumentRow, ItemRow, RetryRow, WorkRow, row_values
from db.state.attempt_history import chain_links, replay_rows
from deepsound.pipeline import Step


def check_item(item: ItemRow) -> Iterator[IntegrityFinding]:
    """Checks an item, its video, and its chain of attempts, retries and reviews, loaded by `item_evidence`."""
    video = None if item.video is None else row_values(item.video)
    if hashing.item_hash(row_values(item), row_values(item.run), video) != item.hash:
        detail = "it, its video or its run does not match its hash"
        yield IntegrityFinding(item.id, f"item {item.id}", Problem.CHANGED, detail)
    yield from _check_chain(item)


def check_work(item: ItemRow, work: Sequence[WorkRow]) -> Iterator[IntegrityFinding]:
    """Checks the item's rows of `work` against its chain, which shows links that were cut off its end."""
    present = {StepRef(Step(row.step), row.round): WorkState(row.state) for row in work}
    expected = replay_rows(item.attempts, item.retries).states
    for at, state in present.items():
        is_open = state in (WorkState.PENDING, WorkState.RUNNING)
        detail = f"the step is {state} in work, but not by its attempts"
        if not is_open and expected.get(at) is not state:
            row = f"attempt at {at.step}, round {at.round}"
            yield IntegrityFinding(item.id, row, Problem.MISSING, detail)
        if is_open and expected.get(at) in (WorkState.DONE, WorkState.FAILED):
            row = f"retry of {at.step}, round {at.round}"
            yield IntegrityFinding(item.id, row, Problem.MISSING, detail)
    for at, state in expected.items():
        if at not in present:
            row = f"work {at.step}, round {at.round}"
            yield IntegrityFinding(item.id, row, Problem.MISSING, f"the step is {state} by its attempts")


def _check_chain(item: ItemRow) -> Iterator[IntegrityFinding]:
    attempts = retries = 0
    previous: str | None = item.hash
    between = {(review.previous_hash, review.hash) for review in item.reviews}
    for link in chain_links(item.attempts, item.retries):
        if isinstance(link, RetryRow):
            name, kind = f"retry {link.seq} ({link.step}, round {link.round})", "retry"
            before, retries = retries, link.seq
            found = _check_retry(link)
        else:
            name, kind = f"attempt {link.seq} ({link.step}, round {link.round})", "attempt"
            before, attempts = attempts, link.seq
            found = _check_attempt(link)
        yield from (_gap(item.id, f"{kind} {missing}") for missing in range(before + 1, link.seq))
        if link.seq != before + 1:
            previous = None
        if previous not in (None, link.previous_hash) and (previous, link.previous_hash) not in between:
            yield IntegrityFinding(item.id, name, Problem.CHANGED, "it does not follow the link before it")
        for row, problem, detail in found:
            yield IntegrityFinding(item.id, ", ".join(filter(None, [name, row])), problem, detail)
        previous = link.hash
    yield from _check_reviews(item)


def _check_reviews(item: ItemRow) -> Iterator[IntegrityFinding]:
    """Checks that a retry follows each review, and that each review that a result names exists."""
    hashes = {attempt.id: attempt.hash for attempt in item.attempts}
    retried_from = {retry.previous_hash for retry in item.retries}
    present = {review.seq for review in item.reviews}
    named = {seq for attempt in item.attempts for seq in _reviews_named(attempt)}
    for seq in sorted((named | set(range(1, max(present, default=0)))) - present):
        yield IntegrityFinding(item.id, f"review {seq}", Problem.MISSING, "later rows refer to it")
    for review in item.reviews:
        if hashing.review_hash(row_values(review), hashes.get(review.attempt_id)) != review.hash:
            yield IntegrityFinding(item.id, f"review {review.seq}", Problem.CHANGED, "it does not match its hash")
        elif review.hash not in retried_from:
            yield IntegrityFinding(item.id, f"review {review.seq}", Problem.ADDED, "no retry follows it")


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
    artifacts = {link.artifact_sha256: row_values(link.artifact) for link in attempt.artifacts if link.artifact}
    causes = [effect.decision for effect in attempt.effects if effect.decision]
    return hashing.digests(rows, artifacts, {cause.attempt_id: cause.attempt.hash for cause in causes})


def _check_shared(attempt: AttemptRow) -> Iterator[tuple[str, Problem, str]]:
    """Checks rows that are keyed by the hash of their content."""
    shared = [
        (attempt.parameters_sha256, attempt.parameters),
        (attempt.template_sha256, attempt.template),
        (attempt.prompt_sha256, attempt.prompt),
        (attempt.frames_sha256, attempt.frames),
        (attempt.code_version_sha256, attempt.code_version),
        (attempt.environment_sha256, attempt.environment),
        *((link.model_sha256, link.model) for link in attempt.models),
    ]
    for sha256, row in shared:
        if sha256 is None:
            continue
        if row is None:
            yield f"row with key {sha256}", Problem.MISSING, "its attempt names it"
        elif sha256 != _content_sha256(row):
            yield f"{row.__tablename__} {sha256}", Problem.CHANGED, "it does not match its hash"


def _content_sha256(row: Base) -> str:
    return (
        hashing.document_sha256(row.body)
        if isinstance(row, DocumentRow)
        else hashing.content_sha256(row_values(row))
    )


def _gap(item_id: int, row: str) -> IntegrityFinding:
    return IntegrityFinding(item_id, row, Problem.MISSING, "the chain has a gap")
