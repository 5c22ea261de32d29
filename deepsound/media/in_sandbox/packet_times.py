"""Reads the times of packets and frames in one pass over a file, without decoding it."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from deepsound.media.in_sandbox.demux import check_memory, demux


def stores_times(container: InputContainer) -> bool:
    """Whether a container stores presentation times. AVI does not, and what FFmpeg guesses for it is wrong."""
    return container.format.name != "avi"


@dataclass(slots=True)
class FrameClock:
    """Presentation times of decoded frames, in ticks of the stream's time base.

    A decoder returns frames in the order in which they are shown. So where a container stores no presentation
    times (`stored` False), each frame takes the earliest decoding time not yet taken.
    """

    stored: bool
    _decoding_times: deque[int] = field(default_factory=deque[int])

    def packet_time(self, packet: "Packet[Any]") -> int | None:
        """Return when the packet's frame is shown, or, where times are not stored, when it is decoded."""
        return packet.pts if self.stored and packet.pts is not None else packet.dts

    def add_packet(self, packet: "Packet[Any]") -> None:
        """Register a packet that is passed to the decoder."""
        if not self.stored and packet.dts is not None:
            self._decoding_times.append(packet.dts)

    def drop_packet(self) -> None:
        """Register that a packet gave no frame."""
        if self._decoding_times:
            self._decoding_times.popleft()

    def frame_time(self, frame: VideoFrame) -> int:
        """Return when a frame is shown; call it for every frame in the decoder's order."""
        if self._decoding_times:
            return self._decoding_times.popleft()
        return frame.pts if frame.pts is not None else frame.dts or 0


@dataclass(slots=True)
class PacketReading:
    """What one pass over the packets finds; times in ticks of each stream's time base.

    - `first`: the first shown frame; `start`: its time.
    - `times`, `durations`: those of the shown frames, in the order of the packets.
    - `hidden`: how many frames an edit list hides.
    - `audio_start`, `audio_end`: of the audio packets; decoders drop the first `skipped_samples`.
    - `broke_off`: the file can't be read to its end.
    """

    clock: FrameClock
    first: VideoFrame | None = None
    start: int = 0
    times: list[int] = field(default_factory=list[int])
    durations: list[int] = field(default_factory=list[int])
    hidden: int = 0
    audio_start: int | None = None
    audio_end: int = 0
    skipped_samples: int = 0
    broke_off: bool = False

    def add_video_packet(self, packet: "Packet[Any]") -> None:
        """Take a packet of the video stream."""
        if self.first is None:
            self.clock.add_packet(packet)
            self.first = _first_frame(packet)
            self.start = 0 if self.first is None else self.clock.frame_time(self.first)
        time = self.clock.packet_time(packet)
        if packet.is_discard:
            self.hidden += 1
        elif time is not None:
            self.times.append(time)
            self.durations.append(packet.duration or 0)

    def add_audio_packet(self, packet: "Packet[Any]") -> None:
        """Take a packet of the audio stream."""
        time = packet.pts if packet.pts is not None else packet.dts
        if time is None:
            return
        if self.audio_start is None:
            self.audio_start = time
            self.skipped_samples = _leading_skip(packet)
        self.audio_end = max(self.audio_end, time + (packet.duration or 0))


def read_packets(container: InputContainer, video: VideoStream, audio: AudioStream | None) -> PacketReading:
    """Demux a file to its end, or as far as it can be read, and decode up to the first frame."""
    reading = PacketReading(FrameClock(stores_times(container)))
    wanted = (video,) if audio is None else (video, audio)
    try:
        for packet in demux(container, *wanted):
            if packet.stream_index == video.index:
                reading.add_video_packet(packet)
            else:
                reading.add_audio_packet(packet)
    except (FFmpegError, OSError) as error:
        check_memory(error)
        reading.broke_off = True
    return reading


def _first_frame(packet: "Packet[Any]") -> VideoFrame | None:
    try:
        return next((frame for frame in packet.decode() if isinstance(frame, VideoFrame)), None)
    except FFmpegError as error:  # a later packet may decode
        check_memory(error)
        return None


def _leading_skip(packet: "Packet[Any]") -> int:
    """Return how many samples of encoder priming a decoder drops: the first word of the packet's side data."""
    if not packet.has_sidedata("skip_samples"):
        return 0
    return int.from_bytes(bytes(packet.get_sidedata("skip_samples"))[:4], "little")
