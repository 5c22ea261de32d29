"""Copies a picture's packets into a new file with new audio: see `deepsound.media.mux`."""

from collections.abc import Iterable, Iterator, Mapping
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

from deepsound.errors import OutputNotWritableError, is_out_of_memory
from deepsound.media.audio import (
    audio_format,
    channel_layout,
    packed_frame,
    read_blocks,
    resampled_blocks,
    silence,
)
from deepsound.media.in_sandbox.demux import open_media, video_stream
from deepsound.media.in_sandbox.edit_lists import EditList, read_edit_lists, write_edit_lists
from deepsound.media.in_sandbox.packet_copy import add_tracks, copied_packets, decoding_time, kept_metadata
from deepsound.media.in_sandbox.rebuilt_times import rebuilt_times
from deepsound.media.media_files import FORMATS, media_url
from deepsound.media.media_info import VideoInfo

if TYPE_CHECKING:
    from av.container.core import Chapter

_AAC_RATES: Final = frozenset({96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000})
_AAC_BITS_PER_CHANNEL: Final = 128_000
_BLOCK_SECONDS: Final = 0.25
_MATROSKA: Final = {"allow_raw_vfw": "1"}
_LONGEST_DELAY: Final = 10.0  # seconds of silence before the first frame
_LARGEST_CLOCK: Final = 1 << 31


def mux(video: Path, audio: Path, target: Path, suffix: str, info: VideoInfo) -> None:
    """Write the result to `target`, which nobody reads yet and whose name will end in `suffix`.

    Also raises OSError.
    """
    container_format = FORMATS[suffix]
    # A first frame that is shown very late (recorders' clocks, damage) is shown at 0 instead.
    keeps_edits = container_format != "matroska" and info.start < _LONGEST_DELAY
    edits = read_edit_lists(video) if keeps_edits else None
    try:
        lists = _written(video, audio, target, container_format, info, edits)
    except (FFmpegError, ValueError) as error:
        if isinstance(error, OSError) or is_out_of_memory(error):
            raise
        raise OutputNotWritableError(
            f"its picture ({info.codec}) can't be copied into {suffix}",
            where=str(video),
            remedy="convert the source to MP4, MOV or MKV first",
        ) from error
    if lists is not None:
        write_edit_lists(target, lists)


def _written(
    video: Path,
    audio: Path,
    target: Path,
    container_format: str,
    info: VideoInfo,
    edits: Mapping[int, EditList] | None,
) -> Mapping[int, EditList] | None:
    """Write the file without the edit lists of its copied tracks; return those by the result's track ids.

    With `edits` to keep, tracks are copied as they are stored; without, as they are shown.
    """
    edited = edits is None
    with open_media(video, edited=edited) as source:
        picture = video_stream(source, video)
        options = _MATROSKA if container_format == "matroska" else clock_options(picture, (edits or {}).values())
        url = media_url(target)
        with av.open(url, "w", format=container_format, container_options=options) as result:
            result.flags |= Flags.bitexact.value
            result.metadata.update(kept_metadata(source.metadata))
            tracks = add_tracks(source, result, picture, info)
            audio_track = _add_audio_track(result, audio, container_format)
            shift = Fraction(info.start) if edited else Fraction()
            result.set_chapters(_chapters(source, shift))
            delay = 0.0 if edited else info.start
            result.start_encoding()
            copied = copied_packets(source, tracks, shift, rebuilt_times(video, info.frame_rate))
            for packet in merge(copied, _encoded(audio_track, audio, delay), key=decoding_time):
                result.mux(packet)
            return None if edits is None else dict(track.edit_list(edits) for track in tracks)


def clock_options(picture: VideoStream, edits: Iterable[EditList]) -> dict[str, str]:
    """Return the muxer's options for time bases that can represent the source's times exactly."""
    durations = [edit.duration for entries in edits for edit in entries]
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


def _add_audio_track(result: OutputContainer, audio: Path, container_format: str) -> AudioStream:
    sound = audio_format(audio)
    layout = channel_layout(sound.channels)
    if container_format == "matroska":
        track = result.add_stream("flac", rate=sound.sample_rate, layout=layout, format="s32")
    else:
        rate = sound.sample_rate if sound.sample_rate in _AAC_RATES else 48_000
        track = result.add_stream("aac", rate=rate, layout=layout)
        track.bit_rate = _AAC_BITS_PER_CHANNEL * sound.channels
    track.disposition = Disposition.default
    return track


def _encoded(track: AudioStream, audio: Path, delay: float) -> "Iterator[Packet[AudioStream]]":
    """Yield the packets of the audio, after `delay` seconds of silence."""
    sound = audio_format(audio)
    rate = track.codec_context.sample_rate
    native = read_blocks(audio, round(_BLOCK_SECONDS * sound.sample_rate))
    blocks = chain(silence(round(delay * rate), sound.channels), resampled_blocks(native, sound.sample_rate, rate))
    written = 0
    for block in blocks:
        yield from track.encode(packed_frame(block, rate, track.layout.name, written))
        written += len(block)
    yield from track.encode(None)
