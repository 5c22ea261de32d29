"""`make demo`: runs three clips through the whole chain and writes a report."""

import subprocess
import sys
from pathlib import Path

from clips import write_clips

from db.read.items import run_ids
from db.schema.database import open_ledger


def main(results: Path) -> None:
    """Generates sound for a silent clip, removes the narrator from two others, and writes the report."""
    silent, sounding = write_clips(results / "clips")
    stores = ["--db", f"sqlite:///{results.absolute() / 'ledger.sqlite3'}", "--store", str(results / "store")]
    print("\n1. Sound for a silent clip (generator foley):", flush=True)
    deepsound("dub", str(silent), "-o", str(results / "sounded"), *stores)
    print("\n2. The narrator is removed, a person talking in shot stays (generator soundtrack):", flush=True)
    deepsound(
        "dub",
        *map(str, sounding),
        "--generator",
        "soundtrack",
        "--fallback",
        "rep",
        "-o",
        str(results / "m-and-e"),
        *stores,
    )
    ledger = open_ledger(stores[1])
    with ledger.read() as session:
        runs = run_ids(session)
    deepsound("audit", "report", *runs, *stores, "-o", str(results / "report.html"))
    print(f"\nResults: {results.absolute()}\nReport:  {(results / 'report.html').absolute()}")


def deepsound(*arguments: str) -> None:
    """Runs the command as a user does."""
    subprocess.run([str(Path(sys.executable).with_name("deepsound")), *arguments], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
