"""`deepsound audit seals`: every seal of the ledger, to be kept elsewhere."""

from console.cli.setting_flags import LedgerOnly, with_setting_flags
from console.cli.terminal import out
from tasks.operations.sealing import seal_lines
from tasks.runtime.worker import open_existing_worker


@with_setting_flags
def print_seals(*, stores: LedgerOnly) -> None:
    """Print every seal as a line of JSON, for `audit verify --seals` to find runs that were removed later."""
    for line in seal_lines(open_existing_worker(stores)):
        out.file.write(line + "\n")
