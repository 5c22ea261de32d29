"""The sound models' share of the chain, DeepSound-V1's way and ours: generate, separate, generate again (`neg`).

    python -m benchmarks.chain [--variant small-44k] [--seconds 1] [--repeats 3] [--threads N] [--json]

Official sizes, weights filled from names, a real clip. Both in bfloat16, the separator in float32. Chunks of the
separator are four fifths of the clip, as 8 s are of 10 s, so that the reference computes its five and we four; the
economical setting computes one. Same chunks are checked to give the same sound; the other's change is reported.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import log10
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from benchmarks.child_process import Spent, Steps, Work, in_child
from benchmarks.real_media import CLIPS, TALKING, clip_named, first_seconds
from benchmarks.reference.chain import AGAINST_VOICES, COARSE, ReferenceChain, Sounds
from benchmarks.synthetic_checkpoints import VARIANT_NAMES, filled_files, filled_separator, networks, sizes_of
from benchmarks.tables import machine, medians, table
from deepsound.generation.mmaudio.backend import MMAudio
from deepsound.generation.mmaudio.networks import Networks
from deepsound.generation.protocol import GenerationRequest
from deepsound.media.decode import decode_video
from deepsound.media.mux import mux
from deepsound.media.probe import probe
from deepsound.separation.bs_roformer.config import EP_317, SAMPLE_RATE, BSRoformerConfig
from deepsound.separation.bs_roformer.separator import BSRoformerSeparator

PROMPT = "a child talks"
SEED = 42
CHUNK_SHARE = 0.8
WAYS = ("reference", "ours, same chunks", "ours, economical")
GOALS = {"ours, same chunks": 1.6, "ours, economical": 2.5}
SAME = {"coarse": 0.05, "again": 0.05, "voice in the same coarse": 1e-3}
"""Relative differences within which sounds are the same: generators compute in bfloat16, rounded to 1 in 256."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--variant", choices=VARIANT_NAMES, default="small-44k")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--media", type=Path, default=CLIPS, help="folder of the real clips")
    parser.add_argument("--weights", type=Path, help="keep the filled checkpoints (7 GB) in this folder")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of tables")
    asked = parser.parse_args()
    video = clip_named(TALKING, asked.media)
    with tempfile.TemporaryDirectory(prefix="chain-") as folder:
        figures = measure(Path(folder), video, asked)
    print(json.dumps(figures, indent=2) if asked.json else tables(figures))
    same = figures["difference"]["same chunks"]
    if not all(same[name] <= within for name, within in SAME.items()):
        parser.exit(1, f"not the same sound: {same}\n")


