"""`deepsound review`: lists the items that need a person's verdict, and records one."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from console.cli import options
from console.cli.run.continue_run import continue_run
from console.cli.setting_flags import with_setting_flags
from console.cli.terminal import EXIT_DONE, out, say, write_json
from db.read.evidence import find_items
from db.read.review_state import ItemToReview, items_to_review
from db.write.reviews import NewReview
from deepsound.canonical_json import Json
from deepsound.cot import Verdict
from deepsound.errors import BadSettingsError
from deepsound.storage.location import location
from deepsound.terminal_text import json_safe, terminal_safe
from tasks.operations.item_review import review_item
from tasks.runtime.actor import current_actor
from tasks.runtime.stores import StoreUrls
from tasks.runtime.worker import Worker, open_existing_worker


class ReviewVerdict(StrEnum):
    """The verdicts that a person may give; `undecided` is what a review resolves."""

    YES = "yes"
    NO = "no"


@with_setting_flags
def review(
    item: Annotated[
        str | None,
        typer.Argument(
            metavar="ITEM", help="Item id, file name or SHA-256. Default: list the items that need review."
        ),
    ] = None,
    *,
    verdict: Annotated[
        ReviewVerdict | None,
        typer.Option(help="Is there voice-over? yes: remove it. no: publish the sound as generated."),
    ] = None,
    reason: options.Reason = None,
    stores: StoreUrls,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as one JSON object on stdout.")] = False,
) -> None:
    """List the items that need review, or set the verdict of one; only the steps that follow are done again."""
    worker = open_existing_worker(stores)
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
    new_review = NewReview(by, Verdict(verdict), (reason or "").strip())
    run_id, number = review_item(worker, item_id, new_review)
    say(f"item {item_id}: review {number} by {by}: {verdict}")
    continue_run(worker, stores, run_id)


def _find_item(worker: Worker, name: str) -> int:
    """The only item of that id, name or hash. Raises DeepSoundError (BAD_SETTINGS)."""
    with worker.ledger.read() as session:
        found = find_items(session, name)
    if len(found) == 1:
        return found[0]
    what = f"{name!r} names {len(found)} items" if found else f"there is no item {name!r}"
    remedy = f"name one by its id: {', '.join(map(str, found[:10]))}" if found else "see `deepsound review`"
    raise BadSettingsError(what, where=worker.ledger.url, remedy=remedy)


def _list(worker: Worker, *, as_json: bool) -> None:
    with worker.ledger.read() as session:
        waiting = items_to_review(session)
    if as_json:
        write_json({"items": [_json(each) for each in waiting]})
        return
    if waiting:
        out.print(_table(waiting))
    say(f"{len(waiting)} videos need review")


def _table(waiting: Sequence[ItemToReview]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("item", "video", "reason", "coarse audio"):
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
    """Where the coarse audio was delivered."""
    return location(str(waiting.settings["out"])) / f"{waiting.output_name}.coarse.wav"
