"""A file's own sound taken out of it, in this process: see `audio.extract_audio`."""

from fractions import Fraction
from pathlib import Path

from deepsound.errors import DeepSoundError, NoAudioStreamError, SourceCorruptError
from deepsound.media.audio import ExtractedAudio, fill_float_wav
from deepsound.media.in_sandbox.audio_decoder import decode_between
from deepsound.media.in_sandbox.demux import audio_stream, open_media
from deepsound.media.media_info import VideoInfo


def extract_audio(video: Path, info: VideoInfo, target: Path) -> ExtractedAudio:
    """Do what `extract_audio` promises, into a file that has no reader yet."""
    with open_media(video) as container:
        stream = audio_stream(container)
        if stream is None:
            raise _no_sound(video)
        begin = Fraction(info.start)
        sound = decode_between(container, stream, begin, begin + Fraction(info.duration), only=False)
        if sound is None or not sound.decoded.sample_rate:
            raise _undecodable(video) if sound is None else _no_sound(video)
        fill_float_wav(target, sound.rate, sound.channels, sound.blocks)
        return ExtractedAudio(sound.rate, sound.channels, sound.samples, sound.decoded.damaged_packets)


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
