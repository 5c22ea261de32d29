"""Which of a file's streams are the picture and the sound."""

from pathlib import Path

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from deepsound.errors import NoVideoStreamError


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first video stream that is no cover picture. Raises DeepSoundError (NO_VIDEO_STREAM)."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise NoVideoStreamError("there is no video in the file", where=str(path), remedy="name a video file")


def audio_stream(container: InputContainer) -> AudioStream | None:
    """The first audio stream that has a decoder and a sampling rate, or None."""
    return next((s for s in container.streams.audio if s.codec_context and s.codec_context.sample_rate), None)
