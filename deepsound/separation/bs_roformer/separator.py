"""The paper's separator as a backend: a sound file in, voice and background out, a block at a time."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch

from deepsound.canonical_json import Json
from deepsound.errors import MemoryExhaustedError, ModelMissingError
from deepsound.media.audio import (
    AudioFormat,
    Block,
    audio_format,
    read_blocks,
    read_span,
    resampled_blocks,
    write_float_wav,
)
from deepsound.models.batching import Batcher, BatchLimits
from deepsound.models.checkpoints import load_strict, read_state
from deepsound.models.identity import ModelIdentity
from deepsound.models.local import checked_sha256, find_file, known_model
from deepsound.separation.bs_roformer.chunked_separation import CHUNKINGS, Samples, voice_blocks
from deepsound.separation.bs_roformer.config import EP_317, SAMPLE_RATE, BSRoformerConfig
from deepsound.separation.bs_roformer.modes import parse_mode
from deepsound.separation.bs_roformer.network import BSRoformer
from deepsound.separation.protocol import SeparationResult
from deepsound.separation.removal_gain import touched_spans
from deepsound.separation.stems import write_stems
from deepsound.spans import Span

_MODEL = "bs-roformer"
_AT_ONCE = {"cuda": 4}
"""Chunks in one pass. Elsewhere one: a batch costs a CPU more per chunk, and its multiple in memory."""
# Resampling the voice back to the mix's rate looks this far beyond a span's edges.
_MARGIN_SECONDS = 0.1


class BSRoformerSeparator:
    """BS-RoFormer `ep_317_sdr_12.9755` from its official checkpoint, by default the one in the models folder.

    Any sample rate and channels in, the same out; inside it is 44.1 kHz. A mono mix is heard as two equal
    channels and their mean taken; beyond stereo each channel is separated alone. `mode` is one of
    `modes.MODES`; in bfloat16 are the matrix products, while spectrogram, norms and rotary angles stay float32.
    Chunks of calls from several threads share passes: 4 on a GPU, 1 on a CPU.
    """

    def __init__(
        self,
        checkpoint: Path | None = None,
        *,
        mode: str = "",
        config: BSRoformerConfig = EP_317,
        device: str | None = None,
    ) -> None:
        chosen = parse_mode(mode)
        self._windows = CHUNKINGS[chosen.windows]
        official = known_model(_MODEL)
        self._checkpoint = checkpoint or find_file(official, official.files[0])
        self._published = official.files[0].sha256 if checkpoint is None else None
        self._config = config
        self.name = f"{_MODEL}{chosen.suffix}"
        # Whatever changes the samples belongs to the version, and so to the step key.
        self.version = f"1/{chosen.windows} windows/{chosen.precision}"
        self._notes: dict[str, Json] = {"windows": chosen.windows, "precision": chosen.precision}
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._precision = chosen.precision
        self._passes = Batcher(
            self._run,
            BatchLimits(_AT_ONCE.get(self._device.type, 1)),
            cost=lambda chunk: chunk.shape[-1],
            kind=lambda chunk: chunk.shape,
        )

    @cached_property
    def models(self) -> Sequence[ModelIdentity]:
        """The checkpoint, hashed once.

        Raises ModelMissingError, ModelFailedError where it should be the official file and is another.
        """
        if not self._checkpoint.is_file():
            raise ModelMissingError(
                "no such checkpoint",
                where=str(self._checkpoint),
                remedy="put the official file there",
            )
        files = {self._checkpoint.name: checked_sha256(self._checkpoint, self._published, _MODEL)}
        return (ModelIdentity(_MODEL, "ep_317_sdr_12.9755", "unstated", files),)

    def separate(self, mix: Path, voice: Path, background: Path, spans: Sequence[Span] | None) -> SeparationResult:
        """Write `voice` and `background`, whose sum is `mix`; only chunks that touch `spans` are computed."""
        sound = audio_format(mix)
        touched = touched_spans(spans, sound.duration)
        with _at_model_rate(mix, sound, beside=voice) as source:
            estimate = resampled_blocks(self._voice(source, touched), SAMPLE_RATE, sound.sample_rate)
            write_stems(estimate, touched, mix, sound, voice, background)
        return SeparationResult(touched, {"device": self._device.type, **self._notes})

    def _voice(self, source: Path, touched: Sequence[Span]) -> Iterator[Block]:
        """Voice in a file at the network's rate, in blocks (n, channels)."""
        sound = audio_format(source)
        wanted = [
            (int((s.start - _MARGIN_SECONDS) * SAMPLE_RATE), int((s.end + _MARGIN_SECONDS) * SAMPLE_RATE))
            for s in touched
        ]
        pairs = [(0, 1)] if sound.channels == 2 else [(channel, channel) for channel in range(sound.channels)]
        streams = [self._pair(source, sound, pair, wanted) for pair in pairs]
        for blocks in zip(*streams, strict=True):
            yield np.concatenate(blocks, axis=1)

    def _pair(
        self, source: Path, sound: AudioFormat, pair: tuple[int, int], wanted: Sequence[tuple[int, int]]
    ) -> Iterator[Block]:
        def read(start: int, stop: int) -> Samples:
            return read_span(source, start, stop)[:, pair].T

        chunking = self._windows(sound.samples, self._config)
        for block in voice_blocks(read, sound.samples, wanted, self._estimate, chunking):
            yield block.T if pair[0] != pair[1] else block.mean(axis=0)[:, None]

    def _estimate(self, chunks: Samples) -> Samples:
        with self._passes.joined() as ask:
            return np.stack(ask(list(chunks)))

    def _run(self, chunks: Sequence[Samples]) -> Sequence[Samples]:
        """Chunks (2, size) of one size in one pass, whichever mix they are of."""
        half = self._precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, half):
            try:
                voices = self._network(torch.from_numpy(np.stack(chunks)).to(self._device))
                return list(voices.float().cpu().numpy())
            except torch.OutOfMemoryError as error:
                raise MemoryExhaustedError(
                    f"{chunks[0].shape[-1]} samples do not fit the {self._device.type}",
                    where=self.name,
                    remedy="free memory on the device, or "
                    f"name it {_MODEL}:bfloat16; CUDA_VISIBLE_DEVICES= leaves it to the CPU",
                ) from error

    @cached_property
    def _network(self) -> BSRoformer:
        with torch.device("meta"):
            network = BSRoformer(self._config)
        load_strict(network, read_state(self._checkpoint), network="BS-RoFormer", where=self._checkpoint)
        return network.float().eval().to(self._device)


@contextmanager
def _at_model_rate(mix: Path, sound: AudioFormat, *, beside: Path) -> Generator[Path]:
    """The mix at 44.1 kHz: itself, or a passing copy, since chunks are read from any place in the file."""
    if sound.sample_rate == SAMPLE_RATE:
        yield mix
        return
    copy = beside.with_name(f".{uuid4().hex}.wav")
    try:
        blocks = resampled_blocks(read_blocks(mix, sound.sample_rate), sound.sample_rate, SAMPLE_RATE)
        write_float_wav(copy, SAMPLE_RATE, sound.channels, blocks)
        yield copy
    finally:
        copy.unlink(missing_ok=True)
