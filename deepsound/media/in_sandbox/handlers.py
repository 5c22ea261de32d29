"""What a guarded process can be asked to do: everything that parses or decodes a source file."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, cast

from deepsound.canonical_json import Json
from deepsound.media.audio_in_process import extract
from deepsound.media.excerpt_in_process import cut_out
from deepsound.media.frame_batches import Stream, show
from deepsound.media.mux_in_process import remux
from deepsound.media.observers import FrameChoice
from deepsound.media.probe import VideoInfo
from deepsound.media.probe_in_process import describe
from deepsound.media.sandbox.child_channel import Line
from deepsound.media.sandbox.child_faults import child_fault_point
from deepsound.media.sandbox.ipc import Message


def _describe(request: Message, line: Line) -> dict[str, Json]:  # noqa: ARG001 - as all work
    return describe(_path(request, "video")).to_json()


def _show(request: Message, line: Line) -> dict[str, Json]:
    wanted = cast("list[tuple[float | None, list[int], str]]", request["streams"])
    streams = [
        Stream(number, rate, (size[0], size[1]), line, FrameChoice(choice))
        for number, (rate, size, choice) in enumerate(wanted)
    ]
    showing = show(_path(request, "video"), _info(request), streams)
    return {"decoder": showing.decoder, "frames": showing.frames, "damaged": showing.damaged}


def _extract(request: Message, line: Line) -> dict[str, Json]:  # noqa: ARG001 - as all work
    made = extract(_path(request, "video"), _info(request), _path(request, "target"))
    return {
        "sample_rate": made.sample_rate,
        "channels": made.channels,
        "samples": made.samples,
        "damaged_packets": made.damaged_packets,
    }


def _remux(request: Message, line: Line) -> dict[str, Json]:  # noqa: ARG001 - as all work
    audio, target = _path(request, "audio"), _path(request, "target")
    remux(_path(request, "video"), audio, target, str(request["suffix"]), _info(request))
    return {}


def _cut(request: Message, line: Line) -> dict[str, Json]:  # noqa: ARG001 - as all work
    start, end = cast("tuple[float, float | None]", (request["start"], request["end"]))
    return asdict(cut_out(_path(request, "video"), _info(request), start, end, _path(request, "target")))


def _path(request: Message, role: str) -> Path:
    path = Path(cast("Mapping[str, str]", request["paths"])[role])
    child_fault_point(path)
    return path


def _info(request: Message) -> VideoInfo:
    return VideoInfo.from_json(cast("Mapping[str, Any]", request["info"]))


WORK: Final = {"describe": _describe, "show": _show, "extract": _extract, "remux": _remux, "cut": _cut}
