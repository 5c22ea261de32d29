"""Checks a run's books: rows against their hashes, and the bytes of its artifacts against theirs."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from db.integrity.expiry_checks import check_expiries
from db.integrity.findings import IntegrityFinding, Problem
from db.integrity.seal_checks import check_exported_seals, check_seal_sequence, check_seals
from db.integrity.verify import verify_run
from db.read.evidence import RunArtifact, run_artifacts
from tasks.operations.sealing import trusted_keys
from tasks.runtime.worker import Worker

_READING_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class RunAudit:
    """What was found wrong, how many artifacts were read, how many retention had deleted on purpose, and whether
    a seal holds the run as it stands.
    """

    findings: Sequence[IntegrityFinding]
    artifacts: int
    expired: int
    is_sealed: bool


def verify_books(worker: Worker, run_id: str, *, rows_only: bool = False) -> RunAudit:
    """Check everything a run wrote and, unless `rows_only`, the bytes of all it refers to.

    Raises DeepSoundError (LEDGER_*, STORE_*, BAD_SETTINGS for keys of seals that are none).
    """
    trusted = trusted_keys()
    with worker.ledger.read() as session:
        findings = verify_run(session, run_id)
        sealed = check_seals(session, run_id, trusted)
        findings += sealed.findings
        artifacts = run_artifacts(session, run_id)
    read = [] if rows_only else artifacts
    with ThreadPoolExecutor(_READING_AT_ONCE) as pool:
        intact = list(pool.map(worker.store.is_intact, [artifact.sha256 for artifact in read]))
    damaged = [artifact for artifact, is_whole in zip(read, intact, strict=True) if not is_whole]
    # Only now: reading takes hours, and what retention deletes meanwhile it has written down before.
    with worker.ledger.read() as session:
        gone = check_expiries(session, [artifact.sha256 for artifact in artifacts])
    findings += [*gone.findings, *_findings(worker, damaged, gone.artifacts)]
    lost_on_purpose = len([each for each in damaged if each.sha256 in gone.artifacts])
    return RunAudit(findings, len(read), lost_on_purpose, sealed.is_sealed)


def verify_seals(worker: Worker, kept: Sequence[Mapping[str, Any]] = ()) -> list[IntegrityFinding]:
    """Check that no seal of the ledger is gone, by those that followed it and by those `kept` outside.

    Raises DeepSoundError (LEDGER_*, BAD_SETTINGS for keys of seals that are none).
    """
    trusted = trusted_keys()
    with worker.ledger.read() as session:
        return [*check_seal_sequence(session), *check_exported_seals(session, kept, trusted)]


def _findings(worker: Worker, damaged: Sequence[RunArtifact], gone: frozenset[str]) -> Iterator[IntegrityFinding]:
    for artifact in damaged:
        row = f"artifact {artifact.sha256} ({artifact.role} of {artifact.step})"
        if worker.store.is_intact(artifact.sha256):
            continue  # It was made again while others were read.
        if worker.store.has(artifact.sha256):
            yield IntegrityFinding(artifact.item_id, row, Problem.CHANGED, "its bytes do not have this hash")
        elif artifact.sha256 not in gone:
            yield IntegrityFinding(artifact.item_id, row, Problem.MISSING, "its bytes are not in the store")
