"""A standing order: whenever its schedule says so, what lies in its inputs by then becomes a new run."""

import asyncio
import logging
from typing import Any

from prefect import flow

from flows.supervisor import ensure_followed
from tasks.operations.run_activity import stop_reason
from tasks.operations.submission import Submission, submit, take_stock
from tasks.runtime.stores import current_store_urls
from tasks.runtime.worker import open_worker

log = logging.getLogger(__name__)


@flow(name="dub-on-schedule", flow_run_name="standing order", validate_parameters=False)
async def dub_on_schedule(submission: dict[str, Any]) -> str:
    """Register what is there and have it followed; what was done before is found by its keys. Returns the run.

    What is there may be the list of a run that was paused or cancelled: that one stays so, with a warning.
    """
    worker = await asyncio.to_thread(open_worker, current_store_urls())
    submitted = Submission.from_json(submission)
    sources = await asyncio.to_thread(take_stock, submitted)
    run, _ = await asyncio.to_thread(submit, worker, submitted, sources, lambda _: None, by_hand=False)
    if (why := await asyncio.to_thread(stop_reason, worker, run)) is not None:
        log.warning("%s", why)
        return run
    await ensure_followed(worker, run)
    return run
