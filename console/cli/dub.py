"""`deepsound dub`: videos in, sounded and audited videos out."""

import json

import typer
from rich.progress import Progress

from console.cli import options
from console.cli.backend_checks import check_backends
from console.cli.live_progress import showing_progress
from console.cli.run_summary import as_json, show_errors, summary_table
from console.cli.settings import Settings, settings_from
from console.cli.terminal import EXIT_DONE, EXIT_SOME_FAILED, err, out, say
from deepsound.media.decoder_pool import warm_up
from deepsound.pipeline import OutcomeKind
from deepsound.storage.location import location
from deepsound.terminal_text import terminal_safe
from flows.local_run import drive_run
from tasks.operations.manifest import collect, refuse_overwriting_sources
from tasks.operations.run_activity import stop_reason, unfinished_items
from tasks.operations.run_registration import begin_run
from tasks.operations.run_results import ItemResult, read_results
from tasks.runtime.run_settings import Source
from tasks.runtime.worker import Worker, open_worker


def dub(
    inputs: options.Inputs,
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
    as_json_object: options.Json = False,
) -> None:
    """Give videos sound, step by step, and write down every step."""
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
    warm_up()
    intake = collect([location(given) for given in inputs], settings.out_place)
    refuse_overwriting_sources(intake.sources, settings.out_place)
    check_backends(settings, intake.sources)
    if intake.left_out:
        say(
            f"left out {len(intake.left_out)} files that are not videos, such as "
            f"{terminal_safe(intake.left_out[0])}"
        )
    worker = open_worker(settings.place)
    run_id = _begin(worker, settings, intake.sources)
    with showing_progress(len(unfinished_items(worker, run_id))):
        drive_run(worker, settings.place, run_id, say)
    results = read_results(worker, run_id)
    _report(run_id, results, as_json_object)
    raise typer.Exit(EXIT_SOME_FAILED if any(result.is_failure for result in results) else EXIT_DONE)


def _begin(worker: Worker, settings: Settings, sources: tuple[Source, ...]) -> str:
    with Progress(console=err, transient=True) as progress:
        reading = progress.add_task("reading", total=len(sources))
        run_id, resumed = begin_run(worker, settings.for_run(), sources, lambda _: progress.advance(reading))
    if resumed:
        say(stop_reason(worker, run_id) or f"going on with run {run_id}, which was not finished")
    return run_id


def _report(run_id: str, results: list[ItemResult], as_json_object: bool) -> None:
    show_errors(results)
    if as_json_object:
        out.file.write(json.dumps(as_json(run_id, results), ensure_ascii=False) + "\n")
        return
    out.print(summary_table(results))
    finished = [result for result in results if result.outcome is not OutcomeKind.FAILED]
    if finished and all(result.was_reused for result in finished):
        say("nothing had to be done again: every finished step was found in the ledger")
    say(f"run {run_id}; the reasons are in `deepsound audit show {run_id}`")
