"""Figures for people: what was measured, on what, in rows and columns."""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from statistics import median

from benchmarks.child_process import Spent

Row = Mapping[str, float]


def medians(spent: Sequence[Spent]) -> Row:
    """CPU and wall seconds, and memory in MB, of repeated work."""
    return {
        "CPU s": median(one.cpu for one in spent),
        "wall s": median(one.wall for one in spent),
        "held MB": median(one.held for one in spent),
        "added MB": median(one.added for one in spent),
    }


def table(rows: Mapping[str, Row]) -> str:
    """Rows by name; columns are all that any row has, in order of first sight."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    width = max(map(len, rows))
    lines = [" " * width + "".join(f"  {column:>8}" for column in columns)]
    for name, row in rows.items():
        cells = (f"  {_figure(row[column]) if column in row else '':>{max(len(column), 8)}}" for column in columns)
        lines.append(f"{name:{width}}" + "".join(cells))
    return "\n".join(lines)


def machine(threads: int) -> str:
    """Where and when, and how busy it was."""
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {threads} threads used, load {load:.1f}, {system}"
    )


def _figure(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
