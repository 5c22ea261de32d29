"""Checks the ledger against its seals, and against seals exported from it earlier."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.integrity.findings import UNREADABLE, IntegrityFinding, Problem
from db.read.hash_chains import ItemChain, event_chain, item_chains
from db.schema.hashing import seal_hash
from db.schema.seal_format import Head, SealContent, head_of, signed_bytes
from db.schema.tables import RunRow, SealRow, row_values


@dataclass(frozen=True, slots=True)
class SealCheck:
    """Findings on a run by its seals, and whether the latest seal covers all of it."""

    findings: Sequence[IntegrityFinding]
    is_sealed: bool


def check_seals(session: Session, run_id: str, trusted: Collection[str]) -> SealCheck:
    """Checks a run against its seals. `trusted`: public keys (hex) that may sign seals; empty: any key."""
    findings: list[IntegrityFinding] = []
    contents: dict[str, SealContent] = {}
    for seal_id in session.scalars(select(SealRow.id).where(SealRow.run_id == run_id).order_by(SealRow.id)):
        name = f"seal {seal_id}"
        try:
            contents[name] = _valid_content(_row(session, seal_id), trusted)
        except ValueError as error:
            findings.append(IntegrityFinding(None, name, Problem.CHANGED, str(error)))
    try:
        run = session.get(RunRow, run_id)
        events = [] if run is None else event_chain(session, run)
    except UNREADABLE:
        events = []  # `verify_run` reports it.
    if not events or not contents:
        return SealCheck(findings, is_sealed=False)
    chains = {chain.ordinal: chain for chain in item_chains(session, run_id)}
    for name, content in contents.items():
        if (mismatch := _mismatch(content.events, events)) is not None:
            detail = f"its name, time of registration or events are not those of {name}: {mismatch}"
            findings.append(IntegrityFinding(None, f"run {run_id}", Problem.CHANGED, detail))
        findings += _check_items(content, name, chains)
    last = [*contents.values()][-1]
    heads = {ordinal: head_of(chain.hashes) for ordinal, chain in chains.items()}
    return SealCheck(findings, is_sealed=last.events == head_of(events) and last.items == heads)


def check_seal_sequence(session: Session) -> list[IntegrityFinding]:
    """Checks that each seal of the ledger follows the one it refers to, which shows deleted seals and runs.

    A deletion of the latest seals shows only in `check_exported_seals`.
    """
    findings: list[IntegrityFinding] = []
    before: tuple[str, str] | None = None
    runs = set(session.scalars(select(RunRow.id)))
    for seal_id, run_id in session.execute(select(SealRow.id, SealRow.run_id).order_by(SealRow.id)).tuples().all():
        findings += _missing_run(runs, run_id, f"seal {seal_id}")
        try:
            row = _row(session, seal_id)
        except ValueError:
            before = (run_id, "")  # `check_seals` reports it. No seal can follow it.
            continue
        try:
            named = SealContent.from_text(row["witness"] or "").previous
        except ValueError:
            named = before  # `check_seals` reports it.
        if named != before:
            expected = "no seal" if named is None else f"a seal of run {named[0]}"
            detail = f"it was written after {expected}, which is not before it now"
            findings.append(IntegrityFinding(None, f"predecessor of seal {seal_id}", Problem.MISSING, detail))
            if named is not None:
                findings += _missing_run(runs, named[0], f"seal {seal_id}")
        before = (run_id, seal_hash(row))
    return findings


def check_exported_seals(
    session: Session, exported: Iterable[Mapping[str, Any]], trusted: Collection[str]
) -> Iterator[IntegrityFinding]:
    """Checks that seals exported earlier (rows of `seal` without the id) are in the ledger."""
    runs = set(session.scalars(select(RunRow.id)))
    present = {seal_hash(row) for row in _readable(session)}
    for row in exported:
        name = f"seal of run {row['run_id']} of {row['created_at']:%Y-%m-%d %H:%M:%S} (exported)"
        try:
            _valid_content(row, trusted)
        except ValueError as error:
            yield IntegrityFinding(None, name, Problem.CHANGED, str(error))
            continue
        if seal_hash(row) not in present:
            yield IntegrityFinding(None, name, Problem.MISSING, "it is not in the ledger")
            yield from _missing_run(runs, str(row["run_id"]), "an exported seal")


def _row(session: Session, seal_id: int) -> Mapping[str, Any]:
    """Reads one seal, whose `witness` may be large. Raises ValueError for unreadable values."""
    try:
        seal = session.scalars(select(SealRow).where(SealRow.id == seal_id)).one()
    except TypeError as error:  # SQLite stores a value of any type: a number for a time.
        raise ValueError(str(error)) from error
    session.expunge(seal)
    row = row_values(seal)
    if (unread := next((name for name, value in row.items() if isinstance(value, bytes)), None)) is not None:
        raise ValueError(f"its {unread} is not text")
    return row


def _readable(session: Session) -> Iterator[Mapping[str, Any]]:
    for seal_id in session.scalars(select(SealRow.id)).all():
        with suppress(ValueError):
            yield _row(session, seal_id)


def _missing_run(runs: Collection[str], run_id: str, named_by: str) -> Iterator[IntegrityFinding]:
    if run_id not in runs:
        yield IntegrityFinding(None, f"run {run_id}", Problem.MISSING, f"{named_by} names it")


def _valid_content(row: Mapping[str, Any], trusted: Collection[str]) -> SealContent:
    """Returns the content of a seal. Raises ValueError if its key, signature or root is invalid."""
    if trusted and row["public_key"] not in trusted:
        raise ValueError(f"it is signed by another key, {row['public_key']}")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(row["public_key"]))
        key.verify(bytes.fromhex(row["signature"]), signed_bytes(seal_hash(row)))
    except InvalidSignature as error:
        raise ValueError("its signature is invalid") from error
    content = SealContent.from_text(row["witness"] or "")
    if (content.root, len(content.items)) != (row["merkle_root"], row["items"]):
        raise ValueError("its root does not match its content")
    return content


def _check_items(content: SealContent, name: str, chains: Mapping[int, ItemChain]) -> Iterator[IntegrityFinding]:
    for ordinal, head in content.items.items():
        chain = chains.get(ordinal)
        if chain is None:
            yield IntegrityFinding(None, f"item {ordinal} of the manifest", Problem.MISSING, f"{name} names it")
        elif (mismatch := _mismatch(head, chain.hashes)) is not None:
            problem = Problem.MISSING if len(chain.hashes) <= head.links else Problem.CHANGED
            detail = f"its chain is not the one of {name}: {mismatch}"
            yield IntegrityFinding(chain.item_id, f"item {chain.item_id}", problem, detail)
    for ordinal in chains.keys() - content.items.keys():
        yield IntegrityFinding(
            chains[ordinal].item_id, f"item {chains[ordinal].item_id}", Problem.ADDED, f"after {name}"
        )


def _mismatch(sealed: Head, hashes: Sequence[str]) -> str | None:
    """Returns why a chain does not begin with the sealed links, or None if it does."""
    if len(hashes) <= sealed.links:
        return f"{len(hashes) - 1} of {sealed.links} links exist"
    return None if hashes[sealed.links] == sealed.hash else f"link {sealed.links} differs"
