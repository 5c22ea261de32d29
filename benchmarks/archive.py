"""An archive run as in production: submitted, followed, driven by a worker, with everything measured as it grows.

    python -m benchmarks.archive [--videos 1000] [--json]

One-second clips, embedded backends, a standing Prefect server with our settings, workers for both pools, two
shards at once; ledger on SQLite and store in a folder. What orchestration adds is the CPU of all processes less
the time of the steps' own work, which the engine alone is timed for, twice at once, on some of the same clips.
"""

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.child_process import cpu_seconds
from benchmarks.cost_meters import Stopwatch
from benchmarks.overhead import GENERATOR, REASONER, by_engine, one_second
from tasks.runtime.stores import StoreUrls
from tests.prefect_workers import Pool, start_pool

SAMPLE = 40
SHARDS = 2
LOOK_EVERY = 2.0
BUCKET = 1000
GOALS = {"overhead_ms": 150, "growth": 1.2, "ledger_kb": 25, "resume_s": 60}


@dataclass
class Watch:
    """What every process took, looked at while the run goes on; processes that end are not lost."""

    cpu: dict[tuple[str, int], float] = field(default_factory=dict)
    memory: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    ended: list[tuple[float, int]] = field(default_factory=list)
    kilobytes: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def look(self, pool: Pool) -> None:
        roots = [("server", pool.server.process), *(("worker", worker) for worker in pool.workers)]
        for name, root in roots:
            if root is None:
                continue
            for process in _tree(root.pid):
                try:
                    times, kind = process.cpu_times(), _kind(name, process)
                    self.cpu[kind, process.pid] = times.user + times.system
                    self.memory[kind].append(process.memory_info().rss / 2**20)
                except psutil.NoSuchProcess:
                    continue

    def count(self, seconds: float, ended: int, files: Mapping[str, Sequence[Path]]) -> None:
        """How many videos have ended by now, and how large the databases are."""
        self.ended.append((seconds, ended))
        for name, paths in files.items():
            self.kilobytes[name].append(sum(path.stat().st_size for path in paths if path.exists()) / 1024)

    def parts(self, videos: int) -> dict[str, dict[str, float]]:
        """CPU milliseconds a video by kind of process, and how many processes of it there were."""
        parts: dict[str, dict[str, float]] = defaultdict(lambda: {"processes": 0, "cpu_ms": 0.0})
        for (kind, _), seconds in self.cpu.items():
            parts[kind]["processes"] += 1
            parts[kind]["cpu_ms"] += 1000 * seconds / videos
        return dict(parts)

    def growth(self, name: str) -> float:
        """Kilobytes that a video adds to a database, from the first tenth of the run on."""
        total = self.ended[-1][1]
        first = next(index for index, (_, ended) in enumerate(self.ended) if ended >= total / 10)
        grown = self.kilobytes[name][-1] - self.kilobytes[name][first]
        return grown / (total - self.ended[first][1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of tables")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="archive-", ignore_cleanup_errors=True) as folder:
        figures = measure(Path(folder), asked.videos)
        print(json.dumps(figures, indent=2) if asked.json else table(figures), flush=True)


def measure(folder: Path, videos: int) -> dict[str, Any]:
    """All figures: seconds, milliseconds, megabytes or kilobytes as their names say."""
    reels = folder / "reels"
    reels.mkdir()
    clips = make_clips(reels, videos)
    engine = engine_cpu(clips[:SAMPLE], folder / "alone")
    place = StoreUrls(db=f"sqlite:///{folder / 'ledger.sqlite3'}", store=str(folder / "store"))
    watch = Watch()
    with start_pool(folder, place) as pool:
        began = time.monotonic()
        run = str(json.loads(pool.run("submit", reels, "--json"))["run"])
        submitted = time.monotonic() - began
        pool.worker("followers", limit=2)
        pool.worker("gpu", limit=SHARDS)
        follow(pool, run, watch, {"ledger": ledger_files(folder), "prefect": prefect_files(pool)})
        resumed = time.monotonic()
        pool.run("resume", run)
        resumed = time.monotonic() - resumed
    whole = 1000 * sum(watch.cpu.values()) / videos
    return {
        "videos": videos,
        "submit_ms": 1000 * submitted / videos,
        "cpu_ms": whole,
        "engine_cpu_ms": engine,
        "overhead_ms": whole - engine,
        "parts": watch.parts(videos),
        "bucket_s": buckets(watch.ended),
        "ledger_kb": watch.growth("ledger"),
        "prefect_kb": watch.growth("prefect"),
        "memory_mb": {kind: grown(seen) for kind, seen in sorted(watch.memory.items())},
        "resume_s": resumed,
        "goals": GOALS,
    }


def make_clips(folder: Path, videos: int) -> list[Path]:
    """One-second clips, no two alike: 64 pictures, each repeated with a free atom of its own at its end."""
    pictures = [
        one_second(folder / f"picture-{number}.mp4", number).read_bytes() for number in range(min(64, videos))
    ]
    for number in range(len(pictures)):
        (folder / f"picture-{number}.mp4").unlink()
    clips = [folder / f"reel-{number:05}.mp4" for number in range(videos)]
    for number, clip in enumerate(clips):
        mark = f"{number:08}".encode()
        clip.write_bytes(pictures[number % len(pictures)] + (8 + len(mark)).to_bytes(4, "big") + b"free" + mark)
    return clips


def engine_cpu(clips: Sequence[Path], folder: Path) -> float:
    """CPU milliseconds of the engine alone for one of these clips, in as many processes as there are shards.

    Cores that share caches make each other slower.
    """
    with ProcessPoolExecutor(SHARDS, mp_context=get_context("spawn")) as pool:
        spent = pool.map(_engine_cpu, [clips] * SHARDS, [folder / str(number) for number in range(SHARDS)])
        return sum(spent) / SHARDS


def _engine_cpu(clips: Sequence[Path], folder: Path) -> float:
    folder.mkdir(parents=True)
    by_engine(clips[0], folder, Stopwatch())  # loads the models
    began = cpu_seconds()
    for clip in clips:
        by_engine(clip, folder, Stopwatch())
    return 1000 * (cpu_seconds() - began) / len(clips)


def follow(pool: Pool, run: str, watch: Watch, files: Mapping[str, Sequence[Path]]) -> None:
    """Until every video has ended."""
    began = time.monotonic()
    while True:
        progress = pool.progress(run)
        watch.count(time.monotonic() - began, progress.items - progress.open_items, files)
        watch.look(pool)
        if progress.open_items == 0:
            return
        time.sleep(LOOK_EVERY)


def ledger_files(folder: Path) -> list[Path]:
    return [folder / "ledger.sqlite3", folder / "ledger.sqlite3-wal"]


def prefect_files(pool: Pool) -> list[Path]:
    return [pool.server.folder / "prefect.db", pool.server.folder / "prefect.db-wal"]


def buckets(ended: Sequence[tuple[float, int]]) -> list[float]:
    """Wall seconds of each further thousand videos, or of each tenth of fewer; the first holds the start-up."""
    total = ended[-1][1]
    size = BUCKET if total >= 2 * BUCKET else max(1, total // 10)
    marks = [next(at for at, count in ended if count >= mark) for mark in range(size, total + 1, size)]
    return [later - earlier for earlier, later in zip([0.0, *marks], marks, strict=False)]


def grown(seen: Sequence[float]) -> Mapping[str, float]:
    """Megabytes: the median of the first and of the last third of what was seen, and the most."""
    third = max(1, len(seen) // 3)
    return {"first": median(seen[:third]), "last": median(seen[-third:]), "most": max(seen)}


def table(figures: Mapping[str, Any]) -> str:
    lines = [
        f"{figures['videos']} videos, {GENERATOR} and {REASONER}, {os.cpu_count()} cores",
        f"submit: {figures['submit_ms']:.0f} ms a video",
        f"CPU a video: {figures['cpu_ms']:.0f} ms, of it the engine {figures['engine_cpu_ms']:.0f} ms,"
        f" so orchestration, ledger and store {figures['overhead_ms']:.0f} ms (goal {GOALS['overhead_ms']})",
        "CPU a video by process: "
        + ", ".join(
            f"{kind} ({part['processes']:.0f}) {part['cpu_ms']:.0f} ms" for kind, part in figures["parts"].items()
        ),
        "wall of each further part: " + ", ".join(f"{seconds:.0f} s" for seconds in figures["bucket_s"]),
        f"ledger: {figures['ledger_kb']:.1f} kB a video (goal {GOALS['ledger_kb']})",
        f"Prefect's database: {figures['prefect_kb']:.0f} kB a video",
        f"resume of the finished run: {figures['resume_s']:.1f} s (goal {GOALS['resume_s']})",
        "memory in MB, first third, last third, most:",
        *(
            f"  {kind}: {seen['first']:.0f}, {seen['last']:.0f}, {seen['most']:.0f}"
            for kind, seen in figures["memory_mb"].items()
        ),
    ]
    return "\n".join(lines)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _kind(root: str, process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    for mark, name in (
        ("sandbox.child", "decoder"),
        ("server start", "server"),
        ("worker start", "worker"),
        ("prefect.engine", "flow"),
    ):
        if mark in words:
            return name
    return f"other of {root}"


if __name__ == "__main__":
    main()
