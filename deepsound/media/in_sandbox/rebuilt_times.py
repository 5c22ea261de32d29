"""Computes presentation times for containers that store none."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.error import FFmpegError
from av.packet import Packet

from deepsound.media.in_sandbox.demux import check_memory, demux_readable, open_media, video_stream
from deepsound.media.in_sandbox.packet_times import stores_times


def rebuilt_times(path: Path, rate: Fraction) -> Sequence[tuple[int, int, int]] | None:
    """Return presentation time, decoding time and duration of each video packet in ticks; None if stored.

    AVI stores decoding times only. A decoder returns frames in the order in which they are shown, so the n-th
    frame takes the n-th decoding time; where a codec may reorder frames, they are decoded here to learn the order.
    Decoding times move earlier, far enough that no frame is shown before it is decoded.
    """
    with open_media(path) as container:
        stream = video_stream(container, path)
        if stores_times(container):
            return None
        context = stream.codec_context
        context.copy_opaque = True
        step = max(round(1 / (rate * (stream.time_base or 1))), 1)
        times: list[int] = []
        shown: list[int] = []
        for packet in demux_readable(container, stream):
            if packet.size:
                packet.opaque = len(times)
                times.append(packet.dts if packet.dts is not None else len(times))
            shown.extend(_numbers(packet) if not context.codec.intra_only else ())
    presented = _in_shown_order(times, shown)
    delay = max((decoded - shown_at for decoded, shown_at in zip(times, presented, strict=True)), default=0)
    return [(shown_at, decoded - delay, step) for shown_at, decoded in zip(presented, times, strict=True)]


def _numbers(packet: "Packet[Any]") -> Iterator[int]:
    """Yield the numbers of the packets whose frames the decoder returns for this packet."""
    try:
        frames = packet.decode()
    except FFmpegError as error:
        check_memory(error)
        return
    for frame in frames:
        number = getattr(frame, "opaque", None)
        if isinstance(number, int):
            yield number


def _in_shown_order(times: Sequence[int], shown: Sequence[int]) -> Sequence[int]:
    """Sort the times of the packets in `shown` into their order; the other packets keep theirs."""
    presented = list(times)
    ranked = sorted(times[number] for number in shown)
    for number, time in zip(shown, ranked, strict=True):
        presented[number] = time
    return presented
