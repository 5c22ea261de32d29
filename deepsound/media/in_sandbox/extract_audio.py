"""Writes a video's own audio track to a sound file: see `deepsound.media.extract_audio`."""

from fractions import Fraction
from pathlib import Path

from deepsound.errors import NoAudioStreamError, SourceCorruptError
from deepsound.media.audio import ExtractedAudio, fill_float_wav
from deepsound.media.in_sandbox.audio_decoder import decode_between
from deepsound.media.in_sandbox.demux import audio_stream, open_media
from deepsound.media.media_info import VideoInfo

_USE_FOLEY = "choose a generator that makes sound from the picture, such as foley"


def extract_audio(video: Path, info: VideoInfo, target: Path) -> ExtractedAudio:
    """Write the audio track to `target`, which nobody reads yet. Also raises OSError."""
    no_audio = NoAudioStreamError("the file has no sound of its own", where=str(video), remedy=_USE_FOLEY)
    with open_media(video) as container:
        stream = audio_stream(container)
        if stream is None:
            raise no_audio
        begin = Fraction(info.start)
        audio = decode_between(container, stream, begin, begin + Fraction(info.duration), skip_outside=False)
        if audio is None:
            remedy = f"copy it again, or {_USE_FOLEY}"
            raise SourceCorruptError("none of its sound can be decoded", where=str(video), remedy=remedy)
        if not audio.decoder.sample_rate:
            raise no_audio
        fill_float_wav(target, audio.rate, audio.channels, audio.blocks)
        return ExtractedAudio(audio.rate, audio.channels, audio.samples, audio.decoder.damaged_packets)
