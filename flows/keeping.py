"""That every run which should go on is followed by somebody: what `deepsound run submit`, `resume`, `retry` and
`sweep` ask for, and the deployment `sweep` every minute. A follower that vanished is given up, and replaced.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import flow

from db.control import RunState, find_order
from db.progress import run_list
from db.shifts import live_flow_runs
from flows import pool
from flows.pool import ARCHIVE, CPU, Deployed
from flows.priority import Priority
from tasks.place import current_place
from tasks.worker import Worker, worker_at

GRACE = timedelta(seconds=60)
"""How long a flow run may be at work without a sign of life: its process first imports for a while."""

_RUNS_LOOKED_AT = 1000


def is_silent(flow_run: Deployed, at_work: frozenset[str]) -> bool:
    """Whether a flow run should have given a sign of life by now and has not."""
    begun = flow_run.running_since or flow_run.pending_since
    return flow_run.id not in at_work and begun is not None and datetime.now(UTC) - begun > GRACE


async def ensure_followed(worker: Worker, run: str, at: datetime | None = None) -> bool:
    """Have a worker of the pool `cpu` follow a submitted run, unless one does or is about to; True: a new one.

    Raises DeepSoundError (ENGINE_NOT_DEPLOYED).
    """
    order, at_work = await asyncio.to_thread(_order, worker, run)
    followed = False
    for flow_run in await pool.not_ended(ARCHIVE, CPU, run):
        if is_silent(flow_run, at_work):
            await pool.end_vanished(flow_run.id)
        else:
            followed = True
    if not followed:
        await pool.start(ARCHIVE, CPU, run, {"run": run}, Priority(str(order["priority"])), at)
    return not followed


@flow(name="sweep", flow_run_name="sweep", validate_parameters=False)
async def sweep() -> None:
    """Start what should go on and is followed by nobody."""
    worker = await asyncio.to_thread(worker_at, current_place())
    await sweep_runs(worker)


async def sweep_runs(worker: Worker) -> list[str]:
    """Have submitted runs followed that may go on, have open items and are followed by nobody; their ids."""
    runs = await asyncio.to_thread(_should_go_on, worker)
    return [run for run in runs if await ensure_followed(worker, run)]


def _should_go_on(worker: Worker) -> list[str]:
    with worker.ledger.read() as session:
        lines = [line for line in run_list(session, _RUNS_LOOKED_AT) if line.open_items]
        return [
            line.run_id
            for line in lines
            if line.state is RunState.ACTIVE and find_order(session, line.run_id) is not None
        ]


def _order(worker: Worker, run: str) -> tuple[Mapping[str, Any], frozenset[str]]:
    with worker.ledger.read() as session:
        order = find_order(session, run)
        if order is None:
            raise ValueError(f"run {run} was never submitted to a pool")
        return order, live_flow_runs(session, run)
