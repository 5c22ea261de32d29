"""Requests to Prefect's server: start, schedule, list, cancel and mark flow runs of our deployments.

A deployment has the name of its work pool: `dub-shard/gpu` and `dub-shard/cpu` run the same flow in two pools.
Every flow run started here has the tag `run:ID`, by which it is found again.
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
"""The pool of maintenance flows; shards go to the pool that the run names."""
FOLLOWERS_POOL = "followers"
"""The pool of `dub-archive`. A follower waits for shards for up to weeks, so its pool must not limit concurrency:
in a limited pool the waiting followers would take every slot."""

_OPEN_STATES = (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING)


@dataclass(frozen=True, slots=True)
class OpenFlowRun:
    """A flow run that has not ended. `running` and `pending`: time in that state, None in any other state.

    Both are measured with the Prefect server's clock, because clocks of other machines may differ.
    """

    id: str
    parameters: Mapping[str, Any]
    running: timedelta | None
    pending: timedelta | None


async def start_flow_run(
    flow: str, pool: str, run: str, parameters: Mapping[str, Any], queue: Priority, at: datetime | None = None
) -> str:
    """Schedules a flow in a pool for `at` (None: now) and returns the flow run's id.

    Raises PrefectNotDeployedError.
    """
    async with get_client() as client:
        deployment = await _deployment(client, flow, pool)
        await _ensure_queue(client, pool, queue)
        due = await _server_time(client) if at is None else at
        created = await client.create_flow_run_from_deployment(
            deployment.id,
            parameters=dict(parameters),
            tags=["deepsound", _tag(run)],
            work_queue_name=queue.value,
            state=Scheduled(scheduled_time=due),
        )
        return str(created.id)


async def create_schedule(flow: str, pool: str, parameters: Mapping[str, Any], cron: str) -> str:
    """Adds a cron schedule (UTC) to a deployment and returns the schedule's id.

    Raises PrefectNotDeployedError, and BadSettingsError for an invalid cron expression.
    """
    async with get_client() as client:
        deployment = await _deployment(client, flow, pool)
        try:
            schedule = CronSchedule(cron=cron, timezone="UTC")
        except ValueError as error:
            raise BadSettingsError(
                f"{cron!r} is not a cron expression",
                where="--cron",
                remedy='use five fields, such as "0 22 * * 5"',
            ) from error
        request = DeploymentScheduleCreate(schedule=schedule, active=True, parameters=dict(parameters))
        [created] = await client.create_deployment_schedules(deployment.id, [request])
        return str(created.id)


async def open_flow_runs(flow: str, pool: str, run: str) -> list[OpenFlowRun]:
    """Lists the flow runs of a run, in one flow and pool, that have not ended."""
    async with get_client() as client:
        runs = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate(
                {"tags": {"all_": [_tag(run)]}, "state": {"type": {"any_": list(_OPEN_STATES)}}}
            ),
            flow_filter=FlowFilter.model_validate({"name": {"any_": [flow]}}),
            deployment_filter=DeploymentFilter.model_validate({"name": {"any_": [pool]}}),
        )
        now = await _server_time(client)
    return [_open_flow_run(flow_run, now) for flow_run in runs]


async def mark_crashed(flow_run: str) -> None:
    """Sets the state Crashed on a flow run whose process is gone; Prefect would show it as running forever."""
    await _force(flow_run, Crashed(message="the worker is lost; another shard takes over its videos"))


async def cancel_flow_runs(flow_runs: Sequence[str]) -> None:
    """Cancels flow runs that no worker has started."""
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
    """The server's clock in UTC, in whole seconds: it decides which flow runs are due."""
    return parsedate_to_datetime((await client.hello()).headers["date"])


def _open_flow_run(run: FlowRun, now: datetime) -> OpenFlowRun:
    since = run.state.timestamp if run.state else run.created
    kind, age = run.state_type, now - (since or now)
    return OpenFlowRun(
        id=str(run.id),
        parameters=run.parameters,
        running=age if kind in (StateType.RUNNING, StateType.CANCELLING) else None,
        pending=age if kind is StateType.PENDING else None,
    )


def _tag(run: str) -> str:
    return f"run:{run}"
