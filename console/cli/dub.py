"""`deepsound dub`: gives videos sound in this process and reports the results."""

import typer
from rich.progress import Progress

from console.cli import options
from console.cli.backend_checks import check_backends
from console.cli.live_progress import showing_progress
from console.cli.run_summary import as_json, show_errors, summary_table
from console.cli.setting_flags import with_setting_flags
from console.cli.settings import Settings
from console.cli.terminal import EXIT_DONE, EXIT_SOME_FAILED, err, out, say, write_json
from deepsound.media.decoder_pool import warm_up
from deepsound.pipeline import OutcomeKind
from deepsound.storage.location import location
from deepsound.terminal_text import terminal_safe
from flows.local_run import drive_run
from tasks.operations.manifest import collect, refuse_overwriting_sources
from tasks.operations.run_activity import stop_reason, unfinished_items
from tasks.operations.run_registration import begin_run
from tasks.operations.run_results import ItemResult, read_results
from tasks.runtime.run_settings import RunSettings, Source
from tasks.runtime.worker import Worker, open_worker


@with_setting_flags
def dub(inputs: options.Inputs, *, settings: Settings, as_json_object: options.Json = False) -> None:
    """Generate sound for videos, and record every step in the ledger.

    Each setting can also be given as DEEPSOUND_NAME, such as DEEPSOUND_SEED, or as a key of deepsound.toml.
    """
    warm_up()
    intake = collect([location(given) for given in inputs], settings.run.out)
    refuse_overwriting_sources(intake.sources, settings.run.out)
    check_backends(settings.run, intake.sources)
    if intake.left_out:
        count, first = len(intake.left_out), terminal_safe(intake.left_out[0])
        say(f"{count} files that are not videos were skipped, such as {first}")
    worker = open_worker(settings.stores)
    run_id = _begin(worker, settings.run, intake.sources)
    with showing_progress(len(unfinished_items(worker, run_id))):
        drive_run(worker, settings.stores, run_id, say)
    results = read_results(worker, run_id)
    _report(run_id, results, as_json_object)
    raise typer.Exit(EXIT_SOME_FAILED if any(result.is_failure for result in results) else EXIT_DONE)


def _begin(worker: Worker, settings: RunSettings, sources: tuple[Source, ...]) -> str:
    with Progress(console=err, transient=True) as progress:
        reading = progress.add_task("reading", total=len(sources))
        run_id, resumed = begin_run(worker, settings, sources, lambda _: progress.advance(reading))
    if resumed:
        say(stop_reason(worker, run_id) or f"continuing run {run_id}, which was not finished")
    return run_id


def _report(run_id: str, results: list[ItemResult], as_json_object: bool) -> None:
    show_errors(results)
    if as_json_object:
        write_json(as_json(run_id, results))
        return
    out.print(summary_table(results))
    finished = [result for result in results if result.outcome is not OutcomeKind.FAILED]
    if finished and all(result.was_reused for result in finished):
        say("every finished step was found in the ledger and reused")
    say(f"run {run_id}; `deepsound audit show {run_id}` shows the reasons")
