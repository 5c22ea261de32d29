"""Finds rows of a run that were changed, removed or added outside the ledger's own code, by hashing them again."""

from collections.abc import Iterator, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.integrity.findings import UNREADABLE, IntegrityFinding, Problem
from db.integrity.item_checks import check_item, check_work
from db.read.evidence import item_evidence
from db.schema import hashing
from db.schema.tables import AttemptRow, ItemRow, RunEventRow, RunRow, WorkRow, row_values

_BATCH = 50


def verify_item(session: Session, item_id: int) -> list[IntegrityFinding]:
    """Checks an item, its video, its hash chain and all rows that belong to it.

    Links cut off the end of the chain are found as long as `work` still has their step. If those rows are deleted
    too, only the run's seal shows it, see `db.integrity.seal_checks`.
    """
    return list(_check_items(session, [item_id]))


def verify_run(session: Session, run_id: str) -> list[IntegrityFinding]:
    """Checks a run's settings, manifest and events, and every item."""
    try:
        run = session.get(RunRow, run_id)
        if run is None:
            return [IntegrityFinding(None, f"run {run_id}", Problem.MISSING, "no such run")]
        findings = [*_check_run(session, run)]
    except UNREADABLE as error:
        detail = f"its row, its manifest or its events can't be read: {error}"
        findings = [IntegrityFinding(None, f"run {run_id}", Problem.CHANGED, detail)]
    item_ids = session.scalars(select(ItemRow.id).where(ItemRow.run_id == run_id).order_by(ItemRow.ordinal)).all()
    for start in range(0, len(item_ids), _BATCH):
        findings += _check_items(session, item_ids[start : start + _BATCH])
        session.expunge_all()
    return findings


def manifest_is_intact(session: Session, run: RunRow) -> bool:
    """Whether the items of a run are, in order, those it was registered with."""
    columns = (ItemRow.source, ItemRow.video_sha256, ItemRow.overrides, ItemRow.output_name)
    lines = session.execute(select(*columns).where(ItemRow.run_id == run.id).order_by(ItemRow.ordinal)).tuples()
    return hashing.manifest_sha256(lines) == run.manifest_sha256


def _check_run(session: Session, run: RunRow) -> Iterator[IntegrityFinding]:
    if hashing.settings_sha256(run.settings) != run.settings_sha256:
        yield IntegrityFinding(None, f"run {run.id}", Problem.CHANGED, "settings do not match their hash")
    if not manifest_is_intact(session, run):
        detail = "its items are not those it was registered with"
        yield IntegrityFinding(None, f"run {run.id}", Problem.CHANGED, detail)
    yield from _check_events(session, run)


def _check_events(session: Session, run: RunRow) -> Iterator[IntegrityFinding]:
    events = session.scalars(
        select(RunEventRow).where(RunEventRow.run_id == run.id).order_by(RunEventRow.seq)
    ).all()
    seq, previous = 0, hashing.run_hash(row_values(run))
    for event in events:
        for missing in range(seq + 1, event.seq):
            yield IntegrityFinding(None, f"run_event {missing}", Problem.MISSING, "the chain has a gap")
        name = f"run_event {event.seq} ({event.kind})"
        if event.seq == seq + 1 and event.previous_hash != previous:
            yield IntegrityFinding(None, name, Problem.CHANGED, "it does not follow the event before it")
        if hashing.own_hash(row_values(event)) != event.hash:
            yield IntegrityFinding(None, name, Problem.CHANGED, "it does not match its hash")
        seq, previous = event.seq, event.hash


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
            yield from dict.fromkeys(check_item(item))
            yield from check_work(item, [row for row in work if row.item_id == item_id])
        else:
            yield IntegrityFinding(item_id, f"item {item_id}", Problem.MISSING, "no such item")


def _find_unreadable(session: Session, item_ids: Sequence[int], error: Exception) -> Iterator[IntegrityFinding]:
    """Checks items one by one, since one unreadable row prevents loading all of them."""
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
