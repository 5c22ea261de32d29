"""Presentation times for containers that store none."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.error import FFmpegError
from av.packet import Packet

from deepsound.media.in_sandbox.demux import check_memory, demux_readable, open_media, video_stream
from deepsound.media.in_sandbox.packet_times import stores_times


def rebuilt_times(path: Path, rate: Fraction) -> Sequence[tuple[int, int, int]] | None:
    """Presentation and decoding time and duration of each video packet, in ticks; None where packets hold them.

    AVI stores decoding times alone. Frames leave a decoder in the order in which they are shown, so the n-th
    frame takes the n-th decoding time; where they may be coded in another order they are decoded here to learn
    it. Decoding times move ahead far enough that no frame is shown before it is decoded.
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
    told = _in_shown_order(times, shown)
    late = max((time - presented for time, presented in zip(times, told, strict=True)), default=0)
    return [(presented, time - late, step) for presented, time in zip(told, times, strict=True)]


def _numbers(packet: "Packet[Any]") -> Iterator[int]:
    """The numbers of the packets whose frames the decoder gives out now."""
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
    """Give the packets in `shown` each other's times in order; the rest keep their own."""
    told = list(times)
    ranked = sorted(times[number] for number in shown)
    for number, time in zip(shown, ranked, strict=True):
        told[number] = time
    return told
