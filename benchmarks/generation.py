"""MMAudio: batches, precision, features kept, the vocoder, memory; and a GPU's rates where there is one.

    python -m benchmarks.generation [--variants small-16k small-44k] [--seconds 1] [--repeats 3] [--threads N]

Official sizes, weights filled from names; every run in a process of its own, ways by turns. The vocoder always
makes eight seconds, since what the reference wastes there comes of large buffers.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.chain import PROMPT, SEED, decibels, distance
from benchmarks.child_process import Spent, Work, in_child
from benchmarks.gpu import rates
from benchmarks.real_media import CLIPS, TALKING, clip_named, first_seconds
from benchmarks.reference.chain import AGAINST_VOICES
from benchmarks.reference.vocoder import vocode
from benchmarks.synthetic_checkpoints import VARIANT_NAMES, filled_files, networks, sizes_of
from benchmarks.tables import Row, machine, medians, table
from deepsound.generation.mmaudio.backend import MODES, MMAudio
from deepsound.generation.mmaudio.bigvgan import fold_weight_norm
from deepsound.generation.mmaudio.flow import Conditions, FlowNetwork
from deepsound.generation.mmaudio.flow_matching import GUIDANCE, draw_noise, euler, guided_flow
from deepsound.generation.mmaudio.networks import Networks, Precision, Sizes
from deepsound.generation.mmaudio.sequence_config import lengths_for
from deepsound.generation.protocol import GenerationRequest
from deepsound.media.decode import decode_video
from deepsound.models.checkpoints import read_state
from tests.parity.filling import rand

CLIPS_AT_ONCE = 4
FEW_STEPS = 4
VOCODED_SECONDS = 8.0
PARTS = ("flow", "CLIP", "Synchformer", "VAE", "vocoder")
PRECISIONS: tuple[Precision, Precision] = ("float32", "bfloat16")
WHOLE = ("bfloat16", "bfloat16-lean")
NEG_GOAL, VOCODER_GOAL = 5.0, 2.0

ByTurns = Callable[..., dict[Any, list[Spent]]]
"""Runs prepared work in every one of some ways, by turns."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--variants", nargs="+", choices=VARIANT_NAMES, default=["small-16k", "small-44k"])
    parser.add_argument("--sections", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--media", type=Path, default=CLIPS, help="folder of the real clips")
    parser.add_argument("--weights", type=Path, help="keep the filled checkpoints (7 GB) in this folder")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of tables")
    asked = parser.parse_args()
    video = clip_named(TALKING, asked.media)
    with tempfile.TemporaryDirectory(prefix="generation-") as folder:
        weights = asked.weights or Path(folder)
        weights.mkdir(parents=True, exist_ok=True)
        clip = first_seconds(video, asked.seconds, Path(folder) / "clip.mp4")
        figures = {
            "machine": machine(asked.threads),
            "clip": f"{TALKING}, its first {asked.seconds} s",
            "repeats": asked.repeats,
            **{variant: measure(weights, variant, clip, asked) for variant in asked.variants},
            "GPU": rates(weights) if torch.cuda.is_available() else "not measured: there is none here",
        }
    print(json.dumps(figures, indent=2) if asked.json else tables(figures))


def measure(weights: Path, variant: str, clip: Path, asked: argparse.Namespace) -> dict[str, Mapping[str, Row]]:
    """Everything about one variant."""
    filled_files(weights, variant)

    def by_turns(prepare: Callable[..., Work], ways: Sequence[Any], *arguments: Any) -> dict[Any, list[Spent]]:
        spent: dict[Any, list[Spent]] = {way: [] for way in ways}
        for _ in range(asked.repeats):
            for way in ways:
                spent[way].append(in_child(prepare, weights, variant, way, *arguments, threads=asked.threads))
        return spent

    return {section: SECTIONS[section](by_turns, clip, asked.seconds) for section in asked.sections}


# Batches: the flow network on several clips at once, or on one after the other.


def prepare_batch(weights: Path, variant: str, at_once: int, seconds: float) -> Work:
    """A few sampling steps for some clips, `at_once` of them in a pass."""
    network = networks(weights, variant, "bfloat16").flow
    noise, conditions, empty = _flow_inputs(network, sizes_of(variant), seconds, CLIPS_AT_ONCE)
    spans = [slice(start, start + at_once) for start in range(0, CLIPS_AT_ONCE, at_once)]

    def work() -> Any:
        made = [_few_steps(network, noise[span], _rows(conditions, span), _rows(empty, span)) for span in spans]
        return torch.cat(made).numpy()

    return work


def batches(spent: Mapping[int, list[Spent]]) -> dict[str, Row]:
    """Costs a clip, and how far batched latents are from those made one by one."""
    one_by_one = spent[1][-1].made
    rows: dict[str, Row] = {}
    for at_once, runs in spent.items():
        row = dict(medians(runs))
        rows[f"{at_once} at once"] = {
            "CPU s a clip": row["CPU s"] / CLIPS_AT_ONCE,
            "wall s a clip": row["wall s"] / CLIPS_AT_ONCE,
            "added MB": row["added MB"],
            "difference": distance(runs[-1].made.ravel(), one_by_one.ravel()),
        }
    return rows


# Precision: one part at a time.


def prepare_part(weights: Path, variant: str, precision: Precision, part: str, seconds: float) -> Work:
    """One network on inputs of its own."""
    run = _part(networks(weights, variant, precision), getattr(torch, precision), part, seconds)
    return lambda: run().float().numpy()


def _part(loaded: Networks, dtype: torch.dtype, part: str, seconds: float) -> Callable[[], Tensor]:
    match part:
        case "flow":
            network = loaded.flow
            noise, conditions, empty = _flow_inputs(network, loaded.sizes, seconds, 1)
            return lambda: _few_steps(network, noise, conditions, empty)
        case "CLIP":
            clip, pixels = loaded.clip, rand("benchmark/clip", (4, 3, 384, 384)).mul(0.25).add(0.5).clamp(0, 1)
            return lambda: clip.pictures(pixels.to(dtype))
        case "Synchformer":
            encoder, segments = loaded.synchformer, rand("benchmark/sync", (2, 16, 3, 224, 224)).clamp(-1, 1)
            return lambda: encoder(segments.to(dtype))
        case "VAE":
            vae, latents = loaded.vae.to(dtype), _latents(loaded.sizes, seconds)
            return lambda: vae.decode(latents.to(dtype))
        case _:
            vocoder, mel = loaded.vocoder, loaded.vae.decode(_latents(loaded.sizes, seconds))
            vocoder = vocoder.to(dtype)
            return lambda: torch.cat(list(vocoder.in_pieces(mel.to(dtype))), dim=-1)


def _latents(sizes: Sizes, seconds: float) -> Tensor:
    return rand("benchmark/latents", (1, sizes.flow.latent_dim, lengths_for(seconds, sizes.audio).latent))


def precision(spent: Mapping[str, Mapping[str, list[Spent]]]) -> dict[str, Row]:
    """A row a part."""
    rows: dict[str, Row] = {}
    for part, runs in spent.items():
        single, half = (medians(runs[precision]) for precision in PRECISIONS)
        far = distance(runs["bfloat16"][-1].made.ravel(), runs["float32"][-1].made.ravel())
        rows[part] = {
            "float32 CPU s": single["CPU s"],
            "bfloat16 CPU s": half["CPU s"],
            "×": single["CPU s"] / half["CPU s"],
            "float32 added MB": single["added MB"],
            "bfloat16 added MB": half["added MB"],
            "error %": 100 * far,
        }
    return rows


# The fallback `neg`: generate again against voices.


def prepare_neg(weights: Path, variant: str, features: str, clip: Path) -> Work:
    """A second generation, with features kept from the first or looked at anew."""
    generator = MMAudio(networks(weights, variant, "bfloat16"))
    seen = decode_video(clip, generator.observers())
    target = weights / f"neg-{os.getpid()}.wav"
    generator.generate(GenerationRequest(clip, seen, PROMPT, "", SEED), target)

    def work() -> None:
        footage = seen if features == "kept" else decode_video(clip, generator.observers())
        generator.generate(GenerationRequest(clip, footage, PROMPT, AGAINST_VOICES, SEED), target)
        target.unlink()

    return work


# The vocoder: whole clips with grouped convolutions, or ours.


def _by_reference(dtype: torch.dtype) -> Callable[[Path, str], Callable[[Tensor], Tensor]]:
    def prepare(weights: Path, variant: str) -> Callable[[Tensor], Tensor]:
        files, sizes = filled_files(weights, variant), sizes_of(variant)
        state = fold_weight_norm(read_state(files.vocoder.path, under="generator"))
        state = {name: value.to(dtype) for name, value in state.items()}
        return lambda mel: vocode(state, sizes.vocoder, mel.to(dtype)).float()

    return prepare


def _by_us(weights: Path, variant: str) -> Callable[[Tensor], Tensor]:
    network = networks(weights, variant, "float32").vocoder
    return lambda mel: torch.cat(list(network.in_pieces(mel)), dim=-1)


REFERENCE = "reference, float32"
VOCODERS = {
    REFERENCE: _by_reference(torch.float32),
    "reference, bfloat16": _by_reference(torch.bfloat16),
    "ours, float32": _by_us,
}


def prepare_vocoder(weights: Path, variant: str, way: str) -> Work:
    """Eight seconds of mel to sound."""
    with torch.inference_mode():
        mel = networks(weights, variant, "float32").vae.decode(_latents(sizes_of(variant), VOCODED_SECONDS))
        run = VOCODERS[way](weights, variant)
        run(mel[..., :8])
    return lambda: run(mel).numpy()


# Memory: all of a process that looks at a clip and makes its sound.


def prepare_whole(weights: Path, variant: str, mode: str, clip: Path) -> Work:
    """Everything from loading the networks on."""
    chosen = MODES[mode]
    loaded = Networks(
        sizes_of(variant),
        filled_files(weights, variant),
        device="cpu",
        precision=chosen.precision,
        lean=chosen.lean,
    )
    generator, target = MMAudio(loaded), weights / f"whole-{os.getpid()}.wav"

    def work() -> None:
        footage = decode_video(clip, generator.observers())
        generator.generate(GenerationRequest(clip, footage, PROMPT, AGAINST_VOICES, SEED), target)
        target.unlink()

    return work


def memory(spent: Mapping[str, list[Spent]]) -> dict[str, Row]:
    """A row a mode."""
    rows: dict[str, Row] = {}
    for mode, runs in spent.items():
        row = dict(medians(runs))
        rows[mode] = {"peak MB": max(run.held + run.added for run in runs), "CPU s": row["CPU s"]}
    return rows


def against(spent: Mapping[str, list[Spent]], baseline: str, goal: float) -> dict[str, Row]:
    """Medians, ratios to the baseline, and what the sound is over its change from the baseline's."""
    rows: dict[str, Row] = {}
    for way, runs in spent.items():
        row = dict(medians(runs))
        row["CPU ×"] = (rows[baseline]["CPU s"] if way != baseline else row["CPU s"]) / row["CPU s"]
        if runs[-1].made is not None and way != baseline:
            row["sound / change, dB"] = decibels(distance(runs[-1].made.ravel(), spent[baseline][-1].made.ravel()))
        rows[way] = row if way == baseline else row | {"goal ×": goal}
    return rows


def _flow_inputs(
    network: FlowNetwork, sizes: Sizes, seconds: float, clips: int
) -> tuple[Tensor, Conditions, Conditions]:
    """Noise and conditions for some clips."""
    lengths, config, like = lengths_for(seconds, sizes.audio), sizes.flow, network.empty_clip_feat
    with torch.inference_mode():
        clip = rand("benchmark/clip_f", (clips, lengths.clip, config.clip_dim), std=1 / 32).to(like)
        sync = rand("benchmark/sync_f", (clips, lengths.sync, config.sync_dim)).to(like)
        text = rand("benchmark/text_f", (clips, config.text_length, config.text_dim), std=1 / 32).to(like)
        conditions = network.conditions(clip, sync, text, lengths.latent)
        empty = network.empty_conditions(lengths.clip, lengths.sync, network.empty_text(clips), lengths.latent)
    return draw_noise(range(clips), lengths.latent, config.latent_dim), conditions, empty


def _few_steps(network: FlowNetwork, noise: Tensor, conditions: Conditions, empty: Conditions) -> Tensor:
    both = conditions.joined(empty)
    return euler(noise, lambda x, now: guided_flow(network, x, now, both, GUIDANCE), steps=FEW_STEPS)


def _rows(conditions: Conditions, span: slice) -> Conditions:
    return Conditions(
        conditions.clip[span],
        conditions.text[span],
        conditions.sync[span],
        conditions.clip_mean[span],
        conditions.text_mean[span],
    )


SECTIONS: Mapping[str, Callable[[ByTurns, Path, float], dict[str, Row]]] = {
    "batches": lambda turns, _, seconds: batches(turns(prepare_batch, (1, CLIPS_AT_ONCE), seconds)),
    "precision": lambda turns, _, seconds: precision(
        {part: turns(prepare_part, PRECISIONS, part, seconds) for part in PARTS}
    ),
    "neg": lambda turns, clip, _: against(turns(prepare_neg, ("anew", "kept"), clip), "anew", NEG_GOAL),
    "vocoder": lambda turns, _, __: against(turns(prepare_vocoder, list(VOCODERS)), REFERENCE, VOCODER_GOAL),
    "memory": lambda turns, clip, _: memory(turns(prepare_whole, WHOLE, clip)),
}


def tables(figures: Mapping[str, Any]) -> str:
    """For people."""
    lines = [figures["machine"], f"{figures['clip']}; medians of {figures['repeats']}"]
    for variant, sections in figures.items():
        if variant in VARIANT_NAMES:
            lines += [f"{variant}, {name}\n{table(rows)}" for name, rows in sections.items()]
    return "\n\n".join([*lines, f"GPU: {figures['GPU']}"])


if __name__ == "__main__":
    main()
