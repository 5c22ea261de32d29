"""Nightly clean-up of the store, the result folders and Prefect's database."""

import asyncio
import logging
import os
from datetime import UTC, datetime, timedelta

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound

from deepsound.errors import BadSettingsError
from tasks.operations.retention import prune, sweep_unfinished
from tasks.runtime.stores import current_store_urls
from tasks.runtime.worker import open_worker

log = logging.getLogger(__name__)

PREFECT_DAYS = 14.0
"""Default age in days at which ended flow runs are deleted from Prefect; the ledger keeps the record."""

_PAGE = 200
_ENDED = (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED)


@flow(name="housekeeping", flow_run_name="housekeeping", validate_parameters=False)
async def housekeeping() -> None:
    """Deletes intermediates older than DEEPSOUND_RETENTION_DAYS (unset: none), flow runs older than
    DEEPSOUND_PREFECT_DAYS, and files that killed workers left incomplete.
    """
    worker = await asyncio.to_thread(open_worker, current_store_urls())
    if (days := _days("DEEPSOUND_RETENTION_DAYS")) is not None:
        pruned = await asyncio.to_thread(prune, worker, timedelta(days=days))
        log.info("%d intermediates and %d copies of sources deleted", pruned.intermediates, pruned.sources)
    days = _days("DEEPSOUND_PREFECT_DAYS")
    deleted = await delete_old_flow_runs(timedelta(days=PREFECT_DAYS if days is None else days))
    log.info("%d flow runs deleted from Prefect", deleted)
    swept = await asyncio.to_thread(sweep_unfinished, worker)
    log.info("%d incomplete files deleted from the store, %d from result folders", swept.store, swept.results)


async def delete_old_flow_runs(older_than: timedelta) -> int:
    """Deletes our flow runs that ended before that age, with their task runs, from Prefect; returns how many."""
    before = (datetime.now(UTC) - older_than).isoformat()
    ended = {"state": {"type": {"any_": list(_ENDED)}}, "end_time": {"before_": before}}
    ours = FlowRunFilter.model_validate({**ended, "tags": {"all_": ["deepsound"]}})
    deleted = 0
    async with get_client() as client:
        while runs := await client.read_flow_runs(flow_run_filter=ours, limit=_PAGE):
            for run in runs:
                try:
                    await client.delete_flow_run(run.id)
                except ObjectNotFound:  # A concurrent housekeeping deleted it first.
                    continue
            deleted += len(runs)
    return deleted


def _days(variable: str) -> float | None:
    text = os.environ.get(variable)
    if not text:
        return None
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days < float("inf"):
        raise BadSettingsError(f"{text!r} is not a number of days", where=variable, remedy="correct or unset it")
    return days
