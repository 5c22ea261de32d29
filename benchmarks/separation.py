"""BS-RoFormer on real sound: the reference's way, ours with the same chunks, and the economical windows.

    python -m benchmarks.separation [--seconds 1] [--repeats 3] [--threads N] [--json]

Official size, weights filled from names; every run in a process of its own. Chunks are four fifths of the sound,
as 8 s are of 10 s, so that the reference computes its five and we four. Same chunks in float32 are asserted to
give the same voice; of what differs, the change is reported as voice over change.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.chain import decibels, distance, scaled
from benchmarks.child_process import Spent, Work, in_child
from benchmarks.real_media import CLIPS, TALKING, clip_named
from benchmarks.reference.demix import demix
from benchmarks.synthetic_checkpoints import filled_separator
from benchmarks.tables import machine, medians, table
from deepsound.media.audio import read_span
from deepsound.media.extract_audio import extract_audio
from deepsound.media.probe import probe
from deepsound.models.checkpoints import read_state
from deepsound.separation.bs_roformer.config import SAMPLE_RATE, BSRoformerConfig
from deepsound.separation.bs_roformer.separator import BSRoformerSeparator

REFERENCE, SAME = "reference", "ours, same chunks"
WAYS = {
    SAME: "reference",
    "ours, economical": "economical",
    "same chunks, bfloat16": "bfloat16",
    "economical, bfloat16": "bfloat16-economical",
}
TOLERANCE = 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--media", type=Path, default=CLIPS, help="folder of the real clips")
    parser.add_argument("--weights", type=Path, help="keep the filled checkpoint (0.6 GB) in this folder")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of tables")
    asked = parser.parse_args()
    video = clip_named(TALKING, asked.media)
    with tempfile.TemporaryDirectory(prefix="separation-") as folder:
        figures = measure(Path(folder), video, asked)
    print(json.dumps(figures, indent=2) if asked.json else tables(figures))


def measure(folder: Path, video: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """All ways by turns; medians."""
    weights = asked.weights or folder
    weights.mkdir(parents=True, exist_ok=True)
    filled_separator(weights)
    mix = sound_of(video, asked.seconds, folder)
    config = scaled(asked.seconds)
    spent: dict[str, list[Spent]] = {way: [] for way in (REFERENCE, *WAYS)}
    for _ in range(asked.repeats):
        for way, runs in spent.items():
            runs.append(in_child(prepare, way, weights, mix, config, threads=asked.threads))
    return {
        "machine": machine(asked.threads),
        "clip": f"{TALKING}, {asked.seconds} s of stereo; chunks of {config.chunk / SAMPLE_RATE:.2f} s",
        "repeats": asked.repeats,
        "cost": costs(spent),
    }


def sound_of(video: Path, seconds: float, folder: Path) -> Path:
    """The clip's own sound from its start."""
    whole, mix = folder / "whole.wav", folder / "mix.wav"
    extract_audio(video, probe(video), whole)
    soundfile.write(mix, read_span(whole, 0, round(seconds * SAMPLE_RATE)), SAMPLE_RATE, subtype="FLOAT")
    return mix


def prepare(way: str, weights: Path, mix: Path, config: BSRoformerConfig) -> Work:
    """A separation with its network loaded; the work returns the voice (samples, channels)."""
    checkpoint, voice = filled_separator(weights), mix.with_name("voice.wav")
    if way == REFERENCE:
        state = read_state(checkpoint)
        sound, _ = soundfile.read(mix, dtype="float32")
        return lambda: demix(state, config, np.ascontiguousarray(sound.T)).T
    separator = BSRoformerSeparator(checkpoint, mode=WAYS[way], config=config, device="cpu")

    def work() -> Any:
        separator.separate(mix, voice, mix.with_name("background.wav"), None)
        return soundfile.read(voice, dtype="float32")[0]

    return work


def costs(spent: Mapping[str, list[Spent]]) -> dict[str, dict[str, float]]:
    """Medians, ratios to the reference, and how far the voice is from its voice. Asserts what is the same."""
    baseline = spent[REFERENCE][-1].made
    rows: dict[str, dict[str, float]] = {}
    for way, runs in spent.items():
        rows[way] = dict(medians(runs))
        rows[way]["CPU ×"] = rows[REFERENCE]["CPU s"] / rows[way]["CPU s"]
        if way != REFERENCE:
            rows[way]["voice / change, dB"] = decibels(distance(runs[-1].made, baseline))
    assert rows[SAME]["voice / change, dB"] >= decibels(TOLERANCE), "not the same voice"
    return rows


def tables(figures: Mapping[str, Any]) -> str:
    """For people."""
    heading = f"{figures['clip']}; medians of {figures['repeats']}"
    return "\n\n".join([figures["machine"], heading, table(figures["cost"])])


if __name__ == "__main__":
    main()
