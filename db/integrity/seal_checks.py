"""Holds what is in the ledger today against its seals, and against seals that were kept outside."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.integrity.verify import UNREADABLE, IntegrityFinding, Problem
from db.schema.hashing import seal_hash
from db.schema.tables import RunRow, SealRow, row_values
from db.write.seals import Head, ItemChain, SealContent, event_chain, head_of, item_chains, signed_bytes


@dataclass(frozen=True, slots=True)
class SealCheck:
    """What seals say of a run, and whether the last of them holds all of it."""

    findings: Sequence[IntegrityFinding]
    is_sealed: bool


def check_seals(session: Session, run_id: str, trusted: Collection[str]) -> SealCheck:
    """Hold a run against its seals. `trusted`: public keys (hex) that seals may be signed by; none: any."""
    findings: list[IntegrityFinding] = []
    witnesses: dict[str, SealContent] = {}
    for seal_id in session.scalars(select(SealRow.id).where(SealRow.run_id == run_id).order_by(SealRow.id)):
        name = f"seal {seal_id}"
        try:
            witnesses[name] = _believed(_row(session, seal_id), trusted)
        except ValueError as error:
            findings.append(IntegrityFinding(None, name, Problem.CHANGED, str(error)))
    try:
        run = session.get(RunRow, run_id)
        events = [] if run is None else event_chain(session, run)
    except UNREADABLE:
        events = []  # `verify_run` names it.
    if not events or not witnesses:
        return SealCheck(findings, is_sealed=False)
    chains = {chain.ordinal: chain for chain in item_chains(session, run_id)}
    for name, witness in witnesses.items():
        if (lack := _lack(witness.events, events)) is not None:
            detail = f"its name, time of registration or events are not those of {name}: {lack}"
            findings.append(IntegrityFinding(None, f"run {run_id}", Problem.CHANGED, detail))
        findings += _check_items(witness, name, chains)
    last = [*witnesses.values()][-1]
    heads = {ordinal: head_of(chain.hashes) for ordinal, chain in chains.items()}
    return SealCheck(findings, is_sealed=last.events == head_of(events) and last.items == heads)


def check_seal_sequence(session: Session) -> list[IntegrityFinding]:
    """Whether each seal of the ledger follows the one it names, so that none, and no run with its seals, is gone.

    What was taken away from the end shows only against seals kept outside.
    """
    findings: list[IntegrityFinding] = []
    before: tuple[str, str] | None = None
    runs = set(session.scalars(select(RunRow.id)))
    for seal_id, run_id in session.execute(select(SealRow.id, SealRow.run_id).order_by(SealRow.id)).tuples().all():
        findings += _missing_run(runs, run_id, f"seal {seal_id}")
        try:
            row = _row(session, seal_id)
        except ValueError:
            before = (run_id, "")  # Its own check says that it can't be read; nobody knows what would follow it.
            continue
        try:
            named = SealContent.from_text(row["witness"] or "").previous
        except ValueError:
            named = before  # Its own check says that it was changed.
        if named != before:
            gone = "no seal" if named is None else f"a seal of run {named[0]}"
            detail = f"it follows {gone}, which is not the one before it now"
            findings.append(IntegrityFinding(None, f"what seal {seal_id} follows", Problem.MISSING, detail))
            if named is not None:
                findings += _missing_run(runs, named[0], f"seal {seal_id}, as the run sealed before,")
        before = (run_id, seal_hash(row))
    return findings


def check_exported_seals(
    session: Session, kept: Iterable[Mapping[str, Any]], trusted: Collection[str]
) -> Iterator[IntegrityFinding]:
    """Whether seals that were kept outside, as rows of `seal`, are all in the ledger."""
    runs = set(session.scalars(select(RunRow.id)))
    present = {seal_hash(row) for row in _readable(session)}
    for row in kept:
        name = f"seal of run {row['run_id']} of {row['created_at']:%Y-%m-%d %H:%M:%S} (kept outside)"
        try:
            _believed(row, trusted)
        except ValueError as error:
            yield IntegrityFinding(None, name, Problem.CHANGED, str(error))
            continue
        if seal_hash(row) not in present:
            yield IntegrityFinding(None, name, Problem.MISSING, "the ledger does not have it")
            yield from _missing_run(runs, str(row["run_id"]), "a seal kept outside")


def _row(session: Session, seal_id: int) -> Mapping[str, Any]:
    """A seal; its witness may be large, so one at a time. Raises ValueError where it can't be read as one."""
    try:
        seal = session.scalars(select(SealRow).where(SealRow.id == seal_id)).one()
    except TypeError as error:  # SQLite keeps whatever it is given: a number for a time.
        raise ValueError(str(error)) from error
    session.expunge(seal)
    row = row_values(seal)
    if (unread := next((name for name, value in row.items() if isinstance(value, bytes)), None)) is not None:
        raise ValueError(f"its {unread} is no text")
    return row


def _readable(session: Session) -> Iterator[Mapping[str, Any]]:
    for seal_id in session.scalars(select(SealRow.id)).all():
        with suppress(ValueError):
            yield _row(session, seal_id)


def _missing_run(runs: Collection[str], run_id: str, named_by: str) -> Iterator[IntegrityFinding]:
    if run_id not in runs:
        yield IntegrityFinding(None, f"run {run_id}", Problem.MISSING, f"{named_by} names it")


def _believed(row: Mapping[str, Any], trusted: Collection[str]) -> SealContent:
    """What a seal is of. Raises ValueError, which says why, where it is not to be believed."""
    if trusted and row["public_key"] not in trusted:
        raise ValueError(f"it is signed by another key, {row['public_key']}")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(row["public_key"]))
        key.verify(bytes.fromhex(row["signature"]), signed_bytes(seal_hash(row)))
    except InvalidSignature as error:
        raise ValueError("its signature does not hold") from error
    witness = SealContent.from_text(row["witness"] or "")
    if (witness.root, len(witness.items)) != (row["merkle_root"], row["items"]):
        raise ValueError("its root is not that of the chains it names")
    return witness


def _check_items(witness: SealContent, name: str, chains: Mapping[int, ItemChain]) -> Iterator[IntegrityFinding]:
    for ordinal, head in witness.items.items():
        chain = chains.get(ordinal)
        if chain is None:
            yield IntegrityFinding(
                None, f"item at place {ordinal} of the list", Problem.MISSING, f"{name} names it"
            )
        elif (lack := _lack(head, chain.hashes)) is not None:
            problem = Problem.MISSING if len(chain.hashes) <= head.links else Problem.CHANGED
            detail = f"its chain is not the one of {name}: {lack}"
            yield IntegrityFinding(chain.item_id, f"item {chain.item_id}", problem, detail)
    for ordinal in chains.keys() - witness.items.keys():
        yield IntegrityFinding(
            chains[ordinal].item_id, f"item {chains[ordinal].item_id}", Problem.ADDED, f"after {name}"
        )


def _lack(sealed: Head, hashes: Sequence[str]) -> str | None:
    """Why a chain is not what was sealed of it; None: it is, or has grown since."""
    if len(hashes) <= sealed.links:
        return f"{len(hashes) - 1} of {sealed.links} links are there"
    return None if hashes[sealed.links] == sealed.hash else f"link {sealed.links} is another"
