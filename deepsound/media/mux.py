"""A video with new sound: the picture's packets are copied bit for bit, and shown when they were shown before."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from collections.abc import Iterator, Mapping
from fractions import Fraction
from heapq import merge
from itertools import chain
from math import lcm
from pathlib import Path
from typing import TYPE_CHECKING, Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.container.core import Flags
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.audio import audio_format, channel_layout, packed_frame, read_blocks, resampled_blocks
from deepsound.media.edit_lists import EditList, read_edit_lists, write_edit_lists
from deepsound.media.files import media_url, open_media, replacing
from deepsound.media.placement import silence
from deepsound.media.probe import VideoInfo, probe, video_stream
from deepsound.media.reorder import rebuilt_times
from deepsound.media.tracks import add_tracks, copied_packets, lasting, seconds

if TYPE_CHECKING:
    from av.container.core import Chapter

_FORMATS: Final = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
_SUFFIXES: Final = {"mp4": ".mp4", "mov": ".mov", "matroska": ".mkv"}
_MP4_CODECS: Final = frozenset({"h264", "hevc", "av1", "mpeg4"})
_MOV_CODECS: Final = frozenset({"prores", "dnxhd", "dvvideo"})
_AAC_RATES: Final = frozenset({96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000})
_AAC_BITS_A_CHANNEL: Final = 128_000
_SECONDS_A_BLOCK: Final = 0.25
_MATROSKA: Final = {"allow_raw_vfw": "1"}
_LONGEST_LEAD: Final = 10.0  # seconds of silence before the first frame
_LARGEST_CLOCK: Final = 1 << 31


def container_for(info: VideoInfo) -> str:
    """Suffix of the container for a video's results: the source's own, or one that can carry its codec."""
    if info.container in _SUFFIXES:
        return _SUFFIXES[info.container]
    if info.codec in _MP4_CODECS:
        return ".mp4"
    return ".mov" if info.codec in _MOV_CODECS else ".mkv"


def mux(video: Path, audio: Path, target: Path, info: VideoInfo | None = None) -> None:
    """Write `target` (.mp4, .mov or .mkv) with the picture of `video` and the sound of `audio`.

    Sample 0 of `audio` sounds with the first shown frame. The sound is AAC in MP4 and QuickTime, FLAC (24 bit) in
    Matroska. Subtitles, chapters and fonts come along where the container allows; the old sound does not. Picture
    packets are copied as they are, unless the container wants H.264 or HEVC start codes turned into lengths.
    Raises DeepSoundError: BAD_SETTINGS for another suffix, and those of opening and writing.
    """
    info = info or probe(video)
    container_format = _FORMATS.get(target.suffix.lower())
    if container_format is None:
        raise DeepSoundError(
            ErrorCode.BAD_SETTINGS,
            f"results can't be written as {target.suffix or 'a file without suffix'}",
            where=str(target),
            remedy=f"use {', '.join(_FORMATS)}",
        )
    # A picture that waits long for its first frame (clocks of recorders, damage) starts at once instead.
    carries = container_format != "matroska" and info.start < _LONGEST_LEAD
    edits = read_edit_lists(video) if carries else None
    with replacing(target) as partial:
        try:
            carried = _written(video, audio, partial, container_format, info, edits)
        except (FFmpegError, ValueError) as error:
            if isinstance(error, OSError):
                raise
            raise _not_carried(video, target, info) from error
        if carried is not None:
            write_edit_lists(partial, carried)


def _not_carried(video: Path, target: Path, info: VideoInfo) -> DeepSoundError:
    return DeepSoundError(
        ErrorCode.OUTPUT_NOT_WRITABLE,
        f"its picture ({info.codec}) can't be copied into {target.suffix}",
        where=str(video),
        remedy="convert the source to MP4, MOV or MKV first",
    )


def _written(
    video: Path,
    audio: Path,
    partial: Path,
    container_format: str,
    info: VideoInfo,
    edits: Mapping[int, EditList] | None,
) -> Mapping[int, EditList] | None:
    """Write all of the file but the edit lists of its copied tracks, which are returned by the result's track ids.

    Where there are `edits` to carry over, tracks are copied as they are stored; else as they are shown.
    """
    edited = edits is None
    with open_media(video, edited=edited) as source:
        picture = video_stream(source, video)
        options = _MATROSKA if container_format == "matroska" else _clocks(picture, edits)
        url = media_url(partial)
        with av.open(url, "w", format=container_format, container_options=options) as result:
            result.flags |= Flags.bitexact.value
            result.metadata.update(lasting(source.metadata))
            tracks = add_tracks(source, result, picture, info)
            sound = _add_sound(result, audio, container_format)
            shift = Fraction(info.start) if edited else Fraction()
            result.set_chapters(_chapters(source, shift))
            lead = 0.0 if edited else info.start
            result.start_encoding()
            copied = copied_packets(source, tracks, shift, rebuilt_times(video, info.frame_rate))
            for packet in merge(copied, _encoded(sound, audio, lead), key=seconds):
                result.mux(packet)
            return None if edits is None else dict(track.edit_list(edits) for track in tracks)


def _clocks(picture: VideoStream, edits: Mapping[int, EditList] | None) -> dict[str, str]:
    """Muxer options for clocks that can state the source's times exactly."""
    durations = [edit.duration for entries in (edits or {}).values() for edit in entries]
    movie = lcm(1000, *(duration.denominator for duration in durations))
    return {
        "video_track_timescale": str((picture.time_base or Fraction(1, 90_000)).denominator),
        "movie_timescale": str(movie if movie < _LARGEST_CLOCK else 90_000),
    }


def _chapters(source: InputContainer, shift: Fraction) -> "list[Chapter]":
    chapters = source.chapters()
    for chapter in chapters:
        ticks = round(shift / (chapter["time_base"] or 1))
        chapter["start"] -= ticks
        chapter["end"] -= ticks
    return chapters


def _add_sound(result: OutputContainer, audio: Path, container_format: str) -> AudioStream:
    sound = audio_format(audio)
    layout = channel_layout(sound.channels)
    if container_format == "matroska":
        track = result.add_stream("flac", rate=sound.sample_rate, layout=layout, format="s32")
    else:
        rate = sound.sample_rate if sound.sample_rate in _AAC_RATES else 48_000
        track = result.add_stream("aac", rate=rate, layout=layout)
        track.bit_rate = _AAC_BITS_A_CHANNEL * sound.channels
    track.disposition = Disposition.default
    return track


def _encoded(track: AudioStream, audio: Path, lead: float) -> "Iterator[Packet[AudioStream]]":
    """The sound's packets, after `lead` seconds of silence."""
    sound = audio_format(audio)
    rate = track.codec_context.sample_rate
    native = read_blocks(audio, round(_SECONDS_A_BLOCK * sound.sample_rate))
    blocks = chain(silence(round(lead * rate), sound.channels), resampled_blocks(native, sound.sample_rate, rate))
    written = 0
    for block in blocks:
        yield from track.encode(packed_frame(block, rate, track.layout.name, written))
        written += len(block)
    yield from track.encode(None)
