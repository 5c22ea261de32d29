"""A file's own sound taken out of it, in this process: see `audio.extract_audio`."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

from av.audio.stream import AudioStream
from av.container import InputContainer

from deepsound.errors import DeepSoundError, NoAudioStreamError, SourceCorruptError
from deepsound.media.audio import ExtractedAudio, fill_float_wav
from deepsound.media.audio_sync import Block, DecodedSound, place_audio
from deepsound.media.media_files import open_media
from deepsound.media.probe import VideoInfo
from deepsound.media.streams import audio_stream

_JITTER = 0.010  # seconds by which the times of adjoining packets may be off before they count as a gap


def extract(video: Path, info: VideoInfo, target: Path) -> ExtractedAudio:
    """Do what `extract_audio` promises, into a file that has no reader yet."""
    with open_media(video) as container:
        stream = audio_stream(container)
        if stream is None:
            raise _no_sound(video)
        begin = Fraction(info.start)
        sound = sound_between(container, stream, begin, begin + Fraction(info.duration), only=False)
        if sound is None or not sound.decoded.sample_rate:
            raise _undecodable(video) if sound is None else _no_sound(video)
        fill_float_wav(target, sound.rate, sound.channels, sound.blocks)
        return ExtractedAudio(sound.rate, sound.channels, sound.samples, sound.decoded.damaged_packets)


@dataclass(frozen=True, slots=True)
class PlacedSound:
    """Sound laid on the picture's clock: `samples` in all, in `blocks` that can be taken once."""

    rate: int
    channels: int
    samples: int
    blocks: Iterator[Block]
    decoded: DecodedSound


def sound_between(
    container: InputContainer, stream: AudioStream, begin: Fraction, end: Fraction, *, only: bool
) -> PlacedSound | None:
    """What is heard between two times in seconds on the container's clock; None where none of it can be decoded.

    With `only`, packets that are heard well outside are not decoded where the container tells times to the sample;
    where it rounds them, only what was heard from the beginning on tells which sample is which.
    """
    tells = stream.time_base is not None and stream.time_base * stream.codec_context.sample_rate <= 1
    decoded = DecodedSound(container, stream, (begin, end) if only and tells else None)
    pieces = iter(decoded)
    opening = next(pieces, None)
    if opening is None and decoded.damaged_packets:
        return None
    rate = decoded.sample_rate or stream.codec_context.sample_rate
    channels = decoded.channels or stream.codec_context.channels
    samples = round((end - begin) * rate)
    timed = (
        (None if time is None else round((time - begin) * rate), block)
        for time, block in chain([] if opening is None else [opening], pieces)
    )
    return PlacedSound(
        rate, channels, samples, place_audio(timed, samples, channels, round(_JITTER * rate)), decoded
    )


def _no_sound(video: Path) -> DeepSoundError:
    return NoAudioStreamError(
        "the file has no sound of its own",
        where=str(video),
        remedy="choose a generator that makes sound from the picture, such as foley",
    )


def _undecodable(video: Path) -> DeepSoundError:
    return SourceCorruptError(
        "none of its sound can be decoded",
        where=str(video),
        remedy="copy it again, or choose a generator that makes sound from the picture, such as foley",
    )
