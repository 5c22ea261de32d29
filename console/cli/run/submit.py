"""`deepsound run submit`: an archive handed over to workers, now, at a time, or again and again."""

import json
import math
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.progress import Progress

from console.cli import options
from console.cli.backend_checks import check_licences
from console.cli.run.prefect_client import ask, reach_server
from console.cli.settings import settings_from
from console.cli.terminal import err, out, say
from deepsound.errors import BadSettingsError
from tasks.operations.submission import Priority, Submission, submit, take_stock
from tasks.runtime.run_settings import Source
from tasks.runtime.worker import Worker, open_worker


def submit_run(
    inputs: options.Inputs,
    name: Annotated[str | None, typer.Option(help="How people will call the run.")] = None,
    pool: Annotated[str, typer.Option(help="Work pool whose workers do it: gpu or cpu.")] = "gpu",
    priority: Annotated[Priority, typer.Option(help="Which of the pool's queues it waits in.")] = Priority.NORMAL,
    at: Annotated[str | None, typer.Option(help='Not before, such as "2026-12-01 22:00" (local time).')] = None,
    cron: Annotated[str | None, typer.Option(help='Again and again, such as "0 22 * * 5" (UTC).')] = None,
    budget_gpu_hours: Annotated[
        float | None, typer.Option(min=0.0, help="Pause in order once workers spent so many hours.")
    ] = None,
    out_place: options.Out = None,
    generator: options.Generator = None,
    reasoner: options.Reasoner = None,
    separator: options.Separator = None,
    fallback: options.FallbackMode = None,
    voice: options.Voice = None,
    prompt: options.Prompt = None,
    negative_prompt: options.NegativePrompt = None,
    seed: options.Seed = None,
    loudness: options.Loudness = None,
    licence: options.Licence = None,
    plan: options.Plan = None,
    silence: options.Silence = None,
    windows: options.Windows = None,
    db: options.Db = None,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Hand videos over to workers. Nothing starts before every one of them, and every setting, is understood."""
    starts = _starts(at)
    if budget_gpu_hours is not None and math.isinf(budget_gpu_hours):
        raise BadSettingsError(
            f"{budget_gpu_hours} hours is no budget",
            where="--budget-gpu-hours",
            remedy="give a number of hours, or leave it out",
        )
    if starts is not None and cron is not None:
        raise BadSettingsError("a run has a time or a schedule", where="--at", remedy="drop one")
    settings = settings_from(
        out=out_place,
        generator=generator,
        reasoner=reasoner,
        separator=separator,
        fallback=fallback,
        voice=voice,
        prompt=prompt,
        negative_prompt=negative_prompt,
        seed=seed,
        loudness=loudness,
        licence=licence,
        plan=plan,
        silence=silence,
        windows=windows,
        db=db,
        store=store,
    )
    submission = Submission(
        inputs,
        settings.for_run(),
        name,
        pool,
        priority.value,
        budget_gpu_hours,
        at=None if starts is None else starts.isoformat(),
    )
    sources = take_stock(submission)
    check_licences(settings, sources)
    reach_server()
    if cron is not None:
        _repeat(submission, cron, len(sources), as_json)
        return
    run_id = _register(open_worker(settings.place), submission, sources)
    _start(open_worker(settings.place), run_id)
    if as_json:
        out.file.write(json.dumps({"run": run_id, "items": len(sources)}) + "\n")
        return
    when = "now" if starts is None else f"from {starts.astimezone():%Y-%m-%d %H:%M}"
    out.print(f"run {run_id}: {len(sources)} videos for the pool {pool}, {when}", markup=False)
    say(f"follow it with `deepsound run watch {run_id}`")


def _register(worker: Worker, submission: Submission, sources: tuple[Source, ...]) -> str:
    with Progress(console=err, transient=True) as progress:
        reading = progress.add_task("reading and storing", total=2 * len(sources))
        run_id, resumed = submit(worker, submission, sources, lambda _: progress.advance(reading))
    if resumed:
        say(f"going on with run {run_id}, which was not finished")
    return run_id


def _start(worker: Worker, run_id: str) -> None:
    # Only now: Prefect takes seconds to import, and reads its settings once.
    from flows.supervisor import ensure_followed

    ask(ensure_followed(worker, run_id))


def _repeat(submission: Submission, cron: str, videos: int, as_json: bool) -> None:
    from flows.deployments import CPU_POOL, SCHEDULED_FLOW, create_schedule

    schedule = ask(create_schedule(SCHEDULED_FLOW, CPU_POOL, {"submission": submission.to_json()}, cron))
    if as_json:
        out.file.write(json.dumps({"schedule": schedule, "items": videos}) + "\n")
        return
    out.print(
        f"schedule {schedule}: what lies in the inputs by then ({videos} videos today), {cron!r}", markup=False
    )


def _starts(at: str | None) -> datetime | None:
    if at is None:
        return None
    try:
        return datetime.fromisoformat(at).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadSettingsError(
            f"{at!r} is no time", where="--at", remedy='give it as "2026-12-01 22:00"'
        ) from error
