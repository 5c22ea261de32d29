"""Prefect artifacts of an archive run: its progress, a table of its steps, and a link to its report."""

import asyncio
import logging
from uuid import UUID

from prefect.artifacts import (
    acreate_link_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)

from db.read.run_progress import RunProgress
from db.schema.records import WorkState
from deepsound.errors import DeepSoundError
from deepsound.pipeline import Step
from tasks.report.report_delivery import deliver_report
from tasks.runtime.stores import current_store_urls
from tasks.runtime.worker import open_worker

log = logging.getLogger(__name__)

_STATES = (WorkState.PENDING, WorkState.RUNNING, WorkState.DONE, WorkState.FAILED)


class RunArtifacts:
    """The artifacts of one flow run; the progress artifact is updated in place."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._progress: UUID | None = None
        self._shown = -1.0

    async def update(self, progress: RunProgress) -> None:
        """Publishes the share of ended videos, if it changed."""
        percent = 100.0 * (progress.items - progress.open_items) / max(1, progress.items)
        if percent == self._shown:
            return
        description = f"{progress.items - progress.open_items} of {progress.items} videos of {progress.name}"
        if self._progress is None:
            key = f"progress-{self._run}"
            self._progress = await acreate_progress_artifact(percent, key=key, description=description)
        else:
            await aupdate_progress_artifact(self._progress, percent, description=description)
        self._shown = percent

    async def finish(self, progress: RunProgress) -> None:
        """Publishes the table of steps and the link to the report, once the run has ended or was stopped."""
        rows = [
            {"step": step.value} | {state.value: progress.steps.get((step, state), 0) for state in _STATES}
            for step in Step
        ]
        ends = {outcome.value: count for outcome, count in progress.outcomes.items()}
        await acreate_table_artifact(rows, key=f"steps-{self._run}", description=f"{progress.name}: {ends}")
        await self._link(progress)

    async def _link(self, progress: RunProgress) -> None:
        """Logs a failure instead of raising it: a run without a report is still finished."""
        try:
            worker = await asyncio.to_thread(open_worker, current_store_urls())
            url = await asyncio.to_thread(deliver_report, worker, self._run)
        except DeepSoundError as error:
            log.warning("no report for run %s: %s; `deepsound audit report` writes one", self._run, error)
            return
        await acreate_link_artifact(
            url, link_text="report.html", key=f"report-{self._run}", description=f"report of {progress.name}"
        )
