"""Writes an excerpt of a video: see `deepsound.media.excerpt`."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from heapq import merge
from pathlib import Path
from typing import Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.container.core import Flags
from av.error import FFmpegError
from av.packet import Packet

from deepsound.errors import DeepSoundError, OutputNotWritableError, is_out_of_memory
from deepsound.media.audio import channel_layout, packed_frame
from deepsound.media.in_sandbox.audio_decoder import AlignedAudio, decode_between
from deepsound.media.in_sandbox.demux import audio_stream, open_media, video_stream
from deepsound.media.in_sandbox.edit_lists import EditList, write_edit_lists
from deepsound.media.in_sandbox.excerpt_selection import FrameSpan, PacketSelection, frames_between, select_packets
from deepsound.media.in_sandbox.mux import clock_options
from deepsound.media.in_sandbox.packet_copy import copied_packets, decoding_time, kept_metadata, picture_track
from deepsound.media.media_files import FORMATS, container_for, media_url
from deepsound.media.media_info import Excerpt, VideoInfo

_EDIT_LIST_SUFFIXES: Final = {
    **dict.fromkeys(("h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video", "mpeg1video"), ".mp4"),
    **dict.fromkeys(("prores", "dnxhd", "dvvideo", "mjpeg"), ".mov"),
}
"""By codec: the suffix of a container that can carry it and has edit lists."""

_TIMECODE: Final = "timecode"  # the source's, which is wrong for an excerpt


def cut_excerpt(video: Path, info: VideoInfo, start: float, end: float | None, target: Path) -> Excerpt:
    """Write the excerpt to `target`, which nobody reads yet. Also raises OSError."""
    span = frames_between(video, info, start, end)
    selected = select_packets(video, info, span)
    suffix = _suffix(video, info, selected)
    try:
        track, shown = _written(video, info, span, selected, suffix, target)
    except (FFmpegError, ValueError) as error:
        if isinstance(error, OSError) or is_out_of_memory(error):
            raise
        raise _not_cuttable(video, f"its picture ({info.codec}) can't be copied into {suffix}") from error
    if suffix != ".mkv":
        write_edit_lists(target, {track: shown})
    return Excerpt(suffix, float(span.begin - span.zero), float(span.end - span.zero), span.frames)


def _suffix(video: Path, info: VideoInfo, selected: PacketSelection) -> str:
    """Return the suffix that the video's results have, unless its container can't hide the frames to be hidden."""
    usual = container_for(info)
    if usual != ".mkv" or not selected.hides:
        return usual
    if info.codec not in _EDIT_LIST_SUFFIXES:
        what = f"its picture ({info.codec}) can't be cut between keyframes without coding it anew"
        raise _not_cuttable(video, what)
    return _EDIT_LIST_SUFFIXES[info.codec]


def _not_cuttable(video: Path, what: str) -> DeepSoundError:
    remedy = "convert the source to MP4 or MOV first, or take all of it"
    return OutputNotWritableError(what, where=str(video), remedy=remedy)


def _written(
    video: Path, info: VideoInfo, span: FrameSpan, selected: PacketSelection, suffix: str, target: Path
) -> tuple[int, EditList]:
    """Write the file without its picture's edit list; return the id of the picture's track and that edit list."""
    with ExitStack() as files:
        source = files.enter_context(open_media(video, edited=selected.edited))
        picture = video_stream(source, video)
        options = {} if suffix == ".mkv" else clock_options(picture, [selected.shown])
        result = files.enter_context(
            av.open(media_url(target), "w", format=FORMATS[suffix], container_options=options)
        )
        result.flags |= Flags.bitexact.value
        kept = kept_metadata(source.metadata)
        result.metadata.update({key: value for key, value in kept.items() if key.lower() != _TIMECODE})
        track = picture_track(picture, result, info)
        track.result.metadata.pop(_TIMECODE, None)
        audio = _audio_of(files.enter_context(open_media(video)), span)
        audio_track = None
        if audio is not None:
            layout = channel_layout(audio.channels)
            audio_track = result.add_stream("pcm_f32le", rate=audio.rate, layout=layout)
        result.start_encoding()
        copied = copied_packets(source, [track], selected.begin, selected.times, selected.packets)
        for packet in merge(copied, _encoded(audio_track, audio), key=decoding_time):
            result.mux(packet)
        moved = tuple(
            replace(edit, media_time=None if edit.media_time is None else edit.media_time - selected.begin)
            for edit in selected.shown
        )
        return track.edit_list({picture.id: moved})


def _audio_of(container: InputContainer, span: FrameSpan) -> AlignedAudio | None:
    stream = audio_stream(container)
    if stream is None:
        return None
    return decode_between(container, stream, span.begin, span.end, skip_outside=True)


def _encoded(track: AudioStream | None, audio: AlignedAudio | None) -> "Iterator[Packet[AudioStream]]":
    if track is None or audio is None:
        return
    written = 0
    for block in audio.blocks:
        yield from track.encode(packed_frame(block, audio.rate, track.layout.name, written))
        written += len(block)
    yield from track.encode(None)
