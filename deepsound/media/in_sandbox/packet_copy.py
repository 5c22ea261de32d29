"""Streams on their way from one file to another, packet by packet, as they are."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import AttachmentStream, Disposition, Stream
from av.subtitles.stream import SubtitleStream
from av.video.stream import VideoStream

from deepsound.media.in_sandbox.demux import demux_readable
from deepsound.media.in_sandbox.edit_lists import PLAIN_RATE, Edit, EditList
from deepsound.media.media_info import VideoInfo

_MP4_TAGS: Final = frozenset({"avc1", "avc3", "hvc1", "hev1"})
_CONTAINER_TAGS: Final = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder", "duration"})


@dataclass(slots=True)
class Track:
    """A stream on its way from one file to the other, and when its packets began and ended, in seconds."""

    source: Stream
    result: Stream
    began: Fraction | None = None
    ended: Fraction = Fraction()
    decoded_last: int | None = None

    def mend(self, packet: "Packet[Any]") -> None:
        """Give a packet whose time a damaged file lost, or set back, the next time that can be written."""
        if packet.dts is None:
            return
        if self.decoded_last is not None and packet.dts <= self.decoded_last:
            packet.dts = self.decoded_last + 1
        packet.pts = packet.dts if packet.pts is None else max(packet.pts, packet.dts)
        self.decoded_last = packet.dts

    def note(self, packet: "Packet[Any]") -> None:
        """Remember a packet's time."""
        if self.began is None:
            self.began = _order(packet) * packet.time_base
        end = (packet.pts or 0) + (packet.duration or 0)
        self.ended = max(self.ended, end * packet.time_base)

    def edit_list(self, sources: Mapping[int, EditList]) -> tuple[int, EditList]:
        """The result's track id and the source's list, on the clock of the result.

        A written track's own clock starts with its first decoding time, which is below 0 where the source's
        composition offsets are.
        """
        began = self.began or Fraction()
        edits = sources.get(self.source.id, ())
        if not edits and began:
            edits = (Edit(self.ended, Fraction(), PLAIN_RATE),)
        moved = tuple(
            replace(edit, media_time=None if edit.media_time is None else edit.media_time - began)
            for edit in edits
        )
        return self.result.index + 1, moved


def add_tracks(
    source: InputContainer, result: OutputContainer, picture: VideoStream, info: VideoInfo
) -> list[Track]:
    """A track for the picture, which comes first, and for every subtitle and attachment that can come along."""
    tracks = [picture_track(picture, result, info)]
    for stream in source.streams:
        if not isinstance(stream, SubtitleStream | AttachmentStream):
            continue
        try:
            track = result.add_stream_from_template(stream)
        except (ValueError, LookupError):  # not for this container, or no codec is known for it
            continue
        track.metadata.update(stream.metadata)
        tracks.append(Track(stream, track))
    return tracks


def picture_track(picture: VideoStream, result: OutputContainer, info: VideoInfo) -> Track:
    """A track for the picture alone."""
    track = _like(picture, result, info)
    track.metadata.update(kept_metadata(picture.metadata))
    track.disposition = Disposition.default
    return Track(picture, track)


def _like(picture: VideoStream, result: OutputContainer, info: VideoInfo) -> Stream:
    if info.codec == "rawvideo":  # its layout is told by the tag alone
        return _foreign_track(picture, result, info)
    try:
        track = result.add_stream_from_template(picture, opaque=True)
    except ValueError:
        return _foreign_track(picture, result, info)
    context = track.codec_context
    if picture.sample_aspect_ratio:
        context.sample_aspect_ratio = picture.sample_aspect_ratio
    if not info.variable_frame_rate:
        context.framerate = info.frame_rate
    tag = _tag(picture)
    family = result.format.name
    if info.container == family == "mov" or (info.container == family == "mp4" and tag in _MP4_TAGS):
        context.codec_tag = tag
    return track


def _foreign_track(picture: VideoStream, result: OutputContainer, info: VideoInfo) -> Stream:
    """A track for a codec that Matroska carries under the name another system gave it (huffyuv, wmv2, flv1, ...).

    PyAV refuses to make one, so one of another codec is made, and a filter that changes nothing gives it the
    source's parameters.
    """
    rate = None if info.variable_frame_rate else info.frame_rate
    track = result.add_mux_stream("mpeg4", rate=rate, time_base=picture.time_base)
    BitStreamFilterContext("null", in_stream=picture, out_stream=track)
    return track


def _tag(picture: VideoStream) -> str:
    try:
        return picture.codec_context.codec_tag
    except UnicodeDecodeError:
        return "\0\0\0\0"


def kept_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata that still holds for the new file."""
    return {key: value for key, value in metadata.items() if key.lower() not in _CONTAINER_TAGS}


def copied_packets(
    source: InputContainer,
    tracks: list[Track],
    shift: Fraction,
    times: Sequence[tuple[int, int, int]] | None,
    wanted: range | None = None,
) -> "Iterator[Packet[Any]]":
    """The source's packets on the result's tracks, `shift` seconds earlier; `times` replace the picture's own.

    Of the picture's packets only those that are `wanted`, by number.
    """
    by_index = {track.source.index: track for track in tracks}
    ticks = {track.source.index: round(shift / (track.source.time_base or 1)) for track in tracks}
    seen = 0
    for packet in demux_readable(source, *(track.source for track in tracks)):
        if not packet.size:
            continue
        track = by_index[packet.stream_index]
        if track is tracks[0]:
            number, seen = seen, seen + 1
            if wanted is not None and number not in wanted:
                continue
            if times is not None:
                packet.pts, packet.dts, packet.duration = times[number]
        ahead = ticks[packet.stream_index]
        packet.pts = None if packet.pts is None else packet.pts - ahead
        packet.dts = None if packet.dts is None else packet.dts - ahead
        track.mend(packet)
        track.note(packet)
        packet.stream = track.result
        yield packet


def _order(packet: "Packet[Any]") -> int:
    return packet.dts if packet.dts is not None else packet.pts or 0


def decoding_time(packet: "Packet[Any]") -> Fraction:
    """When a packet is decoded, for interleaving."""
    return _order(packet) * packet.time_base
