"""`deepsound review`: what waits for a person, and a person's ruling."""

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from console.cli import options
from console.cli.run.continue_run import go_on
from console.cli.run.run_lookup import place_of
from console.cli.terminal import EXIT_DONE, out, say
from db.read.evidence import find_items
from db.write.reviews import ItemToReview, NewReview, items_to_review
from deepsound.canonical_json import Json
from deepsound.cot import Verdict
from deepsound.errors import BadSettingsError
from deepsound.storage.location import location
from deepsound.terminal_text import json_safe, terminal_safe
from tasks.operations.item_review import review_item
from tasks.runtime.actor import current_actor
from tasks.runtime.worker import Worker


class Ruled(StrEnum):
    """What a person may rule: undecided is what a person is asked to end."""

    YES = "yes"
    NO = "no"


def review(
    item: Annotated[
        str | None, typer.Argument(help="Item id, file name or SHA-256. None: list what waits for a person.")
    ] = None,
    verdict: Annotated[
        Ruled | None, typer.Option(help="Is there voice-over? yes: take it out; no: the coarse sound stays.")
    ] = None,
    reason: options.Reason = None,
    db: options.Db = None,
    store: options.Store = None,
    as_json: Annotated[bool, typer.Option("--json", help="The list as one JSON object on stdout.")] = False,
) -> None:
    """List what needs review, or put a verdict before the judge's; only what follows from it is done again."""
    settings, worker = place_of(db, store)
    if item is None:
        _list(worker, as_json=as_json)
        raise typer.Exit(EXIT_DONE)
    if verdict is None or not (reason or "").strip():
        raise BadSettingsError(
            "a review needs a verdict and a reason",
            where=item,
            remedy='add --verdict yes or no, and --reason "..."',
        )
    item_id, by = _find_item(worker, item), current_actor()
    new = NewReview(by, Verdict(verdict), (reason or "").strip())
    run_id, number = review_item(worker, item_id, new)
    say(f"item {item_id}: review {number} by {by}: {verdict}")
    go_on(worker, settings, run_id)


def _find_item(worker: Worker, known: str) -> int:
    """The one item that is meant. Raises DeepSoundError (BAD_SETTINGS)."""
    with worker.ledger.read() as session:
        found = find_items(session, known)
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} items are meant by {known!r}" if found else f"nothing is known of {known!r}"
    remedy = f"name one by its id: {', '.join(map(str, found[:10]))}" if found else "see `deepsound review`"
    raise BadSettingsError(what, where=worker.ledger.url, remedy=remedy)


def _list(worker: Worker, *, as_json: bool) -> None:
    with worker.ledger.read() as session:
        waiting = items_to_review(session)
    if as_json:
        out.file.write(json.dumps({"items": [_json(each) for each in waiting]}, ensure_ascii=False) + "\n")
        return
    if waiting:
        out.print(_table(waiting))
    say(f"{len(waiting)} videos wait for a person")


def _table(waiting: Sequence[ItemToReview]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("item", "video", "why", "to listen to"):
        table.add_column(heading, overflow="fold")
    for each in waiting:
        table.add_row(str(each.item_id), *map(terminal_safe, (each.output_name, each.why, _coarse(each))))
    return table


def _json(waiting: ItemToReview) -> Json:
    return {
        "item": waiting.item_id,
        "run": waiting.run_id,
        "name": json_safe(waiting.output_name),
        "source": json_safe(waiting.source),
        "why": waiting.why,
        "coarse": json_safe(_coarse(waiting)),
    }


def _coarse(waiting: ItemToReview) -> object:
    """Where the sound to be judged was delivered."""
    return location(str(waiting.settings["out"])) / f"{waiting.output_name}.coarse.wav"
