"""The flow of `run submit --cron`: registers what the inputs contain at that time as a new run."""

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


@flow(name="dub-on-schedule", flow_run_name="scheduled run", validate_parameters=False)
async def dub_on_schedule(submission: dict[str, Any]) -> str:
    """Registers the videos in the inputs as a run and starts a follower for it. Returns the run's id.

    Finished steps are reused by their step keys. If the list is that of a paused or cancelled run, that run is
    left as it is and a warning is logged.
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