def measure(folder: Path, video: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """All ways by turns; medians."""
    weights = asked.weights or folder
    weights.mkdir(parents=True, exist_ok=True)
    filled_files(weights, asked.variant)
    filled_separator(weights)
    clip = first_seconds(video, asked.seconds, folder / "clip.mp4")
    config = scaled(probe(clip).duration)
    spent: dict[str, list[Spent]] = {way: [] for way in WAYS}
    for _ in range(asked.repeats):
        for way in WAYS:
            arguments = (way, weights, asked.variant, clip, folder, config)
            spent[way].append(in_child(prepare, *arguments, threads=asked.threads))
    sounds = {way: runs[-1].made for way, runs in spent.items()}
    apart = in_child(prepare_separation, weights, folder, config, threads=asked.threads).made
    return {
        "machine": machine(asked.threads),
        "clip": f"{TALKING}, its first {probe(clip).duration:.2f} s; chunks of {config.chunk / SAMPLE_RATE:.2f} s",
        "variant": asked.variant,
        "repeats": asked.repeats,
        "cost": costs(spent),
        "difference": differences(sounds, apart),
    }


def scaled(seconds: float) -> BSRoformerConfig:
    """Chunks that are to a clip of so many seconds what 8 s are to 10 s."""
    return replace(EP_317, chunk=round(seconds * CHUNK_SHARE * SAMPLE_RATE / EP_317.hop) * EP_317.hop)


def prepare(way: str, weights: Path, variant: str, clip: Path, folder: Path, config: BSRoformerConfig) -> Work:
    """A chain with its networks loaded; the work is one run of it."""
    checkpoint = filled_separator(weights)
    if way == "reference":
        files = filled_files(weights, variant)
        chain = ReferenceChain(sizes_of(variant), files, checkpoint, config, torch.bfloat16)
    else:
        mode = "economical" if "economical" in way else "reference"
        separator = BSRoformerSeparator(checkpoint, mode=mode, config=config, device="cpu")
        chain = OurChain(networks(weights, variant, "bfloat16"), separator)
    return lambda: chain.run(clip, folder, PROMPT, SEED)


def prepare_separation(weights: Path, folder: Path, config: BSRoformerConfig) -> Work:
    """Our voice in the reference's coarse sound, so that a separator is compared and not what it is given."""
    separator = BSRoformerSeparator(filled_separator(weights), config=config, device="cpu")
    voice = folder / "apart.wav"

    def work() -> NDArray[np.float32]:
        separator.separate(folder / COARSE, voice, folder / "rest.wav", None)
        return _read(voice)

    return work


class OurChain:
    """The product's steps, without what stands around them. Loaded once."""

    def __init__(self, loaded: Networks, separator: BSRoformerSeparator) -> None:
        looking = loaded.clip, loaded.synchformer
        sounding = loaded.reader, loaded.flow, loaded.vae, loaded.vocoder
        for part in (*looking, *sounding, loaded.identities):
            assert part
        self._generator, self._separator = MMAudio(loaded), separator

    def run(self, video: Path, folder: Path, prompt: str, seed: int) -> Sounds:
        """Look once, generate, separate, deliver; and what the `neg` fallback adds."""
        steps = Steps()
        coarse, voice, rest, again = (folder / f"{name}.wav" for name in ("coarse", "voice", "rest", "again"))
        with steps.timed("look"):
            footage = decode_video(video, self._generator.observers())
        with steps.timed("generate"):
            self._generator.generate(GenerationRequest(video, footage, prompt, "", seed), coarse)
        with steps.timed("separate"):
            self._separator.separate(coarse, voice, rest, None)
        with steps.timed("deliver"):
            mux(video, rest, folder / "delivered.mp4", footage.info)
        with steps.timed("neg"):
            self._generator.generate(GenerationRequest(video, footage, prompt, AGAINST_VOICES, seed), again)
        return Sounds(_read(coarse), _read(voice), _read(again), steps.cpu)


def costs(spent: Mapping[str, Sequence[Spent]]) -> dict[str, dict[str, float]]:
    """CPU-seconds by step, with and without the fallback, ratios to the reference, and memory."""
    rows: dict[str, dict[str, float]] = {}
    for way, runs in spent.items():
        by_step = {step: median(run.made.cpu[step] for run in runs) for step in runs[0].made.cpu}
        without = median(sum(run.made.cpu.values()) - run.made.cpu["neg"] for run in runs)
        whole = medians(runs)
        rows[way] = {**by_step, "chain": without, "with neg": whole["CPU s"], "wall s": whole["wall s"]}
        rows[way] |= {name: whole[name] for name in ("held MB", "added MB")}
    baseline = rows["reference"]
    for row in rows.values():
        row |= {f"{name} ×": baseline[name] / row[name] for name in ("chain", "with neg")}
    return rows


def differences(sounds: Mapping[str, Sounds], apart: NDArray[np.float32]) -> dict[str, dict[str, float]]:
    """Of our sounds from the reference's, relative; the voice of other windows in dB."""
    baseline, same, economical = (sounds[way] for way in WAYS)
    relative = {
        name: distance(getattr(same, name), getattr(baseline, name)) for name in ("coarse", "voice", "again")
    }
    relative["voice in the same coarse"] = distance(apart, baseline.voice)
    changed = distance(economical.voice, same.voice)
    return {"same chunks": relative, "economical": {"voice dB": decibels(changed)}}


def distance(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """‖ours − theirs‖ / ‖theirs‖ over their common length, which may differ by a few samples."""
    length = min(len(ours), len(theirs))
    assert abs(len(ours) - len(theirs)) <= 2
    return float(np.linalg.norm(ours[:length] - theirs[:length]) / np.linalg.norm(theirs[:length]))


def decibels(relative: float) -> float:
    """Signal over change."""
    return -20 * log10(max(relative, 1e-12))


def tables(figures: Mapping[str, Any]) -> str:
    """For people."""
    met = "; ".join(
        f"{way}: {figures['cost'][way]['chain ×']:.2f}× (with neg {figures['cost'][way]['with neg ×']:.2f}×), "
        f"goal {goal}×"
        for way, goal in GOALS.items()
    )
    return "\n\n".join(
        [
            figures["machine"],
            f"{figures['variant']}, {figures['clip']}; medians of {figures['repeats']}, CPU-seconds",
            table(figures["cost"]),
            met,
            f"differences: {json.dumps(figures['difference'])}",
        ]
    )


def _read(path: Path) -> NDArray[np.float32]:
    sound, _ = soundfile.read(path, dtype="float32", always_2d=True)
    return sound.mean(axis=1)


if __name__ == "__main__":
    main()
