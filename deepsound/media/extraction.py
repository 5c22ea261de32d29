"""A file's own sound taken out of it, in this process: see `audio.extract_audio`."""

from itertools import chain
from pathlib import Path

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.audio import ExtractedAudio, fill_float_wav
from deepsound.media.files import open_media
from deepsound.media.placement import DecodedSound, place
from deepsound.media.probe import VideoInfo
from deepsound.media.streams import audio_stream

_JITTER = 0.010  # seconds by which the times of adjoining packets may be off before they count as a gap


def extract(video: Path, info: VideoInfo, target: Path) -> ExtractedAudio:
    """Do what `extract_audio` promises, into a file that has no reader yet."""
    with open_media(video) as container:
        stream = audio_stream(container)
        if stream is None:
            raise _no_sound(video)
        decoded = DecodedSound(container, stream)
        pieces = iter(decoded)
        opening = next(pieces, None)
        if opening is None:
            raise _undecodable(video) if decoded.damaged_packets else _no_sound(video)
        rate, channels = decoded.sample_rate, decoded.channels
        samples = round(info.duration * rate)
        timed = (
            (None if time is None else round((float(time) - info.start) * rate), block)
            for time, block in chain([opening], pieces)
        )
        fill_float_wav(target, rate, channels, place(timed, samples, channels, round(_JITTER * rate)))
        return ExtractedAudio(rate, channels, samples, decoded.damaged_packets)


def _no_sound(video: Path) -> DeepSoundError:
    return DeepSoundError(
        ErrorCode.NO_AUDIO_STREAM,
        "the file has no sound of its own",
        where=str(video),
        remedy="choose a generator that makes sound from the picture, such as foley",
    )


def _undecodable(video: Path) -> DeepSoundError:
    return DeepSoundError(
        ErrorCode.SOURCE_CORRUPT,
        "none of its sound can be decoded",
        where=str(video),
        remedy="copy it again, or choose a generator that makes sound from the picture, such as foley",
    )
