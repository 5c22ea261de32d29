"""`deepsound run submit`: hands an archive to workers, now, at a given time, or on a schedule."""

import math
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.progress import Progress

from console.cli import options
from console.cli.backend_checks import check_licences
from console.cli.run.prefect_client import ask, reach_server
from console.cli.setting_flags import with_setting_flags
from console.cli.settings import Settings
from console.cli.terminal import err, out, say, write_json
from deepsound.errors import BadSettingsError
from tasks.operations.submission import Priority, Submission, submit, take_stock
from tasks.runtime.run_settings import Source
from tasks.runtime.worker import Worker, open_worker


@with_setting_flags
def submit_run(
    inputs: options.Inputs,
    *,
    name: Annotated[
        str | None, typer.Option(help="Name of the run in lists. Default: that of its first video.")
    ] = None,
    pool: Annotated[str, typer.Option(help="Work pool whose workers do the run: gpu or cpu.")] = "gpu",
    priority: Annotated[Priority, typer.Option(help="Queue of the pool that the run waits in.")] = Priority.NORMAL,
    at: Annotated[
        str | None, typer.Option(help='Earliest start, such as "2026-12-01 22:00" (local time).')
    ] = None,
    cron: Annotated[str | None, typer.Option(help='Repeat on a schedule, such as "0 22 * * 5" (UTC).')] = None,
    budget_gpu_hours: Annotated[
        float | None, typer.Option(min=0.0, help="Pause the run once its workers have spent so many hours.")
    ] = None,
    settings: Settings,
    as_json: options.Json = False,
) -> None:
    """Submit videos to workers. Nothing starts before every video and every setting has been checked.

    Each setting can also be given as DEEPSOUND_NAME, such as DEEPSOUND_SEED, or as a key of deepsound.toml.
    """
    start = _start_time(at)
    if budget_gpu_hours is not None and math.isinf(budget_gpu_hours):
        raise BadSettingsError(
            "the budget is infinite",
            where="--budget-gpu-hours",
            remedy="give a number of hours, or leave the flag out",
        )
    if start is not None and cron is not None:
        raise BadSettingsError("it contradicts --cron", where="--at", remedy="give one of them")
    submission = Submission(
        inputs,
        settings.run,
        name,
        pool,
        priority.value,
        budget_gpu_hours,
        at=None if start is None else start.isoformat(),
    )
    sources = take_stock(submission)
    check_licences(settings.run, sources)
    reach_server()
    if cron is not None:
        _schedule(submission, cron, len(sources), as_json)
        return
    worker = open_worker(settings.stores)
    run_id = _register(worker, submission, sources)
    _start(worker, run_id)
    if as_json:
        write_json({"run": run_id, "items": len(sources)})
        return
    when = "now" if start is None else f"from {start.astimezone():%Y-%m-%d %H:%M}"
    out.print(f"run {run_id}: {len(sources)} videos for the pool {pool}, {when}", markup=False)
    say(f"`deepsound run watch {run_id}` follows it")


def _register(worker: Worker, submission: Submission, sources: tuple[Source, ...]) -> str:
    with Progress(console=err, transient=True) as progress:
        reading = progress.add_task("reading and storing", total=2 * len(sources))
        run_id, resumed = submit(worker, submission, sources, lambda _: progress.advance(reading))
    if resumed:
        say(f"continuing run {run_id}, which was not finished")
    return run_id


def _start(worker: Worker, run_id: str) -> None:
    # Imported here: Prefect takes seconds to import and reads its settings, which `reach_server` sets, only once.
    from flows.supervisor import ensure_followed

    ask(ensure_followed(worker, run_id))


def _schedule(submission: Submission, cron: str, videos: int, as_json: bool) -> None:
    # Imported here, as in `_start`.
    from flows.deployments import CPU_POOL, SCHEDULED_FLOW, create_schedule

    schedule = ask(create_schedule(SCHEDULED_FLOW, CPU_POOL, {"submission": submission.to_json()}, cron))
    if as_json:
        write_json({"schedule": schedule, "items": videos})
        return
    out.print(f"schedule {schedule}: the videos in the inputs at {cron!r} ({videos} today)", markup=False)


def _start_time(at: str | None) -> datetime | None:
    if at is None:
        return None
    try:
        return datetime.fromisoformat(at).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadSettingsError(
            f"{at!r} is not a time", where="--at", remedy='write it as "2026-12-01 22:00"'
        ) from error
