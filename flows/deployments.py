"""What is asked of Prefect's server: start deployed flows in a queue, see how they stand, end what vanished.

Deployments are named by the work pool they run in: `dub-shard/gpu` takes the same flow to the pool `gpu` that
`dub-shard/cpu` takes to `cpu`. Every flow run of ours carries the tag `run:ID`, by which it is found again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter, FlowFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.states import Cancelled, Crashed, Scheduled

from deepsound.errors import BadSettingsError, PrefectNotDeployedError
from tasks.operations.submission import Priority

ARCHIVE_FLOW, SHARD_FLOW, SCHEDULED_FLOW = "dub-archive", "dub-shard", "dub-on-schedule"
CPU_POOL = "cpu"
"""The pool of what is done beside the runs; shards go to the pool a run asks for."""
FOLLOWERS_POOL = "followers"
"""The pool of flows that only follow others, for weeks: where workers have a limit, nothing else would start."""

_OPEN_STATES = (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING)


@dataclass(frozen=True, slots=True)
class OpenFlowRun:
    """A flow run that has not ended, and for how long it is `running` or `pending`; None: it does not.

    Both by the server's clock alone, since other machines may be wrong about the time.
    """

    id: str
    parameters: Mapping[str, Any]
    running: timedelta | None
    pending: timedelta | None


async def start_flow_run(
    flow: str, pool: str, run: str, parameters: Mapping[str, Any], queue: Priority, at: datetime | None = None
) -> str:
    """Have a worker of a pool run a flow, now or at a time; returns the id of its flow run.

    Raises DeepSoundError (ENGINE_NOT_DEPLOYED).
    """
    async with get_client() as client:
        deployment = await _deployment(client, flow, pool)
        await _ensure_queue(client, pool, queue)
        due = await _server_time(client) if at is None else at
        begun = await client.create_flow_run_from_deployment(
            deployment.id,
            parameters=dict(parameters),
            tags=["deepsound", _tag(run)],
            work_queue_name=queue.value,
            state=Scheduled(scheduled_time=due),
        )
        return str(begun.id)


async def create_schedule(flow: str, pool: str, parameters: Mapping[str, Any], cron: str) -> str:
    """Have a flow run again and again, by UTC; returns the schedule's id.

    Raises DeepSoundError (ENGINE_NOT_DEPLOYED, BAD_SETTINGS).
    """
    async with get_client() as client:
        deployment = await _deployment(client, flow, pool)
        try:
            schedule = CronSchedule(cron=cron, timezone="UTC")
        except ValueError as error:
            raise BadSettingsError(
                f"{cron!r} is no schedule",
                where="--cron",
                remedy='write it as cron does, such as "0 22 * * 5"',
            ) from error
        asked = DeploymentScheduleCreate(schedule=schedule, active=True, parameters=dict(parameters))
        [made] = await client.create_deployment_schedules(deployment.id, [asked])
        return str(made.id)


async def open_flow_runs(flow: str, pool: str, run: str) -> list[OpenFlowRun]:
    """The flow runs of one of our runs that wait or run."""
    async with get_client() as client:
        runs = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate(
                {"tags": {"all_": [_tag(run)]}, "state": {"type": {"any_": list(_OPEN_STATES)}}}
            ),
            flow_filter=FlowFilter.model_validate({"name": {"any_": [flow]}}),
            deployment_filter=DeploymentFilter.model_validate({"name": {"any_": [pool]}}),
        )
        now = await _server_time(client)
    return [_seen(each, now) for each in runs]


async def mark_crashed(flow_run: str) -> None:
    """Say of a flow run whose process is gone that it crashed; Prefect would show it as running for ever."""
    await _force(flow_run, Crashed(message="its worker vanished; what it left is done elsewhere"))


async def cancel_flow_runs(flow_runs: Sequence[str]) -> None:
    """Take flow runs back that no worker has begun."""
    for flow_run in flow_runs:
        await _force(flow_run, Cancelled(message="the run was paused or cancelled"))


async def _force(flow_run: str, state: Any) -> None:
    async with get_client() as client:
        await client.set_flow_run_state(flow_run, state, force=True)


async def _deployment(client: PrefectClient, flow: str, pool: str) -> DeploymentResponse:
    try:
        return await client.read_deployment_by_name(f"{flow}/{pool}")
    except ObjectNotFound as error:
        raise PrefectNotDeployedError(
            f"there is no deployment {flow}/{pool}",
            where=str(client.api_url),
            remedy=f"run `prefect work-pool create {pool} --type process` and `prefect deploy --all`",
        ) from error


async def _ensure_queue(client: PrefectClient, pool: str, queue: Priority) -> None:
    order = list(Priority).index(queue) + 1
    try:
        await client.create_work_queue(queue.value, priority=order, work_pool_name=pool)
    except ObjectAlreadyExists:
        return


async def _server_time(client: PrefectClient) -> datetime:
    """The server's clock (UTC), to the second: it says what is due, and this machine's may be wrong."""
    return parsedate_to_datetime((await client.hello()).headers["date"])


def _seen(run: FlowRun, now: datetime) -> OpenFlowRun:
    since = run.state.timestamp if run.state else run.created
    kind, so_long = run.state_type, now - (since or now)
    return OpenFlowRun(
        id=str(run.id),
        parameters=run.parameters,
        running=so_long if kind in (StateType.RUNNING, StateType.CANCELLING) else None,
        pending=so_long if kind is StateType.PENDING else None,
    )


def _tag(run: str) -> str:
    return f"run:{run}"
