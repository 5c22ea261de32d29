"""Copies streams from one file to another, packet by packet, without decoding."""

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
    """A stream that is copied to another file, and when its packets begin and end there, in seconds."""

    source: Stream
    result: Stream
    begin: Fraction | None = None
    end: Fraction = Fraction()
    last_decoding_time: int | None = None

    def repair_times(self, packet: "Packet[Any]") -> None:
        """Give a packet whose times a damaged file lost or set back the next ones that can be written."""
        if packet.dts is None:
            return
        if self.last_decoding_time is not None and packet.dts <= self.last_decoding_time:
            packet.dts = self.last_decoding_time + 1
        packet.pts = packet.dts if packet.pts is None else max(packet.pts, packet.dts)
        self.last_decoding_time = packet.dts

    def extend(self, packet: "Packet[Any]") -> None:
        """Extend `begin` and `end` to include a packet."""
        if self.begin is None:
            self.begin = _decoding_ticks(packet) * packet.time_base
        end = (packet.pts or 0) + (packet.duration or 0)
        self.end = max(self.end, end * packet.time_base)

    def edit_list(self, sources: Mapping[int, EditList]) -> tuple[int, EditList]:
        """Return the result's track id and the source's edit list, on the result's clock.

        The clock of a written track starts with its first decoding time, which is negative where the source has
        negative composition offsets.
        """
        begin = self.begin or Fraction()
        edits = sources.get(self.source.id, ())
        if not edits and begin:
            edits = (Edit(self.end, Fraction(), PLAIN_RATE),)
        moved = tuple(
            replace(edit, media_time=None if edit.media_time is None else edit.media_time - begin)
            for edit in edits
        )
        return self.result.index + 1, moved


def add_tracks(
    source: InputContainer, result: OutputContainer, picture: VideoStream, info: VideoInfo
) -> list[Track]:
    """Add a track for the picture, which comes first, and for every subtitle and attachment that can be copied."""
    tracks = [picture_track(picture, result, info)]
    for stream in source.streams:
        if not isinstance(stream, SubtitleStream | AttachmentStream):
            continue
        try:
            track = result.add_stream_from_template(stream)
        except (ValueError, LookupError):  # the container can't carry it, or FFmpeg has no codec for it
            continue
        track.metadata.update(stream.metadata)
        tracks.append(Track(stream, track))
    return tracks


def picture_track(picture: VideoStream, result: OutputContainer, info: VideoInfo) -> Track:
    """Add a track for the picture."""
    track = _add_picture_stream(picture, result, info)
    track.metadata.update(kept_metadata(picture.metadata))
    track.disposition = Disposition.default
    return Track(picture, track)


def _add_picture_stream(picture: VideoStream, result: OutputContainer, info: VideoInfo) -> Stream:
    if info.codec == "rawvideo":  # only the tag says how its pixels are laid out
        return _add_foreign_stream(picture, result, info)
    try:
        track = result.add_stream_from_template(picture, opaque=True)
    except ValueError:
        return _add_foreign_stream(picture, result, info)
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


def _add_foreign_stream(picture: VideoStream, result: OutputContainer, info: VideoInfo) -> Stream:
    """Add a stream for a codec that Matroska stores under another system's name (huffyuv, wmv2, flv1, ...).

    PyAV refuses to add one, so this adds one of another codec, and a null filter copies the source's parameters.
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
    """Return the metadata that still holds for the new file."""
    return {key: value for key, value in metadata.items() if key.lower() not in _CONTAINER_TAGS}


def copied_packets(
    source: InputContainer,
    tracks: list[Track],
    shift: Fraction,
    times: Sequence[tuple[int, int, int]] | None,
    selected: range | None = None,
) -> "Iterator[Packet[Any]]":
    """Yield the source's packets on the result's tracks, `shift` seconds earlier.

    `tracks[0]` is the picture: `selected` chooses among its packets by number, and `times` (presentation time,
    decoding time and duration in ticks, by number) replace the stored ones.
    """
    by_index = {track.source.index: track for track in tracks}
    ticks = {track.source.index: round(shift / (track.source.time_base or 1)) for track in tracks}
    read = 0
    for packet in demux_readable(source, *(track.source for track in tracks)):
        if not packet.size:
            continue
        track = by_index[packet.stream_index]
        if track is tracks[0]:
            number, read = read, read + 1
            if selected is not None and number not in selected:
                continue
            if times is not None:
                packet.pts, packet.dts, packet.duration = times[number]
        earlier = ticks[packet.stream_index]
        packet.pts = None if packet.pts is None else packet.pts - earlier
        packet.dts = None if packet.dts is None else packet.dts - earlier
        track.repair_times(packet)
        track.extend(packet)
        packet.stream = track.result
        yield packet


def _decoding_ticks(packet: "Packet[Any]") -> int:
    return packet.dts if packet.dts is not None else packet.pts or 0


def decoding_time(packet: "Packet[Any]") -> Fraction:
    """Return when a packet is decoded, in seconds: the order in which packets are interleaved."""
    return _decoding_ticks(packet) * packet.time_base
