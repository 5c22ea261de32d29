"""Which frames of a video lie between two times, and which of its packets an excerpt of them is made of."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from av.packet import Packet
from av.video.stream import VideoStream

from deepsound.errors import BadSettingsError
from deepsound.media.in_sandbox.demux import demux_readable, open_media, video_stream
from deepsound.media.in_sandbox.edit_lists import PLAIN_RATE, Edit, EditList, read_edit_lists
from deepsound.media.in_sandbox.packet_times import read_packets
from deepsound.media.in_sandbox.rebuilt_times import rebuilt_times
from deepsound.media.media_info import VideoInfo

_INSTANT = 0.001  # seconds: people write times to the millisecond

Times = Sequence[tuple[int, int, int]]
"""Presentation time, decoding time and duration of each packet, in ticks."""


@dataclass(frozen=True, slots=True)
class FrameSpan:
    """Whole frames, shown from `begin` until `end`, in seconds on the container's clock; all begins at `zero`."""

    begin: Fraction
    end: Fraction
    zero: Fraction
    frames: int


@dataclass(frozen=True, slots=True)
class PacketSelection:
    """The picture's packets by number, and what of them is shown, on the clock of the packets, as are all `times`.

    `edited`: they are numbered and timed as read with the source's own edit list applied. `hides`: some of them
    are there for others to be decoded, and lie outside of what is shown.
    """

    packets: range
    shown: EditList
    times: Times
    edited: bool
    hides: bool

    @property
    def begin(self) -> Fraction:
        """The earliest time shown, in seconds on the packets' clock."""
        return min(edit.media_time for edit in self.shown if edit.media_time is not None)

    @property
    def end(self) -> Fraction:
        """When the latest time shown is over."""
        return max(edit.media_time + edit.duration for edit in self.shown if edit.media_time is not None)


def frames_between(video: Path, info: VideoInfo, start: float, end: float | None) -> FrameSpan:
    """The frames on show from `start` until before `end`, in seconds from the first shown frame.

    Raises DeepSoundError (BAD_SETTINGS) where the video ends before, and what opening raises.
    """
    with open_media(video) as container:
        picture = video_stream(container, video)
        reading = read_packets(container, picture, None)
        tick = picture.time_base or Fraction(1)
    times = sorted((time - reading.start) * tick for time in reading.times if time >= reading.start)
    times = times or [Fraction()]
    length = max(Fraction(info.duration), times[-1])
    if start > length - _INSTANT:
        raise BadSettingsError(
            f"nothing is shown at {start:g} s: it ends after {float(length):.3f} s",
            where=str(video),
            remedy="mend `start` and `end` in its list",
        )
    first = max(bisect_right(times, start + _INSTANT) - 1, 0)
    stop = len(times) if end is None else max(bisect_left(times, end - _INSTANT), first + 1)
    until = times[stop] if stop < len(times) else length
    zero = reading.start * tick
    return FrameSpan(zero + times[first], zero + until, zero, stop - first)


def select_packets(video: Path, info: VideoInfo, span: FrameSpan) -> PacketSelection:
    """The packets from the keyframe that the span's first frame needs to the last one that is decoded for it."""
    lists = read_edit_lists(video)
    rebuilt = rebuilt_times(video, info.frame_rate)
    with open_media(video, edited=lists is None) as container:
        picture = video_stream(container, video)
        tick = picture.time_base or Fraction(1)
        edits = () if lists is None else lists.get(picture.id, ())
        packets = (
            (_times(packet), packet.is_keyframe) for packet in demux_readable(container, picture) if packet.size
        )
        times, keys = zip(*packets, strict=True)
    times = _decoded_in_order(times) if rebuilt is None else rebuilt
    shown = _clipped(edits, span, tick) or (Edit(span.end - span.begin, span.begin, PLAIN_RATE),)
    whole = PacketSelection(range(len(times)), shown, times, lists is None, hides=False)
    early, begin, end = ((time + tick / 2) / tick for time in (whole.begin, whole.begin - tick, whole.end - tick))
    first = max((n for n, (time, _, _) in enumerate(times) if keys[n] and time < early), default=0)
    last = max((n for n, (time, _, _) in enumerate(times) if time < end), default=len(times) - 1)
    hides = any(not begin < time < end for time, _, _ in times[first : last + 1])
    return replace(whole, packets=range(first, last + 1), hides=hides or len(shown) > 1)


def _times(packet: "Packet[VideoStream]") -> tuple[int, int | None, int]:
    shown = packet.pts if packet.pts is not None else packet.dts
    return shown or 0, packet.dts, packet.duration or 0


def _decoded_in_order(told: Sequence[tuple[int, int | None, int]]) -> Times:
    """The same with a decoding time for every packet. Where some have none, as at the head of a Matroska file, the
    n-th is decoded when the n-th is shown, less the longest that one has to wait to be shown.
    """
    known = [(shown, decoded, length) for shown, decoded, length in told if decoded is not None]
    if len(known) == len(told):
        return known
    ranked = sorted(shown for shown, _, _ in told)
    late = max(rank - shown for rank, (shown, _, _) in zip(ranked, told, strict=True))
    return [(shown, rank - late, length) for rank, (shown, _, length) in zip(ranked, told, strict=True)]


def _clipped(edits: EditList, span: FrameSpan, tick: Fraction) -> EditList:
    """What an edit list shows within a span of its own time. Pieces begin at whole ticks, as FFmpeg has them."""
    pieces: list[Edit] = []
    at = Fraction()
    for edit in edits:
        until = at + round(edit.duration / tick) * tick
        begin, end = max(at, span.begin), min(until, span.end)
        if end - begin >= tick:
            media = None if edit.media_time is None else edit.media_time + begin - at
            pieces.append(replace(edit, duration=end - begin, media_time=media))
        at = until
    return tuple(pieces)
