"""What a media file is, read from its headers, its packets and one decoded frame."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.files import open_media

_PROGRESSIVE: Final = 1  # AVFieldOrder: 0 unknown, 1 progressive, above that some order of fields
_STEADY: Final = Fraction(11, 10_000)  # containers that count milliseconds round each step by up to one
_SHORT: Final = 0.5  # seconds by which headers may round up


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """The first audio stream. `start` is when its first sample sounds, in seconds from the first shown frame."""

    codec: str
    sample_rate: int
    channels: int
    start: float
    duration: float


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """The first video stream as a viewer sees it: rotation and edit lists applied.

    `width` and `height` are those of the shown picture in square pixels, after sample aspect ratio and rotation.
    `rotation` is how far the coded picture is turned clockwise to be shown: 0, 90, 180 or 270 degrees.
    `frame_rate` is the mean rate where it varies. `duration` is the presented time in seconds, last frame's own
    duration included. `frames` counts shown frames. `start` is the presentation time of the first shown frame
    on the container's clock, in seconds. `truncated` is True where the headers promise more than the file holds.
    """

    container: str
    codec: str
    pixel_format: str
    width: int
    height: int
    rotation: int
    interlaced: bool
    frame_rate: Fraction
    variable_frame_rate: bool
    frames: int
    start: float
    duration: float
    audio: AudioInfo | None
    truncated: bool = False


@dataclass(slots=True)
class _Reading:
    """What one pass over the packets gathers; times in ticks of each stream's time base."""

    first: VideoFrame | None = None
    times: list[int] = field(default_factory=list[int])
    durations: list[int] = field(default_factory=list[int])
    heard_from: int | None = None
    heard_until: int = 0
    skipped_samples: int = 0

    def see(self, packet: "Packet[Any]") -> None:
        if self.first is None:
            self.first = _first_frame(packet)
        time = _time(packet)
        if time is not None and not packet.is_discard:
            self.times.append(time)
            self.durations.append(packet.duration or 0)

    def hear(self, packet: "Packet[Any]") -> None:
        time = _time(packet)
        if time is None:
            return
        if self.heard_from is None:
            self.heard_from = time
            self.skipped_samples = _leading_skip(packet)
        self.heard_until = max(self.heard_until, time + (packet.duration or 0))


def probe(path: Path) -> VideoInfo:
    """Describe the first video stream of a file and its first audio stream.

    Reads every packet's times but decodes one frame only. Raises DeepSoundError: SOURCE_MISSING, SOURCE_EMPTY,
    SOURCE_NOT_MEDIA, SOURCE_CORRUPT, NO_VIDEO_STREAM.
    """
    with open_media(path) as container:
        video = video_stream(container, path)
        audio = audio_stream(container)
        reading, readable = _read(container, video, audio)
        if reading.first is None:
            raise DeepSoundError(
                ErrorCode.SOURCE_CORRUPT,
                "no picture in it can be decoded",
                where=str(path),
                remedy="copy it again, or repair it",
            )
        info = _described(container, video, reading.first, reading)
        sound = None if audio is None else _sound(audio, reading, info.start)
        short = not readable or _promises_more(container, video, info)
        return replace(info, audio=sound, truncated=short)


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first video stream that is no cover picture. Raises DeepSoundError (NO_VIDEO_STREAM)."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise DeepSoundError(
        ErrorCode.NO_VIDEO_STREAM, "there is no video in the file", where=str(path), remedy="name a video file"
    )


def audio_stream(container: InputContainer) -> AudioStream | None:
    """The first audio stream that has a decoder and a sampling rate, or None."""
    return next((s for s in container.streams.audio if s.codec_context and s.codec_context.sample_rate), None)


def frame_time(frame: VideoFrame) -> int:
    """Presentation time of a decoded frame in ticks; containers that store none give its decoding time."""
    return frame.pts if frame.pts is not None else frame.dts or 0


def _read(container: InputContainer, video: VideoStream, audio: AudioStream | None) -> tuple[_Reading, bool]:
    reading = _Reading()
    wanted = (video,) if audio is None else (video, audio)
    try:
        for packet in container.demux(*wanted):
            if packet.stream_index == video.index:
                reading.see(packet)
            else:
                reading.hear(packet)
    except (FFmpegError, OSError):
        return reading, False
    return reading, True


