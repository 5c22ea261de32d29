"""A standing order: whenever its schedule says so, what lies in its inputs by then becomes a new run."""

import asyncio
import logging
from typing import Any

from prefect import flow

from flows.supervisor import ensure_followed
from tasks.operations.run_registration import held_back
from tasks.operations.submission import Submission, submit, take_stock
from tasks.runtime.stores import current_store_urls
from tasks.runtime.worker import worker_at

log = logging.getLogger(__name__)


@flow(name="dub-again", flow_run_name="standing order", validate_parameters=False)
async def dub_again(order: dict[str, Any]) -> str:
    """Register what is there and have it followed; what was done before is found by its keys. Returns the run.

    What is there may be the list of a run that was paused or cancelled: that one stays so, with a warning.
    """
    worker = await asyncio.to_thread(worker_at, current_store_urls())
    submission = Submission.from_json(order)
    sources = await asyncio.to_thread(take_stock, submission)
    run, _ = await asyncio.to_thread(submit, worker, submission, sources, lambda _: None, by_hand=False)
    if (why := await asyncio.to_thread(held_back, worker, run)) is not None:
        log.warning("%s", why)
        return run
    await ensure_followed(worker, run)
    return run
