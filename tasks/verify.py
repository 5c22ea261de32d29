"""Checks a run's books: rows against their hashes, and the bytes of its artifacts against theirs."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from db.audit import KeptArtifact, run_artifacts
from db.expiry import expired
from db.verify import Finding, Problem, verify_run
from tasks.worker import Worker

_READING_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Books:
    """What was found wrong, how many artifacts were read, and how many retention had deleted on purpose."""

    findings: Sequence[Finding]
    artifacts: int
    expired: int


def verify_books(worker: Worker, run_id: str, *, rows_only: bool = False) -> Books:
    """Check everything a run wrote and, unless `rows_only`, the bytes of all it refers to.

    Raises DeepSoundError (LEDGER_*, STORE_*).
    """
    with worker.ledger.read() as session:
        findings = verify_run(session, run_id)
        artifacts = [] if rows_only else run_artifacts(session, run_id)
        gone = expired(session, [artifact.sha256 for artifact in artifacts])
    with ThreadPoolExecutor(_READING_AT_ONCE) as pool:
        intact = list(pool.map(lambda artifact: worker.store.is_intact(artifact.sha256), artifacts))
    damaged = [artifact for artifact, is_whole in zip(artifacts, intact, strict=True) if not is_whole]
    findings += _findings(worker, damaged, gone)
    return Books(findings, len(artifacts), len([each for each in damaged if each.sha256 in gone]))


def _findings(worker: Worker, damaged: Sequence[KeptArtifact], gone: set[str]) -> Iterator[Finding]:
    for artifact in damaged:
        row = f"artifact {artifact.sha256} ({artifact.role} of {artifact.step})"
        if worker.store.has(artifact.sha256):
            yield Finding(artifact.item_id, row, Problem.CHANGED, "its bytes do not have this hash")
        elif artifact.sha256 not in gone:
            yield Finding(artifact.item_id, row, Problem.MISSING, "its bytes are not in the store")
