"""MMAudio as a generator: features from the footage, latents window by window, sound piece by piece."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepsound.errors import BadSettingsError, InternalError, ModelFailedError
from deepsound.generation.mmaudio.batched_passes import Passes, Position
from deepsound.generation.mmaudio.flow import Conditions
from deepsound.generation.mmaudio.flow_matching import GUIDANCE, STEPS, draw_noise, euler, unnormalise
from deepsound.generation.mmaudio.networks import Networks, Precision, official_networks
from deepsound.generation.mmaudio.observers import (
    CLIP_OBSERVATION,
    SYNC_OBSERVATION,
    ClipObserver,
    SyncObserver,
)
from deepsound.generation.mmaudio.sampling_windows import LatentWindow, blend, plan_windows
from deepsound.generation.mmaudio.sequence_config import CLIP_RATE, SYNC_STRIDE, Lengths
from deepsound.generation.mmaudio.tokens import read_tokenizer, tokenize
from deepsound.generation.protocol import GenerationRequest, GenerationResult
from deepsound.media.audio import Block, write_float_wav
from deepsound.media.observers import Observation, Observer, longest_step
from deepsound.media.shot_cuts import CUTS_OBSERVATION, CutObserver
from deepsound.models.identity import ModelIdentity

_INSTANT = 1e-6
_KEPT_CONDITIONS = 64
"""Windows whose prepared features stay in memory, 110 MB of the largest network: seven minutes of video. Longer
videos prepare them at every step, which takes a thirtieth of its time."""
_DEFAULT_MODE = "float32"


@dataclass(frozen=True, slots=True)
class MMAudioMode:
    """Precision; whether networks are in memory only while they are at work; whether cuts bound windows."""

    precision: Precision
    lean: bool
    shots: bool


_PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
MODES: Mapping[str, MMAudioMode] = {
    precision + "-lean" * lean + "-shots" * shots: MMAudioMode(precision, lean, shots)
    for precision, lean, shots in product(_PRECISIONS, (False, True), (False, True))
}
"""By the word after the colon: `float32` to `bfloat16-lean-shots`."""
_KEPT_TEXTS = 64
"""Prompts whose features stay in memory: a run has one or two."""


class MMAudio:
    """One variant of MMAudio, by default from the published files in the models folder.

    Mono. The same footage, prompts and seed give the same samples; a negative prompt takes the place of the
    empty text that guidance moves away from. Calls from several threads share the networks' passes, `at_once`
    windows in each: on a CPU one, so that samples are the same to the bit; on a GPU they are to within 1e-4.
    `mode` is one of `MODES`; where `networks` are given, precision and leanness are theirs.
    """

    name = "mmaudio-large-44k-v2"
    regenerates_with: str | None = None

    def __init__(
        self, networks: Networks | None = None, *, mode: str = _DEFAULT_MODE, at_once: int | None = None
    ) -> None:
        chosen = _chosen(self.name, mode)
        self._networks = networks or official_networks(self.name, precision=chosen.precision, lean=chosen.lean)
        self._shots = chosen.shots
        if mode != _DEFAULT_MODE:
            self.name = f"{self.name}:{mode}"
        self._passes = Passes(self._networks, at_once)
        self._text_features = lru_cache(maxsize=_KEPT_TEXTS)(self._read_text)
        # Whatever changes the samples belongs to the version, and so to the step key.
        bounds = "/shots" if self._shots else ""
        self.version = f"5/{STEPS} steps/guidance {GUIDANCE}/{self._networks.precision}{bounds}"

    @property
    def concurrency(self) -> int:
        """How many requests share a pass: 8 on a GPU, 1 on a CPU."""
        return self._passes.at_once

    @property
    def models(self) -> Sequence[ModelIdentity]:
        """The five checkpoints, hashed once."""
        return self._networks.identities

    def observers(self) -> Sequence[Observer]:
        """CLIP at 8 and Synchformer at 25 frames a second, and the cuts where these bound windows."""
        seen = ClipObserver(self._networks), SyncObserver(self._networks)
        return (*seen, CutObserver()) if self._shots else seen

    @torch.inference_mode()
    def generate(self, request: GenerationRequest, target: Path) -> GenerationResult:
        """Write mono float WAV as long as the picture.

        Raises DeepSoundError: INTERNAL if the footage was not seen by this generator's observers,
        OUT_OF_MEMORY, MODEL_FAILED if what comes out is no sound, and those of writing the file.
        """
        audio = self._networks.sizes.audio
        duration = request.footage.info.duration
        samples = round(duration * audio.sample_rate)
        cuts = _kept(request, CUTS_OBSERVATION)["time"].tolist() if self._shots else ()
        windows = plan_windows(duration, audio, cuts)
        with self._networks.sounding():
            latents = self._latents(request, windows)
            self._networks.done_with("flow")
            mel = self._mel(latents, windows)
            with self._passes.vocoder.joined() as vocode:
                sound = self._networks.vocoder.in_pieces(mel, lambda piece: vocode([piece])[0])
                blocks = (piece[0].T.cpu().numpy() for piece in sound)
                write_float_wav(target, audio.sample_rate, 1, _fitted(blocks, samples, request.video))
        notes = {"windows": len(windows), "device": self._networks.device.type, "steps": STEPS}
        return GenerationResult(audio.sample_rate, 1, samples, notes)

    def _latents(self, request: GenerationRequest, windows: Sequence[LatentWindow]) -> Tensor:
        noise = draw_noise([request.seed], windows[-1].stop, self._networks.sizes.flow.latent_dim)
        prepared = lru_cache(maxsize=_KEPT_CONDITIONS)(self._conditions(request))
        with self._passes.flow.joined() as ask:

            def flow(x: Tensor, now: Tensor) -> Tensor:
                return blend(windows, flows(x, now))

            def flows(x: Tensor, now: Tensor) -> Iterator[Tensor]:
                for start in range(0, len(windows), self.concurrency):
                    few = windows[start : start + self.concurrency]
                    yield from ask([Position(x[:, one.start : one.stop], now, *prepared(one)) for one in few])

            sampled = euler(noise.to(self._networks.device), flow)
            return unnormalise(self._networks.flow, sampled)

    def _conditions(self, request: GenerationRequest) -> Callable[[LatentWindow], tuple[Conditions, Conditions]]:
        """What a window of the video shows, and what guidance moves away from."""
        seen, moved = _kept(request, CLIP_OBSERVATION), _kept(request, SYNC_OBSERVATION)
        wanted, unwanted = self._texts(request.prompt, request.negative_prompt)
        network, like = self._networks.flow, self._networks.flow.empty_clip_feat

        @lru_cache(maxsize=_KEPT_CONDITIONS)
        def empty(lengths: Lengths) -> Conditions:
            return network.empty_conditions(lengths.clip, lengths.sync, unwanted, lengths.latent)

        def prepare(window: LatentWindow) -> tuple[Conditions, Conditions]:
            lengths = window.lengths
            clip = torch.from_numpy(_shown(seen, window)).to(like)
            sync = torch.from_numpy(_moving(moved, window.segment, lengths.sync // SYNC_STRIDE)).to(like)
            with self._networks.turn():
                return network.conditions(clip[None], sync[None], wanted, lengths.latent), empty(lengths)

        return prepare

    def _texts(self, *texts: str) -> Sequence[Tensor]:
        """Features of texts (1, tokens, text_dim), each worked out once a process."""
        networks = self._networks
        with networks.turn():
            read = {text: self._text_features(text) for text in texts if text.strip()}
            networks.done_with("reader")
            # Those of the empty text are in the flow network's file.
            return [read[text] if text in read else networks.flow.empty_text(1) for text in texts]

    def _read_text(self, text: str) -> Tensor:
        tokenizer = read_tokenizer(self._networks.files.vocabulary)
        tokens = tokenize(tokenizer, text, self._networks.sizes.flow.text_length)
        return self._networks.reader.texts(tokens.to(self._networks.device))

    def _mel(self, latents: Tensor, windows: Sequence[LatentWindow]) -> Tensor:
        """Mel of each window, blended: (1, bands, frames)."""
        with self._passes.vae.joined() as decode:
            parts = (decode([latents[:, one.start : one.stop].transpose(1, 2)])[0] for one in windows)
            return blend(windows, (part.transpose(1, 2) for part in parts), scale=2).transpose(1, 2)


class MMAudioLarge44kV2(MMAudio):
    """large-44k-v2."""


class MMAudioLarge44k(MMAudio):
    """large-44k."""

    name = "mmaudio-large-44k"


class MMAudioMedium44k(MMAudio):
    """medium-44k."""

    name = "mmaudio-medium-44k"


class MMAudioSmall44k(MMAudio):
    """small-44k."""

    name = "mmaudio-small-44k"


class MMAudioSmall16k(MMAudio):
    """small-16k."""

    name = "mmaudio-small-16k"


def _chosen(name: str, mode: str) -> MMAudioMode:
    if mode not in MODES:
        raise BadSettingsError(
            f"there is no mode {mode!r}",
            where=name,
            remedy=f"choose one of: {', '.join(MODES)}",
        )
    return MODES[mode]


def _kept(request: GenerationRequest, name: str) -> Observation:
    try:
        return request.footage.observations[name]
    except KeyError as missing:
        raise InternalError(
            f"the footage lacks {name}",
            where=str(request.video),
            remedy="look at the video with this generator's observers first",
        ) from missing


def _shown(seen: Observation, window: LatentWindow) -> NDArray[np.float32]:
    """Features (clip frames, clip_dim) of what CLIP saw from the instant nearest to the window's start on.

    All are of the window's own part, and the last one stands for any after it.
    """
    times = seen["time"].astype(np.float64)
    instants = (round(window.seconds * CLIP_RATE) + np.arange(window.lengths.clip)) / CLIP_RATE
    at = np.searchsorted(times, instants - _INSTANT).clip(max=len(times) - 1)
    step = times[at] - times[(at - 1).clip(min=0)]
    at -= (step > longest_step(CLIP_RATE)) & (instants < times[at] - _INSTANT)
    first, stop = np.searchsorted(times, np.array([window.part.start, window.part.end]) - _INSTANT)
    last = max(stop - 1, 0)
    return seen["feature"][at.clip(min(first, last), last)].astype(np.float32)


def _moving(moved: Observation, first: int, count: int) -> NDArray[np.float32]:
    """Tokens (8 · count, sync_dim) of segments from `first` on; the last one stands for any after it."""
    tokens = moved["token"]
    at = (first + np.arange(count)).clip(max=len(tokens) - 1)
    return tokens[at].reshape(count * SYNC_STRIDE, -1).astype(np.float32)


def _fitted(blocks: Iterator[Block], samples: int, video: Path) -> Iterator[Block]:
    """Exactly `samples`: latents come in whole numbers, pictures don't. MODEL_FAILED for what is no sound."""
    lacking = samples
    for block in blocks:
        if not np.isfinite(block).all():
            raise ModelFailedError(
                f"the sound after {samples - lacking} samples is not a number",
                where=str(video),
                remedy="check the checkpoints' hashes, or generate in float32",
            )
        yield block[:lacking]
        lacking -= len(block[:lacking])
    if lacking:
        yield np.zeros((lacking, 1), np.float32)
