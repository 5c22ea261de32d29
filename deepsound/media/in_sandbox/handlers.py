"""The requests that a sandboxed process serves: everything that parses or decodes a source file.

Each handler has the name of the module in `deepsound.media` that asks for it.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, cast

from deepsound.canonical_json import Json
from deepsound.media.in_sandbox.decode import FrameStream, decode_video
from deepsound.media.in_sandbox.excerpt import cut_excerpt
from deepsound.media.in_sandbox.extract_audio import extract_audio
from deepsound.media.in_sandbox.mux import mux
from deepsound.media.in_sandbox.probe import probe
from deepsound.media.media_info import VideoInfo
from deepsound.media.observers import FrameChoice
from deepsound.media.sandbox.child_channel import ChildChannel
from deepsound.media.sandbox.ipc import Message


def _probe(request: Message, channel: ChildChannel) -> dict[str, Json]:  # noqa: ARG001 - every handler has it
    return probe(_path(request, "video")).to_json()


def _decode(request: Message, channel: ChildChannel) -> dict[str, Json]:
    requested = cast("list[tuple[float | None, list[int], str]]", request["streams"])
    streams = [
        FrameStream(number, rate, (size[0], size[1]), channel, FrameChoice(choice))
        for number, (rate, size, choice) in enumerate(requested)
    ]
    decoded = decode_video(_path(request, "video"), _info(request), streams)
    return {"decoder": decoded.decoder, "frames": decoded.frames, "damaged": decoded.damaged}


def _extract_audio(request: Message, channel: ChildChannel) -> dict[str, Json]:  # noqa: ARG001
    return asdict(extract_audio(_path(request, "video"), _info(request), _path(request, "target")))


def _mux(request: Message, channel: ChildChannel) -> dict[str, Json]:  # noqa: ARG001
    video, audio, target = (_path(request, role) for role in ("video", "audio", "target"))
    mux(video, audio, target, str(request["suffix"]), _info(request))
    return {}


def _excerpt(request: Message, channel: ChildChannel) -> dict[str, Json]:  # noqa: ARG001
    start, end = cast("tuple[float, float | None]", (request["start"], request["end"]))
    return asdict(cut_excerpt(_path(request, "video"), _info(request), start, end, _path(request, "target")))


def _path(request: Message, role: str) -> Path:
    return Path(cast("Mapping[str, str]", request["paths"])[role])


def _info(request: Message) -> VideoInfo:
    return VideoInfo.from_json(cast("Mapping[str, Any]", request["info"]))


HANDLERS: Final = {
    "probe": _probe,
    "decode": _decode,
    "extract_audio": _extract_audio,
    "mux": _mux,
    "excerpt": _excerpt,
}
