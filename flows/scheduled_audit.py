"""Checks the books of one run, or of all that are open or were worked on of late, and shows what it found."""

import asyncio
from datetime import UTC, datetime, timedelta

from prefect import flow
from prefect.artifacts import acreate_markdown_artifact

from db.integrity.reconcile import reconcile_run
from db.read.run_progress import recently_active_runs
from deepsound.errors import ArtifactDamagedError
from tasks.operations.run_audit import verify_books, verify_seals
from tasks.operations.sealing import seal_if_closed
from tasks.runtime.stores import current_store_urls
from tasks.runtime.worker import Worker, open_worker

AUDITED_PERIOD = timedelta(days=7)


@flow(name="audit", flow_run_name="audit of {run}", validate_parameters=False)
async def audit(run: str | None = None) -> None:
    """Verify and reconcile, and seal closed runs that are in order; the flow run fails where a book is not as it
    was written.

    Raises DeepSoundError (ARTIFACT_DAMAGED) then. Videos that are still open are counted and no fault.
    """
    worker = await asyncio.to_thread(open_worker, current_store_urls())
    runs = [run] if run is not None else await asyncio.to_thread(_runs_of_late, worker)
    problems: list[str] = []
    for each in runs:
        found = await asyncio.to_thread(_problems, worker, each)
        problems += found
        if not found:
            # Where nobody did as the run ended: it went on by itself, or there was no key where it ended.
            await asyncio.to_thread(seal_if_closed, worker, each)
    problems += [f"{each.row}: {each.detail}" for each in await asyncio.to_thread(verify_seals, worker)]
    clean = f"{len(runs)} runs: every row and artifact as written"
    said = "\n".join(f"- {problem}" for problem in problems) or clean
    await acreate_markdown_artifact(said, key="audit", description="what the last audit found")
    if problems:
        raise ArtifactDamagedError(
            f"{len(problems)} findings, the first: {problems[0]}",
            where=worker.ledger.url,
            remedy="see the artifact `audit`, or `deepsound audit verify`",
        )


def _runs_of_late(worker: Worker) -> list[str]:
    since = datetime.now(UTC) - AUDITED_PERIOD
    with worker.ledger.read() as session:
        return recently_active_runs(session, since)


def _problems(worker: Worker, run: str) -> list[str]:
    found = [f"run {run}: {finding.row}: {finding.detail}" for finding in verify_books(worker, run).findings]
    with worker.ledger.read() as session:
        account = reconcile_run(session, run)
    return [*found, *(f"run {run}: {problem}" for problem in (account.problems if account else ()))]
