"""The audit flow: verifies and reconciles one run, or all recent and open runs, and publishes the findings."""

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
    """Verifies and reconciles a run (None: every run that is open or had an attempt in the last 7 days), seals
    closed runs without findings, and verifies all seals.

    Raises ArtifactDamagedError if anything was found, so that the flow run fails. Open videos are no finding.
    """
    worker = await asyncio.to_thread(open_worker, current_store_urls())
    runs = [run] if run is not None else await asyncio.to_thread(_runs_of_late, worker)
    problems: list[str] = []
    for each in runs:
        found = await asyncio.to_thread(_problems, worker, each)
        problems += found
        if not found:
            # Seals runs that were not sealed when they ended, for example because that machine had no key.
            await asyncio.to_thread(seal_if_closed, worker, each)
    problems += [f"{each.row}: {each.detail}" for each in await asyncio.to_thread(verify_seals, worker)]
    text = "\n".join(f"- {problem}" for problem in problems) or f"{len(runs)} runs: no findings"
    await acreate_markdown_artifact(text, key="audit", description="findings of the last audit")
    if problems:
        raise ArtifactDamagedError(
            f"{len(problems)} findings, the first: {problems[0]}",
            where=worker.ledger.url,
            remedy="see the Prefect artifact `audit`, or run `deepsound audit verify`",
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
