"""The real clips that benchmarks run on, cut to length without decoding them."""

import sys
from pathlib import Path

import av

CLIPS = Path(__file__).parents[2] / "shared" / "media"
TALKING = "talking_child_visible.mp4"


def clip_named(name: str, folder: Path) -> Path:
    """A clip of the folder; where it is absent, the program ends with a line that says so."""
    path = folder / name
    if not path.is_file():
        sys.exit(f"{path}: no such clip; benchmarks run on real clips: name their folder with --media")
    return path


def first_seconds(video: Path, seconds: float, target: Path) -> Path:
    """A copy of the packets that are shown within the first `seconds`."""
    with av.open(str(video)) as source, av.open(str(target), "w") as out:
        streams = [kind[0] for kind in (source.streams.video, source.streams.audio) if kind]
        copies = {stream.index: out.add_stream_from_template(stream) for stream in streams}
        for packet in source.demux(streams):
            if (
                packet.dts is not None
                and packet.pts is not None
                and float(packet.pts * packet.time_base) < seconds
            ):
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
    return target
