"""Every night: what nobody needs goes from store and results, and what nobody reads from Prefect's database."""

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
"""How long Prefect remembers flow runs that ended: it is a dashboard, the ledger is the record."""

_AT_ONCE = 200
_ENDED = (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED)


@flow(name="housekeeping", flow_run_name="housekeeping", validate_parameters=False)
async def housekeeping() -> None:
    """Delete intermediates older than DEEPSOUND_RETENTION_DAYS (unset: none), Prefect's old flow runs, and what
    killed workers left half-written.
    """
    worker = await asyncio.to_thread(open_worker, current_store_urls())
    if (days := _days("DEEPSOUND_RETENTION_DAYS")) is not None:
        pruned = await asyncio.to_thread(prune, worker, timedelta(days=days))
        log.info("%d intermediates and %d copies of sources deleted", pruned.intermediates, pruned.sources)
    days = _days("DEEPSOUND_PREFECT_DAYS")
    forgotten = await delete_old_flow_runs(timedelta(days=PREFECT_DAYS if days is None else days))
    log.info("%d flow runs forgotten", forgotten)
    swept = await asyncio.to_thread(sweep_unfinished, worker)
    log.info("%d unfinished files removed from the store, %d from results", swept.store, swept.results)


async def delete_old_flow_runs(older_than: timedelta) -> int:
    """Delete our flow runs that ended longer ago, with their task runs, from Prefect; returns how many."""
    before = (datetime.now(UTC) - older_than).isoformat()
    ended = {"state": {"type": {"any_": list(_ENDED)}}, "end_time": {"before_": before}}
    ours = FlowRunFilter.model_validate({**ended, "tags": {"all_": ["deepsound"]}})
    forgotten = 0
    async with get_client() as client:
        while runs := await client.read_flow_runs(flow_run_filter=ours, limit=_AT_ONCE):
            for run in runs:
                try:
                    await client.delete_flow_run(run.id)
                except ObjectNotFound:  # Somebody else deletes too.
                    continue
            forgotten += len(runs)
    return forgotten


def _days(variable: str) -> float | None:
    asked = os.environ.get(variable)
    if not asked:
        return None
    try:
        days = float(asked)
    except ValueError:
        days = -1.0
    if not 0 <= days < float("inf"):
        what = f"{asked!r} is no number of days"
        raise BadSettingsError(what, where=variable, remedy="mend or unset it")
    return days
