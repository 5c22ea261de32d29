"""How well a reasoner finds voice-over, on clips whose truth is known.

    python -m benchmarks.voiceover [--reasoner evidence] [--half held-out] [--json]

347 clips of four seconds, made once and kept in the temporary folder: speakers of eleven languages, singing,
laughter and crowds at -10 to +15 dB over sounds of places, machines and music; nobody in the picture, somebody
silent, somebody whose mouth moves. Constants are chosen on the half `development`; `held-out` shares no speaker,
footage, photograph or kind of sound with it. Needs `pip install -e '.[benchmarks]'` and the clips of shared/media.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from benchmarks.voiceover_clips.recipes import HALVES, Recipe, recipes
from benchmarks.voiceover_clips.rendering import Clip, clip
from benchmarks.voiceover_clips.scores import Judged, by, measures, overlap
from deepsound.backends import load_reasoner
from deepsound.cot import parse_judgement
from deepsound.media.decode import decode_video

PROCESSES = 2
COLUMNS = {
    "clips": "{:.0f}",
    "right": "{:.3f}",
    "precision": "{:.3f}",
    "recall": "{:.3f}",
    "f1": "{:.3f}",
    "span_iou": "{:.2f}",
    "ece": "{:.3f}",
    "undecided": "{:.2f}",
    "seconds": "{:.2f}",
    "cpu_seconds": "{:.2f}",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--reasoner", default="evidence", help="as in `deepsound dub --reasoner`")
    parser.add_argument("--half", choices=(*HALVES, "both"), default="both")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="every clip and figure as one object")
    asked = parser.parse_args()
    chosen = [recipe for half in HALVES if asked.half in (half, "both") for recipe in recipes(half, asked.seed)]
    folder = kept_clips(asked.seed)
    began = time.perf_counter()
    with ProcessPoolExecutor(PROCESSES, initializer=_one_thread) as pool:
        clips = list(pool.map(partial(clip, folder=folder, seed=asked.seed), chosen, chunksize=4))
        _progress(f"{len(clips)} clips in {folder} ({time.perf_counter() - began:.0f} s)")
        judged = list(pool.map(partial(judge, asked.reasoner), clips, chunksize=4))
    _progress(f"judged after {time.perf_counter() - began:.0f} s")
    if asked.json:
        print(json.dumps({"reasoner": asked.reasoner, "halves": _figures(judged), "clips": list(_rows(judged))}))
        return
    for half, tables in _figures(judged).items():
        for title, table in tables.items():
            print_table(f"{asked.reasoner}, {half} {title}", table)


def judge(reasoner_name: str, made: Clip) -> Judged:
    """Look, listen, ask and parse, as the steps `plan` and `judge` do."""
    reasoner = load_reasoner(reasoner_name)
    wall, cpu = time.perf_counter(), time.process_time()
    reply = reasoner.judge(decode_video(made.video, reasoner.observers()), made.sound)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    found = [voice.span for voice in reply.voices if voice.off_screen]
    verdict = parse_judgement(reply.raw).verdict
    return Judged(made.recipe, verdict, reply.probability, overlap(found, made.spans), wall, cpu)


def kept_clips(seed: int) -> Path:
    """Where the clips of a seed are kept: another folder whenever the code that makes them changes."""
    here = Path(__file__).parent
    makers = [
        *sorted((here / "voiceover_clips").glob("*.py")),
        here.parent / "tests" / "voice_samples.py",
        here.parent / "tests" / "made_clips.py",
    ]
    digest = hashlib.sha256(b"".join(maker.read_bytes() for maker in makers if maker.stem != "scores"))
    folder = Path(tempfile.gettempdir()) / f"deepsound-voiceover-{digest.hexdigest()[:12]}-{seed}"
    folder.mkdir(exist_ok=True)
    return folder


def _figures(judged: Sequence[Judged]) -> Mapping[str, Mapping[str, Mapping[str, Mapping[str, float | None]]]]:
    halves = {half: [one for one in judged if one.recipe.half == half] for half in HALVES}
    return {
        half: {
            "in all": {"all levels": measures(clips)} | {"0 dB and above": measures(_audible(clips))},
            "by level": by(clips, _level),
            "by kind, at 0 dB and above": by(_audible(clips), lambda recipe: recipe.kind),
        }
        for half, clips in halves.items()
        if clips
    }


def _audible(judged: Sequence[Judged]) -> list[Judged]:
    return [one for one in judged if one.recipe.level is None or one.recipe.level >= 0]


def _level(recipe: Recipe) -> str:
    return "one sound alone" if recipe.level is None else f"{recipe.level:+.0f} dB"


def _rows(judged: Sequence[Judged]) -> Iterator[Mapping[str, Any]]:
    for one in judged:
        recipe = one.recipe
        yield {
            "half": recipe.half,
            "number": recipe.number,
            "kind": recipe.kind,
            "picture": recipe.picture,
            "speaker": recipe.speaker,
            "bed": recipe.bed,
            "level": recipe.level,
            "voice_over": recipe.voice_over,
            "verdict": one.verdict,
            "probability": one.probability,
            "span_iou": one.overlap,
        }


def print_table(title: str, table: Mapping[str, Mapping[str, float | None]]) -> None:
    print(f"\n{title}\n\n| | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}")
    for name, figures in table.items():
        cells = [_cell(figures[column], form) for column, form in COLUMNS.items()]
        print(f"| {name} | {' | '.join(cells)} |")


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _one_thread() -> None:
    cv2.setNumThreads(1)


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
