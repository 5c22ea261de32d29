"""`make demo`: three clips through the whole chain, under Prefect, with the ledger and the report to look at."""

import subprocess
import sys
from pathlib import Path

from clips import write_clips

from db.read.items import run_ids
from db.schema.database import open_ledger


def main(results: Path) -> None:
    """Sound a silent clip, take a narrator off two others, and write the report."""
    silent, sounding = write_clips(results / "clips")
    books = ["--db", f"sqlite:///{results.absolute() / 'ledger.sqlite3'}", "--store", str(results / "store")]
    print("\n1. A silent clip gets sound (generator foley):", flush=True)
    deepsound("dub", str(silent), "-o", str(results / "sounded"), *books)
    print("\n2. The narrator goes, somebody talking in shot stays (generator soundtrack):", flush=True)
    deepsound(
        "dub",
        *map(str, sounding),
        "--generator",
        "soundtrack",
        "--fallback",
        "rep",
        "-o",
        str(results / "m-and-e"),
        *books,
    )
    ledger = open_ledger(books[1])
    with ledger.read() as session:
        runs = run_ids(session)
    deepsound("audit", "report", *runs, *books, "-o", str(results / "report.html"))
    print(f"\nResults: {results.absolute()}\nReport:  {(results / 'report.html').absolute()}")


def deepsound(*arguments: str) -> None:
    """The command as a user types it."""
    subprocess.run([str(Path(sys.executable).with_name("deepsound")), *arguments], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
