"""Claims a step for this worker, so that no other worker does it at the same time."""

from db.schema.records import StepRef
from db.state.lease_owner import lease_seconds, this_owner
from db.state.lease_queue import Lease, claim
from deepsound.errors import ErrorCode, LeaseLostError, QuarantinedError
from deepsound.pipeline import Action
from tasks.runtime.item import Item
from tasks.runtime.worker import Worker

DEATHS_ALLOWED = 1
"""Workers that may vanish during one step of a video: the first may have had another cause, a second hardly."""


def claim_step(worker: Worker, item: Item, action: Action) -> Lease:
    """Take or renew the lease of a step.

    Raises DeepSoundError: LEASE_LOST where another worker holds it or the step was taken back; LEDGER_*.
    """
    at = StepRef(action.step, action.round)
    with worker.ledger.write() as session:
        lease = claim(session, item.id, at, this_owner(), lease_seconds(), retries=item.retries.count)
    if lease is None:
        raise LeaseLostError(
            f"another process is at its {action.step} step",
            where=item.name,
            remedy="wait for that one, or run the same command again once it has ended",
        )
    return lease


def check_quarantine(item: Item, action: Action, lease: Lease) -> None:
    """Raise DeepSoundError (QUARANTINED) where the step has killed more workers than `DEATHS_ALLOWED`."""
    if lease.deaths > DEATHS_ALLOWED:
        raise QuarantinedError(
            f"{action.step} killed its worker twice and was set aside",
            where=str(item.source),
            remedy=f"look at the file, then `deepsound run retry {item.run_id} --error {ErrorCode.QUARANTINED}`",
        )