def _first_frame(packet: "Packet[Any]") -> VideoFrame | None:
    try:
        return next((frame for frame in packet.decode() if isinstance(frame, VideoFrame)), None)
    except FFmpegError:  # an undecodable packet: a later one may do
        return None


def _time(packet: "Packet[Any]") -> int | None:
    return packet.pts if packet.pts is not None else packet.dts


def _leading_skip(packet: "Packet[Any]") -> int:
    """Samples of encoder priming that decoders drop: the first word of the packet's side data."""
    if not packet.has_sidedata("skip_samples"):
        return 0
    return int.from_bytes(bytes(packet.get_sidedata("skip_samples"))[:4], "little")


def _described(container: InputContainer, video: VideoStream, first: VideoFrame, reading: _Reading) -> VideoInfo:
    tick = video.time_base or Fraction(1, 1)
    start = frame_time(first)
    order = sorted((t, d) for t, d in zip(reading.times, reading.durations, strict=True) if t >= start)
    order = order or [(start, 0)]
    times = [time for time, _ in order]
    steps = [(b - a) * tick for a, b in pairwise(times) if b > a]
    usual = _usual_step(video, steps)
    duration = (times[-1] - start) * tick + (order[-1][1] * tick or usual)
    variable = any(abs(step - usual) > max(tick, _STEADY) for step in steps)
    width, height = _shown_size(video, first)
    return VideoInfo(
        container=_container_name(container),
        codec=video.codec_context.codec.canonical_name,
        pixel_format=first.format.name,
        width=width,
        height=height,
        rotation=-first.rotation % 360,
        interlaced=first.interlaced_frame or video.codec_context.field_order > _PROGRESSIVE,
        frame_rate=_rate(video, len(times), duration, variable),
        variable_frame_rate=variable,
        frames=len(times),
        start=float(start * tick),
        duration=float(duration),
        audio=None,
    )


def _container_name(container: InputContainer) -> str:
    """One short name: "mov" (QuickTime), "mp4", "matroska", or what FFmpeg calls the format."""
    name = container.format.name.split(",")[0]
    if name == "mov" and container.metadata.get("major_brand", "qt").strip() != "qt":
        return "mp4"
    return name


def _usual_step(video: VideoStream, steps: Sequence[Fraction]) -> Fraction:
    if steps:
        return sorted(steps)[len(steps) // 2]
    return 1 / video.average_rate if video.average_rate else Fraction(1, 25)


def _rate(video: VideoStream, frames: int, duration: Fraction, variable: bool) -> Fraction:
    """The nominal rate if the frames keep to it, else the mean."""
    mean = frames / duration
    nominal = video.average_rate
    if nominal and not variable and abs(nominal - mean) < mean / 200:
        return nominal
    return mean.limit_denominator(1001)


def _shown_size(video: VideoStream, first: VideoFrame) -> tuple[int, int]:
    aspect = video.sample_aspect_ratio or Fraction(1)
    width = max(round(first.width * aspect), 1)
    return (first.height, width) if first.rotation % 180 else (width, first.height)


def _sound(audio: AudioStream, reading: _Reading, video_start: float) -> AudioInfo | None:
    if reading.heard_from is None or audio.time_base is None:
        return None
    context = audio.codec_context
    start = float(reading.heard_from * audio.time_base) + reading.skipped_samples / context.sample_rate
    return AudioInfo(
        codec=context.codec.canonical_name,
        sample_rate=context.sample_rate,
        channels=context.channels,
        start=start - video_start,
        duration=max(float(reading.heard_until * audio.time_base) - start, 0.0),
    )


def _promises_more(container: InputContainer, video: VideoStream, info: VideoInfo) -> bool:
    if video.duration is not None and video.time_base is not None:
        promised = float(video.duration * video.time_base)
    elif container.duration is not None and len(container.streams) == 1:
        promised = container.duration / 1e6
    else:
        return False
    return promised - info.duration > max(_SHORT, 2 / info.frame_rate)
