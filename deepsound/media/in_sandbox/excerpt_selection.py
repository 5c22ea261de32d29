"""Selects the frames of a video between two times, and the packets that an excerpt of them needs."""

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

_INSTANT = 0.001  # seconds; people write times to the millisecond, so a time this close to a frame means it

Times = Sequence[tuple[int, int, int]]
"""Presentation time, decoding time and duration of each packet, in ticks of its stream's time base."""


@dataclass(frozen=True, slots=True)
class FrameSpan:
    """`frames` whole frames, shown from `begin` until `end`; the video's first frame is shown at `zero`.

    Times are seconds on the container's clock.
    """

    begin: Fraction
    end: Fraction
    zero: Fraction
    frames: int


@dataclass(frozen=True, slots=True)
class PacketSelection:
    """The packets of the picture that an excerpt copies, by number, and what it shows of them.

    - `shown`: the excerpt's edit list, and `times`: those of all packets, both on the packets' clock.
    - `edited`: packets are numbered and timed as FFmpeg reads them with the source's edit lists applied.
    - `hides`: some of the packets serve only to decode others, and lie outside `shown`.
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
        """The end of the latest time shown, in seconds on the packets' clock."""
        return max(edit.media_time + edit.duration for edit in self.shown if edit.media_time is not None)


def frames_between(video: Path, info: VideoInfo, start: float, end: float | None) -> FrameSpan:
    """Return the frames shown from `start` until before `end` (None: until the end of the video).

    Times are seconds from the first shown frame. Raises BadSettingsError if the video ends before `start`, and
    what `open_media` raises.
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
            remedy="correct `start` and `end` in the manifest",
        )
    first = max(bisect_right(times, start + _INSTANT) - 1, 0)
    stop = len(times) if end is None else max(bisect_left(times, end - _INSTANT), first + 1)
    until = times[stop] if stop < len(times) else length
    zero = reading.start * tick
    return FrameSpan(zero + times[first], zero + until, zero, stop - first)


def select_packets(video: Path, info: VideoInfo, span: FrameSpan) -> PacketSelection:
    """Select the packets from the keyframe that the span's first frame needs to the last one it decodes."""
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
    times = _with_decoding_times(times) if rebuilt is None else rebuilt
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


def _with_decoding_times(times: Sequence[tuple[int, int | None, int]]) -> Times:
    """Give every packet a decoding time.

    Where some have none, as at the start of a Matroska file, the n-th packet in decoding order gets the n-th
    presentation time, minus the longest delay that keeps every frame from being shown before it is decoded.
    """
    complete = [(shown, decoded, length) for shown, decoded, length in times if decoded is not None]
    if len(complete) == len(times):
        return complete
    ranked = sorted(shown for shown, _, _ in times)
    delay = max(rank - shown for rank, (shown, _, _) in zip(ranked, times, strict=True))
    return [(shown, rank - delay, length) for rank, (shown, _, length) in zip(ranked, times, strict=True)]


def _clipped(edits: EditList, span: FrameSpan, tick: Fraction) -> EditList:
    """Return what an edit list shows within a span of its own time; pieces begin at whole ticks, as in FFmpeg."""
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
