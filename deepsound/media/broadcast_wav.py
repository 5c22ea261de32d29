"""Writes the deliverable sound file: 24-bit, 48 kHz Broadcast WAV (EBU Tech 3285)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.container.core import Flags
from numpy.typing import NDArray

from deepsound.atomic_write import replacing
from deepsound.media.audio import Block, audio_format, channel_layout, place_audio, read_blocks, resampled_blocks
from deepsound.media.media_files import media_url

MASTER_RATE: Final = 48_000
_FULL_SCALE: Final = 1 << 23


@dataclass(frozen=True, slots=True)
class BextMetadata:
    """The bext chunk's texts, stored as ASCII and cut to 256, 32 and 32 characters.

    `coding_history` has one line for each process that the sound went through.
    """

    description: str
    originator: str
    originator_reference: str
    originated: datetime
    coding_history: tuple[str, ...] = ()


def write_bwf(source: Path, target: Path, duration: float, metadata: BextMetadata) -> int:
    """Write a sound file as Broadcast WAV of exactly round(duration * 48000) samples, and return that length.

    Shorter sound is padded with silence, longer sound is cut, and samples beyond full scale are clipped. Equal
    sound and metadata give equal bytes. Raises what `audio_format` and `replacing` raise.
    """
    sound = audio_format(source)
    samples = round(duration * MASTER_RATE)
    native = read_blocks(source, sound.sample_rate)
    resampled = resampled_blocks(native, sound.sample_rate, MASTER_RATE)
    blocks = place_audio(((None, block) for block in resampled), samples, sound.channels, slack=0)
    layout = channel_layout(sound.channels)
    with replacing(target) as partial:
        options = {"write_bext": "1", "rf64": "auto"}
        with av.open(media_url(partial), "w", format="wav", container_options=options) as container:
            container.flags |= Flags.bitexact.value
            container.metadata.update(_bext(metadata, sound.channels))
            stream = container.add_stream("pcm_s24le", rate=MASTER_RATE, layout=layout)
            container.start_encoding()
            for frame in _frames(blocks, layout):
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return samples


def _frames(blocks: Iterable[Block], layout: str) -> Iterator[AudioFrame]:
    written = 0
    for block in blocks:
        frame = AudioFrame.from_ndarray(_quantised(block).reshape(1, -1), format="s32", layout=layout)
        frame.sample_rate = MASTER_RATE
        frame.pts = written
        written += len(block)
        yield frame


def _quantised(block: Block) -> NDArray[np.int32]:
    """Return 24-bit samples in the upper bits of 32, without dither: it would only add noise to silence."""
    scaled = np.rint(block.astype(np.float64) * _FULL_SCALE)
    clipped = np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int32)
    return np.ascontiguousarray(clipped << 8)


def _bext(metadata: BextMetadata, channels: int) -> dict[str, str]:
    width = {1: "mono", 2: "stereo"}.get(channels, "multitrack")
    lines = (*metadata.coding_history, f"A=PCM,F={MASTER_RATE},W=24,M={width}")
    return {
        "description": _ascii(metadata.description, 256),
        "originator": _ascii(metadata.originator, 32),
        "originator_reference": _ascii(metadata.originator_reference, 32),
        "origination_date": f"{metadata.originated:%Y-%m-%d}",
        "origination_time": f"{metadata.originated:%H:%M:%S}",
        "time_reference": "0",
        "coding_history": "".join(f"{_ascii(line, 250)}\r\n" for line in lines),
    }


def _ascii(text: str, length: int) -> str:
    return " ".join(text.split()).encode("ascii", "replace").decode()[:length]
