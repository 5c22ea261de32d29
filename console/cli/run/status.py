"""`deepsound run list` and `run status`: the state of runs, read from the ledger."""

from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from console.cli import options
from console.cli.run.run_lookup import look_up_run
from console.cli.setting_flags import LedgerOnly, with_setting_flags
from console.cli.terminal import out, write_json
from db.read.run_progress import RECENT_MINUTES, RunProgress, RunSummary, run_list, run_progress
from db.read.run_state import RunEvent, RunState, run_events, run_state
from db.read.worker_status import LiveWorkerSession, live_worker_sessions, worker_seconds
from db.schema.database import no_such_run
from db.schema.records import WorkState
from deepsound.canonical_json import Json
from deepsound.pipeline import OutcomeKind, Step
from deepsound.terminal_text import terminal_safe
from tasks.runtime.worker import Worker, open_existing_worker

_LEFT_ALIGNED = frozenset({"run", "name", "registered", "state", "step"})
_LISTED_OUTCOMES = (OutcomeKind.DONE, OutcomeKind.NEEDS_REVIEW, OutcomeKind.FAILED)
_STATES = (WorkState.PENDING, WorkState.RUNNING, WorkState.DONE, WorkState.FAILED)


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run at one moment: progress, state, the workers at it, worker-hours spent, and the events so far."""

    progress: RunProgress
    state: RunState
    workers: list[LiveWorkerSession]
    hours: float
    events: list[RunEvent]

    @property
    def has_ended(self) -> bool:
        """Whether no item is open."""
        return self.progress.open_items == 0

    @property
    def videos_an_hour(self) -> float:
        """The pace of the last `RECENT_MINUTES`."""
        return self.progress.ended_recently * 60.0 / RECENT_MINUTES

    @property
    def minutes_left(self) -> float | None:
        """Until the run ends at that pace; None if nothing ended lately, or if the run has ended."""
        pace = self.videos_an_hour
        return None if pace == 0 or self.has_ended else 60.0 * self.progress.open_items / pace


@with_setting_flags
def list_runs(
    *,
    newest: Annotated[int, typer.Option(min=1, help="How many runs to list.")] = 20,
    stores: LedgerOnly,
    as_json: options.Json = False,
) -> None:
    """List the newest runs of the ledger."""
    with open_existing_worker(stores).ledger.read() as session:
        lines = run_list(session, newest)
    if as_json:
        write_json({"runs": [_line_json(line) for line in lines]})
        return
    table = _table("run", "name", "registered", "state", "videos", "open", "done", "review", "failed")
    for line in lines:
        outcomes = (line.outcomes.get(kind, 0) for kind in _LISTED_OUTCOMES)
        state = line.state if line.open_items else "ended"
        when = f"{line.registered_at.astimezone():%Y-%m-%d %H:%M}"
        counts = map(str, (line.items, line.open_items, *outcomes))
        table.add_row(line.run_id, Text(line.name), when, state, *counts)
    out.print(table)


@with_setting_flags
def show_status(run: options.Run, *, stores: LedgerOnly, as_json: options.Json = False) -> None:
    """Show the progress of a run: counts for each step and outcome, pace, workers and events."""
    worker = open_existing_worker(stores)
    status = read_status(worker, look_up_run(worker, run))
    if as_json:
        write_json(_status_json(status))
        return
    out.print(status_page(status))
    for event in status.events:
        why = f": {event.reason}" if event.reason else ""
        out.print(f"{event.at.astimezone():%Y-%m-%d %H:%M} {event.kind} by {event.by}{terminal_safe(why)}")


def read_status(worker: Worker, run_id: str) -> RunStatus:
    """The present status of a run. Raises DeepSoundError (BAD_SETTINGS: no such run)."""
    with worker.ledger.read() as session:
        progress = run_progress(session, run_id)
        if progress is None:
            raise no_such_run(session, run_id)
        return RunStatus(
            progress=progress,
            state=run_state(session, run_id),
            workers=live_worker_sessions(session, run_id),
            hours=worker_seconds(session, run_id) / 3600,
            events=run_events(session, run_id),
        )


def status_page(status: RunStatus) -> RenderableType:
    """The status as text for a terminal; `run watch` redraws it."""
    progress = status.progress
    steps = _table("step", *(state.value for state in _STATES))
    for step in Step:
        steps.add_row(step.value, *(str(progress.steps.get((step, state), 0)) for state in _STATES))
    ended = progress.items - progress.open_items
    state = "ended" if status.has_ended else status.state
    return Group(
        Text(f"{progress.name}  (run {progress.run_id}, {state})", style="bold"),
        steps,
        Text(f"videos: {ended} of {progress.items} ended; {_counts(progress)}"),
        Text(f"pace: {status.videos_an_hour:.0f} videos an hour, {_time_left(status)}"),
        Text(f"workers: {_workers(status)}; {status.hours:.2f} worker-hours spent"),
    )


def _time_left(status: RunStatus) -> str:
    if status.has_ended:
        return "nothing left"
    return "time left unknown" if status.minutes_left is None else f"about {status.minutes_left:.0f} min left"


def _counts(progress: RunProgress) -> str:
    outcomes = [f"{count} {outcome.replace('_', ' ')}" for outcome, count in progress.outcomes.items()]
    errors = [f"{code} {count}" for code, count in progress.errors.items()]
    return ", ".join(outcomes or ["none"]) + (f" ({', '.join(errors)})" if errors else "")


def _workers(status: RunStatus) -> str:
    return ", ".join(f"{worker.host} ({worker.device})" for worker in status.workers) or "none"


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in _LEFT_ALIGNED else "right")
    return table


def _line_json(line: RunSummary) -> Json:
    return {
        "run": line.run_id,
        "name": line.name,
        "registered": line.registered_at.isoformat(),
        "state": line.state,
        "items": line.items,
        "open": line.open_items,
        "outcomes": {kind.value: count for kind, count in line.outcomes.items()},
    }


def _status_json(status: RunStatus) -> Json:
    progress = status.progress
    return {
        "run": progress.run_id,
        "name": progress.name,
        "state": status.state,
        "items": progress.items,
        "open": progress.open_items,
        "outcomes": {kind.value: count for kind, count in progress.outcomes.items()},
        "errors": dict(progress.errors),
        "quarantined": progress.quarantined,
        "steps": {
            step.value: {state.value: progress.steps.get((step, state), 0) for state in _STATES} for step in Step
        },
        "videos_an_hour": status.videos_an_hour,
        "minutes_left": status.minutes_left,
        "worker_hours": status.hours,
        "workers": [{"host": worker.host, "device": worker.device} for worker in status.workers],
        "events": [
            {"at": event.at.isoformat(), "kind": event.kind, "by": event.by, "reason": event.reason}
            for event in status.events
        ],
    }
