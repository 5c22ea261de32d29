"""What orchestration, ledger and store cost a video: the whole machinery beside the engine alone.

    python -m benchmarks.overhead [--videos 32] [--repeats 3] [--json]

The engine alone: look, plan, generate, judge, level, master and mux by calls of `deepsound`, as many videos at
once as the machinery takes. The machinery: the same videos as a run, from its registration to the delivered
results, on a Prefect server that stands already. Both in one process with loaded models, in turns.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import tasks.runtime.item_footage
from benchmarks.cost_meters import Cost, Stopwatch, cost_of
from console.cli.settings import settings_from
from deepsound import cot
from deepsound.backends import load_generator, load_reasoner
from deepsound.generation.protocol import GenerationRequest
from deepsound.media.broadcast_wav import BextMetadata, write_bwf
from deepsound.media.decode import decode_video
from deepsound.media.loudness import normalise
from deepsound.media.loudness_standards import STANDARDS, LoudnessTarget
from deepsound.media.mux import mux
from deepsound.pipeline import Action, OutcomeKind, Step
from deepsound.storage.folder_store import FolderStore
from deepsound.storage.location import location
from flows.local_run import drive_run
from flows.prefect_server import PrivateServer, use_server
from tasks.operations.manifest import collect
from tasks.operations.run_registration import begin_run
from tasks.operations.run_results import read_results
from tasks.runtime.item import Item
from tasks.runtime.stores import StoreUrls
from tasks.runtime.worker import Worker, open_worker
from tests.count_opens import counted_opens
from tests.made_clips import bouncing_ball, write_clip

Table = Mapping[str, Mapping[str, float]]

GENERATOR, REASONER = "foley", "evidence"
SEED = 42
STEPS = (Step.PLAN, Step.GENERATE, Step.JUDGE, Step.PUBLISH)
PARTS = ("engine", "step", "ledger", "store", "delivery", "look-up")
KINDS = ("wall", "cpu", "own_cpu", "server_cpu")
GOAL_MS = 150


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--videos", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of tables")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        figures = measure(Path(folder), asked.videos, asked.repeats)
    print(json.dumps(figures, indent=2) if asked.json else tables(figures))


def measure(folder: Path, videos: int, repeats: int) -> dict[str, Any]:
    """All figures; times in milliseconds."""
    os.environ["PREFECT_HOME"] = str(folder / "prefect")
    (folder / "reels").mkdir()
    clips = [one_second(folder / "reels" / f"reel-{number:02}.mp4", number) for number in range(videos)]
    long = write_clip(folder / "long.mp4", seconds=10, size=(1280, 720), frames=bouncing_ball([0.8], (1280, 720)))
    first = timed(lambda: command(long, folder / "first"))
    cold = timed(lambda: command(long, folder / "cold"))
    by_engine(long, folder, Stopwatch())  # loads the models
    with PrivateServer() as server:
        started = timed(server.wait)
        use_server(server.api_url, private=True)
        run(clips[:2], folder / "warm-up")
        per_video, steps = in_turns(clips, folder, repeats)
        one = one_video(long, folder)
    return {
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}",
        "videos": videos,
        "repeats": repeats,
        "per_video": per_video,
        "steps": steps,
        "server_start": ms(started),
        "ten_seconds_720p": {"command, for the first time ever": ms(first), "command": ms(cold), **one},
    }


def one_second(path: Path, number: int) -> Path:
    """A silent clip, no two alike."""
    return write_clip(path, seconds=1, frames=bouncing_ball([0.3 + number % 64 / 100], (320, 180)))


def in_turns(clips: Sequence[Path], folder: Path, repeats: int) -> tuple[Table, Table]:
    """Engine and machinery by turns, so that whatever else the machine does meets both; medians per video."""
    from flows.concurrency import CPU_BOUND_VIDEOS

    watch = watched_machinery()
    alone: list[Cost] = []
    whole: list[Cost] = []
    steps: list[Mapping[tuple[str, str], float]] = []
    for turn in range(repeats):
        watch.seconds.clear()
        alone.append(cost_of(lambda: shard_by_engine(clips, folder, watch, CPU_BOUND_VIDEOS)))
        whole.append(run(clips, folder / f"run-{turn}"))
        steps.append(dict(watch.seconds))
    added = [one - other for one, other in zip(whole, alone, strict=True)]
    costs = {"engine alone": alone, "whole machinery": whole, "difference": added}
    videos = len(clips)
    per_video = {
        name: {kind: median(ms(getattr(cost, kind)) / videos for cost in measured) for kind in KINDS}
        for name, measured in costs.items()
    }
    by_step = {
        str(step): {part: median(ms(turn.get((step, part), 0.0)) / videos for turn in steps) for part in PARTS}
        for step in STEPS
    }
    return per_video, by_step


def watched_machinery() -> Stopwatch:
    """Stopwatches at the joints of the machinery."""
    import flows.shard
    import tasks.steps.runner
    from db.schema.database import Ledger

    watch = Stopwatch()

    def by_step(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(worker: Worker, item: Item, action: Action, *more: Any) -> Any:
            with watch.timed(part, action.step):
                return function(worker, item, action, *more)

        return call

    flows.shard.run_step = by_step("step", flows.shard.run_step)
    flows.shard.reuse_step = by_step("look-up", flows.shard.reuse_step)
    for owner, name, part in (
        (Ledger, "write", "ledger"),
        (FolderStore, "put", "store"),
        (tasks.steps.runner, "deliver", "delivery"),
    ):
        watch.around(owner, name, part)
    return watch


def shard_by_engine(clips: Sequence[Path], folder: Path, watch: Stopwatch, at_once: int) -> None:
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda clip: by_engine(clip, folder, watch), clips))


def by_engine(clip: Path, folder: Path, watch: Stopwatch) -> None:
    """What the steps do to a silent clip, without anything around it."""
    generator, reasoner = load_generator(GENERATOR), load_reasoner(REASONER)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = {name: Path(scratch) / name for name in ("coarse.wav", "level.wav", "audio.wav", "video.mp4")}
        with watch.timed("engine", Step.PLAN):
            observers = {each.name: each for each in [*generator.observers(), *reasoner.observers()]}
            footage = decode_video(clip, list(observers.values()))
            cot.parse_plan(reasoner.plan(footage).raw)
        with watch.timed("engine", Step.GENERATE):
            generator.generate(GenerationRequest(clip, footage, "", "", SEED), made["coarse.wav"])
        with watch.timed("engine", Step.JUDGE):
            cot.parse_judgement(reasoner.judge(footage, made["coarse.wav"]).raw)
        with watch.timed("engine", Step.PUBLISH):
            normalise(made["coarse.wav"], made["level.wav"], STANDARDS[LoudnessTarget.EBU_R128])
            notes = BextMetadata("sound", "DeepSound", "benchmark", datetime.now(UTC))
            write_bwf(made["level.wav"], made["audio.wav"], footage.info.duration, notes)
            mux(clip, made["level.wav"], made["video.mp4"], footage.info)


def run(clips: Sequence[Path], folder: Path) -> Cost:
    """A run of these videos on an open ledger and store, from its registration to the delivered results."""
    place = StoreUrls(db=f"sqlite:///{folder / 'ledger.sqlite3'}", store=str(folder / "store"))
    worker = open_worker(place)
    settings = settings_from(out=str(folder / "out"), generator=GENERATOR, reasoner=REASONER, seed=SEED)
    begun: list[str] = []

    def work() -> None:
        run_id, _ = begin_run(
            worker,
            settings.run,
            collect([location(clip) for clip in clips], settings.run.out).sources,
            lambda _: None,
        )
        begun.append(run_id)
        drive_run(worker, place, run_id, lambda _: None)

    cost = cost_of(work)
    assert {result.outcome for result in read_results(worker, begun[0])} == {OutcomeKind.DONE}
    return cost


def one_video(clip: Path, folder: Path) -> dict[str, float]:
    """Wall time of one video with everything warm, and how often its file is opened and decoded."""
    decoded: list[Path] = []
    decode_once = tasks.runtime.item_footage.decode_video
    tasks.runtime.item_footage.decode_video = lambda path, observers: (
        decoded.append(path) or decode_once(path, observers)
    )
    with counted_opens(clip) as opens:
        warm = run([clip], folder / "one")
        opened = opens()
    again = run([clip], folder / "one")
    assert decoded == [clip], f"decoded {len(decoded)} times"
    return {
        "warm": ms(warm.wall),
        "warm, nothing left to do": ms(again.wall),
        "engine alone": ms(timed(lambda: by_engine(clip, folder, Stopwatch()))),
        "times decoded": len(decoded),
        "times opened": opened,
    }


def command(clip: Path, folder: Path) -> None:
    """The command in a process of its own, which starts its own Prefect server."""
    deepsound = Path(sys.executable).with_name("deepsound")
    places = {"DEEPSOUND_DB": f"sqlite:///{folder / 'ledger.sqlite3'}", "DEEPSOUND_STORE": str(folder / "store")}
    environment = {**os.environ, **places, "DEEPSOUND_OUT": str(folder / "out")}
    subprocess.run([deepsound, "dub", clip], env=environment, check=True, capture_output=True)


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def tables(figures: Mapping[str, Any]) -> str:
    """For people."""
    added = figures["per_video"]["difference"]["cpu"]
    return "\n\n".join(
        [
            f"{figures['machine']}; a shard of {figures['videos']} one-second videos, "
            f"medians of {figures['repeats']} repeats, milliseconds a video",
            table(figures["per_video"]),
            f"orchestration, ledger and store: {added:.0f} ms of CPU a video; goal: at most {GOAL_MS}",
            table(figures["steps"]),
            "one video of ten seconds, 1280 x 720",
            "\n".join(f"{value:8.0f}  {name}" for name, value in figures["ten_seconds_720p"].items()),
            f"Prefect's server, started separately: {figures['server_start']:.0f} ms",
        ]
    )


def table(rows: Table) -> str:
    """Rows by name, with the columns of the first."""
    columns = list(next(iter(rows.values())))
    width = max(map(len, rows))
    lines = [" " * width + "".join(f"  {column}" for column in columns)]
    for name, values in rows.items():
        cells = "".join(f"  {values[column]:{len(column)}.0f}" for column in columns)
        lines.append(f"{name:{width}}{cells}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
