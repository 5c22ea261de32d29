"""A media file described from its headers, its packets and one decoded frame, in this process: see `probe`."""

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

from deepsound.errors import DeepSoundError, SourceCorruptError
from deepsound.media.in_sandbox.demux import audio_stream, open_media, video_stream
from deepsound.media.in_sandbox.edit_lists import PLAIN_RATE, read_edit_lists
from deepsound.media.in_sandbox.packet_times import PacketReading, read_packets
from deepsound.media.media_info import AudioInfo, VideoInfo

_PROGRESSIVE: Final = 1  # AVFieldOrder: 0 unknown, 1 progressive, above that some order of fields
_STEADY: Final = Fraction(11, 10_000)  # containers that count milliseconds round each step by up to one
_LONGEST_FRAME: Final = 600  # seconds a frame on average, beyond which times are damaged, not slow
_HALF: Final = Fraction(1, 2)  # frames by which edit lists may be rounded
_SHORT: Final = 0.5  # seconds by which headers may round up


def probe(path: Path) -> VideoInfo:
    """What `probe` answers."""
    with open_media(path) as container:
        video = video_stream(container, path)
        audio = audio_stream(container)
        reading = read_packets(container, video, audio)
        if reading.first is None:
            raise _damaged(path, "no frame of it can be decoded")
        info = _described(container, video, reading.first, reading)
        if info.duration > info.frames * _LONGEST_FRAME:
            raise _damaged(path, f"its clock jumps: {info.frames} frames over {info.duration / 3600:.0f} hours")
        sound = None if audio is None else _sound(audio, reading, info.start)
        short = reading.broke_off or _promises_more(container, video, info)
        end = None if short else _listed_end(path, video)
        info = info if end is None else _ended(info, end, _last(reading, video))
        return replace(info, audio=sound, truncated=short)


def _damaged(path: Path, what: str) -> DeepSoundError:
    return SourceCorruptError(what, where=str(path), remedy="copy it again, or repair it")


def _listed_end(path: Path, video: VideoStream) -> Fraction | None:
    """When an edit list ends the picture, in seconds on the container's clock; None where none does."""
    edits = (read_edit_lists(path) or {}).get(video.id, ())
    plain = all(edit.rate == PLAIN_RATE for edit in edits)
    return sum((edit.duration for edit in edits), Fraction()) if edits and plain else None


def _last(reading: PacketReading, video: VideoStream) -> Fraction:
    return max(reading.times, default=0) * (video.time_base or Fraction(1))


def _ended(info: VideoInfo, end: Fraction, last: Fraction) -> VideoInfo:
    """The same with its last frame, which begins at `last`, shown until `end`, both on the container's clock.

    MP4 stores when frames are decoded, and so how long the last one is shown only where none are reordered.
    """
    duration = end - Fraction(info.start)
    if end <= last or abs(duration - Fraction(info.duration)) * info.frame_rate < _HALF:
        return info
    rate = _mean(info.frames, duration)
    return replace(info, frame_rate=rate, variable_frame_rate=True, duration=float(duration))


def _described(
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
    """One short name: "mov" (QuickTime), "mp4", "matroska", or what FFmpeg calls the format."""
    name = container.format.name.split(",")[0]
    if name == "mov" and container.metadata.get("major_brand", "qt").strip() != "qt":
        return "mp4"
    return name


def _pace(
    nominal: Fraction | None, times: Sequence[int], last: int, tick: Fraction
) -> tuple[Fraction, Fraction, bool]:
    """Frame rate, presented duration in seconds, and whether the rate varies.

    `times` and the last frame's duration `last` count ticks. Frames that keep to the nominal rate as well as the
    container's clock can tell are taken to keep to it exactly.
    """
    steps = sorted((b - a) * tick for a, b in pairwise(times) if b > a)
    usual = steps[len(steps) // 2] if steps else last * tick or 1 / (nominal or Fraction(25))
    rounding = min(max(tick, _STEADY), usual / 4)
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


def _sound(audio: AudioStream, reading: PacketReading, video_start: float) -> AudioInfo | None:
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
