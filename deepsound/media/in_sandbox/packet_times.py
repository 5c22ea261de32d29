"""Times of packets and frames, gathered by reading a file once without decoding it."""

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
    """Whether a container stores presentation times. AVI does not, and FFmpeg's guesses for it are wrong."""
    return container.format.name != "avi"


@dataclass(slots=True)
class FrameClock:
    """Presentation times of decoded frames, in ticks of the stream's time base.

    Where a container stores none, frames leave the decoder in the order in which they are shown, so each takes the
    earliest decoding time not yet taken.
    """

    stored: bool
    _decoding_times: deque[int] = field(default_factory=deque[int])

    def packet_time(self, packet: "Packet[Any]") -> int | None:
        """When the packet's frame is shown, or one of its group is where times are not stored."""
        return packet.pts if self.stored and packet.pts is not None else packet.dts

    def enter(self, packet: "Packet[Any]") -> None:
        """Note a packet on its way into the decoder."""
        if not self.stored and packet.dts is not None:
            self._decoding_times.append(packet.dts)

    def lost(self) -> None:
        """Note that a packet gave no frame."""
        if self._decoding_times:
            self._decoding_times.popleft()

    def frame_time(self, frame: VideoFrame) -> int:
        """When the frame, the next to leave the decoder, is shown."""
        if self._decoding_times:
            return self._decoding_times.popleft()
        return frame.pts if frame.pts is not None else frame.dts or 0


@dataclass(slots=True)
class PacketReading:
    """What one pass over the packets gathers; times in ticks of each stream's time base.

    `first` is the first shown frame and `start` its time; `times` and `durations` are those of the shown frames,
    in the order of the packets; `hidden` counts frames that an edit list hides. Sound is heard from `heard_from`,
    of which decoders drop the first `skipped_samples`, until `heard_until`. `broke_off` is True where the file
    can't be read to its end.
    """

    clock: FrameClock
    first: VideoFrame | None = None
    start: int = 0
    times: list[int] = field(default_factory=list[int])
    durations: list[int] = field(default_factory=list[int])
    hidden: int = 0
    heard_from: int | None = None
    heard_until: int = 0
    skipped_samples: int = 0
    broke_off: bool = False

    def see(self, packet: "Packet[Any]") -> None:
        """Take a packet of the picture."""
        if self.first is None:
            self.clock.enter(packet)
            self.first = _first_frame(packet)
            self.start = 0 if self.first is None else self.clock.frame_time(self.first)
        time = self.clock.packet_time(packet)
        if packet.is_discard:
            self.hidden += 1
        elif time is not None:
            self.times.append(time)
            self.durations.append(packet.duration or 0)

    def hear(self, packet: "Packet[Any]") -> None:
        """Take a packet of the sound."""
        time = packet.pts if packet.pts is not None else packet.dts
        if time is None:
            return
        if self.heard_from is None:
            self.heard_from = time
            self.skipped_samples = _leading_skip(packet)
        self.heard_until = max(self.heard_until, time + (packet.duration or 0))


def read_packets(container: InputContainer, video: VideoStream, audio: AudioStream | None) -> PacketReading:
    """Demux a file to its end, or as far as it can be read, decoding up to the first frame."""
    reading = PacketReading(FrameClock(stores_times(container)))
    wanted = (video,) if audio is None else (video, audio)
    try:
        for packet in demux(container, *wanted):
            if packet.stream_index == video.index:
                reading.see(packet)
            else:
                reading.hear(packet)
    except (FFmpegError, OSError) as error:
        check_memory(error)
        reading.broke_off = True
    return reading


def _first_frame(packet: "Packet[Any]") -> VideoFrame | None:
    try:
        return next((frame for frame in packet.decode() if isinstance(frame, VideoFrame)), None)
    except FFmpegError as error:  # an undecodable packet: a later one may do
        check_memory(error)
        return None


def _leading_skip(packet: "Packet[Any]") -> int:
    """Samples of encoder priming that decoders drop: the first word of the packet's side data."""
    if not packet.has_sidedata("skip_samples"):
        return 0
    return int.from_bytes(bytes(packet.get_sidedata("skip_samples"))[:4], "little")
