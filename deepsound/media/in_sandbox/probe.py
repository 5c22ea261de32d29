"""Describes a media file from its headers, its packets and one decoded frame: see `deepsound.media.probe`."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from deepsound.errors import SourceCorruptError
from deepsound.media.in_sandbox.demux import audio_stream, open_media, video_stream
from deepsound.media.in_sandbox.edit_lists import PLAIN_RATE, read_edit_lists
from deepsound.media.in_sandbox.packet_times import PacketReading, read_packets
from deepsound.media.media_info import AudioInfo, VideoInfo

_PROGRESSIVE: Final = 1  # AVFieldOrder: 0 is unknown, 1 progressive, above that the orders of fields
_ROUNDING: Final = Fraction(11, 10_000)  # seconds; a container that counts milliseconds rounds steps by up to one
_LONGEST_FRAME: Final = 600  # seconds per frame on average; times beyond that are taken for damage
_EDIT_ROUNDING: Final = Fraction(1, 2)  # frames by which an edit list's end may be rounded
_HEADER_ROUNDING: Final = 0.5  # seconds by which a header's duration may be rounded up


def probe(path: Path) -> VideoInfo:
    """Describe a file. Raises SourceCorruptError, NoVideoStreamError, and what `open_media` raises."""
    with open_media(path) as container:
        video = video_stream(container, path)
        audio = audio_stream(container)
        reading = read_packets(container, video, audio)
        if reading.first is None:
            raise SourceCorruptError("no frame of it can be decoded", where=str(path))
        info = _video_info(container, video, reading.first, reading)
        if info.duration > info.frames * _LONGEST_FRAME:
            what = f"its clock jumps: {info.frames} frames over {info.duration / 3600:.0f} hours"
            raise SourceCorruptError(what, where=str(path))
        truncated = reading.broke_off or _is_shorter_than_promised(container, video, info)
        end = None if truncated else _edit_list_end(path, video)
        if end is not None:
            info = _with_end(info, end, _last_frame_time(reading, video))
        audio_info = None if audio is None else _audio_info(audio, reading, info.start)
        return replace(info, audio=audio_info, truncated=truncated)


def _edit_list_end(path: Path, video: VideoStream) -> Fraction | None:
    """Return when an edit list ends the picture, in seconds on the container's clock; None without one."""
    edits = (read_edit_lists(path) or {}).get(video.id, ())
    plain = all(edit.rate == PLAIN_RATE for edit in edits)
    return sum((edit.duration for edit in edits), Fraction()) if edits and plain else None


def _last_frame_time(reading: PacketReading, video: VideoStream) -> Fraction:
    return max(reading.times, default=0) * (video.time_base or Fraction(1))


def _with_end(info: VideoInfo, end: Fraction, last: Fraction) -> VideoInfo:
    """Return `info` with its last frame, which begins at `last`, shown until `end`, both on the container's clock.

    MP4 stores the durations between decoding times, so the last packet's tells how long the last frame is shown
    only if no frames are reordered.
    """
    duration = end - Fraction(info.start)
    if end <= last or abs(duration - Fraction(info.duration)) * info.frame_rate < _EDIT_ROUNDING:
        return info
    rate = _mean(info.frames, duration)
    return replace(info, frame_rate=rate, variable_frame_rate=True, duration=float(duration))


def _video_info(
    container: InputContainer, video: VideoStream, first: VideoFrame, reading: PacketReading
) -> VideoInfo:
    tick = video.time_base or Fraction(1, 1)
    start = reading.start
    order = sorted((t, d) for t, d in zip(reading.times, reading.durations, strict=True) if t >= start)
    order = order or [(start, 0)]
    times = [time for time, _ in order]
    rate, duration, variable = _pace(video.average_rate, times, order[-1][1], tick)
    width, height = _shown_size(video, first)
    return VideoInfo(
        container=_container_name(container),
        codec=video.codec_context.codec.canonical_name,
        pixel_format=first.format.name,
        width=width,
        height=height,
        rotation=-first.rotation % 360,
        interlaced=first.interlaced_frame or video.codec_context.field_order > _PROGRESSIVE,
        frame_rate=rate,
        variable_frame_rate=variable,
        frames=len(times),
        start=float(start * tick),
        duration=float(duration),
        audio=None,
        hidden_frames=reading.hidden,
    )


def _container_name(container: InputContainer) -> str:
    """Return "mov" (QuickTime), "mp4", "matroska", or FFmpeg's first name of the format."""
    name = container.format.name.split(",")[0]
    if name == "mov" and container.metadata.get("major_brand", "qt").strip() != "qt":
        return "mp4"
    return name


def _pace(
    nominal: Fraction | None, times: Sequence[int], last: int, tick: Fraction
) -> tuple[Fraction, Fraction, bool]:
    """Return the frame rate, the presented duration in seconds, and whether the rate varies.

    `times` and the last frame's duration `last` are in ticks. Frames whose times match the nominal rate to within
    the rounding of the container's clock are taken to match it exactly.
    """
    steps = sorted((b - a) * tick for a, b in pairwise(times) if b > a)
    usual = steps[len(steps) // 2] if steps else last * tick or 1 / (nominal or Fraction(25))
    rounding = min(max(tick, _ROUNDING), usual / 4)
    shown = (times[-1] - times[0]) * tick
    if steps and max(steps[-1] - usual, usual - steps[0]) > rounding:
        duration = shown + (last * tick or usual)
        return _mean(len(times), duration), duration, True
    duration = shown + usual
    if nominal and abs(len(times) / nominal - duration) < 2 * rounding:
        return nominal, len(times) / nominal, False
    return _mean(len(times), duration), duration, False


def _mean(frames: int, duration: Fraction) -> Fraction:
    rate = frames / duration
    return rate.limit_denominator(1001) or rate


def _shown_size(video: VideoStream, first: VideoFrame) -> tuple[int, int]:
    aspect = video.sample_aspect_ratio or Fraction(1)
    width = max(round(first.width * aspect), 1)
    return (first.height, width) if first.rotation % 180 else (width, first.height)


def _audio_info(audio: AudioStream, reading: PacketReading, video_start: float) -> AudioInfo | None:
    if reading.audio_start is None or audio.time_base is None:
        return None
    context = audio.codec_context
    start = float(reading.audio_start * audio.time_base) + reading.skipped_samples / context.sample_rate
    return AudioInfo(
        codec=context.codec.canonical_name,
        sample_rate=context.sample_rate,
        channels=context.channels,
        start=start - video_start,
        duration=max(float(reading.audio_end * audio.time_base) - start, 0.0),
    )


def _is_shorter_than_promised(container: InputContainer, video: VideoStream, info: VideoInfo) -> bool:
    if video.duration is not None and video.time_base is not None:
        promised = float(video.duration * video.time_base)
    elif container.duration is not None and len(container.streams) == 1:
        promised = container.duration / 1e6
    else:
        return False
    return promised - info.duration > max(_HEADER_ROUNDING, 2 / info.frame_rate)
