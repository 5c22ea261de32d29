"""`deepsound audit show`: everything that the ledger holds on a video."""

from typing import Annotated

import typer

from console.cli import options
from console.cli.audit.item_export import item_json, item_tree
from console.cli.setting_flags import LedgerOnly, with_setting_flags
from console.cli.terminal import out, write_json
from db.read.evidence import find_items, item_evidence
from deepsound.errors import BadSettingsError
from tasks.runtime.deciding_judgement import load_deciding_judgements
from tasks.runtime.worker import open_existing_worker


@with_setting_flags
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A run, an item, a file name, or the SHA-256 of any file.")
    ],
    *,
    stores: LedgerOnly,
    as_json: options.Json = False,
) -> None:
    """Show every attempt, decision, effect and review of a video."""
    ledger = open_existing_worker(stores).ledger
    with ledger.read() as session:
        items = item_evidence(session, sorted(find_items(session, name)))
        decided = load_deciding_judgements(session, [item.id for item in items])
    if not items:
        raise BadSettingsError(
            f"there is no run, item or file {name!r}",
            where=ledger.url,
            remedy="name a run, an item, a source file or a SHA-256, and check --db",
        )
    if as_json:
        write_json({"items": [item_json(item, decided[item.id]) for item in items]})
        return
    for item in items:
        out.print(item_tree(item, decided[item.id]))
