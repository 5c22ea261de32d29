"""A standing order: whenever its schedule says so, what lies in its inputs by then becomes a new run."""

import asyncio
from typing import Any

from prefect import flow

from flows.keeping import ensure_followed
from tasks.place import current_place
from tasks.submission import Submission, submit, take_stock
from tasks.worker import worker_at


@flow(name="dub-again", flow_run_name="standing order", validate_parameters=False)
async def dub_again(order: dict[str, Any]) -> str:
    """Register what is there and have it followed; what was done before is found by its keys. Returns the run."""
    worker = await asyncio.to_thread(worker_at, current_place())
    submission = Submission.from_json(order)
    sources = await asyncio.to_thread(take_stock, submission)
    run, _ = await asyncio.to_thread(submit, worker, submission, sources, lambda _: None)
    await ensure_followed(worker, run)
    return run
