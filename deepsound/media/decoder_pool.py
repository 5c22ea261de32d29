"""Runs a handler of `in_sandbox` on a source file in a sandboxed process, and maps its failures to errors."""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from deepsound.canonical_json import Json
from deepsound.errors import (
    DecoderCrashedError,
    DecoderOverLimitError,
    DeepSoundError,
    InternalError,
    MemoryExhaustedError,
    error_class,
    names_memory,
)
from deepsound.media.sandbox.ipc import SharedBlock
from deepsound.media.sandbox.limits import MEMORY_VARIABLE, SECONDS_VARIABLE, SandboxLimits, limits_from
from deepsound.media.sandbox.pool import SandboxPool
from deepsound.media.sandbox.process import MemoryLimitError, ProcessEndedError, ProcessStalledError

# Named, not imported: the libraries that parse untrusted files are loaded by the sandboxed process alone.
HANDLERS: Final = "deepsound.media.in_sandbox.handlers"

POOL: Final = SandboxPool(HANDLERS)

_SLOWEST_DISK = 10e6  # bytes per second: opening a file may read all of it before the first sign of progress


def _refuse_block(block: SharedBlock) -> None:
    raise ValueError(f"the sandboxed process sent frames unasked: {block.header}")


def run_in_sandbox(
    handler: str,
    paths: Mapping[str, Path],
    parameters: Mapping[str, Json],
    on_block: Callable[[SharedBlock], None] = _refuse_block,
) -> Mapping[str, Json]:
    """Run a handler on the file `paths["video"]` and return its result; `on_block` gets the frames it sends.

    Raises the handler's DeepSoundError, DecoderCrashedError, DecoderOverLimitError, MemoryExhaustedError,
    BadSettingsError for invalid limits, and OSError if the system refuses to write the handler's output.
    """
    video = paths["video"]
    limits = limits_from(os.environ)
    absolute: dict[str, Json] = {role: str(path.absolute()) for role, path in paths.items()}
    request = {"handler": handler, "paths": absolute, **parameters}
    try:
        reply = POOL.run(request, limits.seconds + _size(video) / _SLOWEST_DISK, on_block)
    except ProcessStalledError as error:
        raise _stalled(video, limits) from error
    except MemoryLimitError as error:
        raise _over_memory(video, limits) from error
    except ProcessEndedError as error:
        raise _ended(error, video, limits) from error
    return _result(reply, paths)


def warm_up() -> None:
    """Start a sandboxed process, if none is idle, so that it is ready for the first file.

    Raises BadSettingsError for invalid limits.
    """
    limits_from(os.environ)
    POOL.warm_up()


def _size(video: Path) -> int:
    try:
        return video.stat().st_size
    except OSError:  # the handler reports what is wrong with the file
        return 0


def _result(reply: Mapping[str, Json], paths: Mapping[str, Path]) -> Mapping[str, Json]:
    """Return the result in a reply, or raise its error with the caller's own names of the files."""
    match reply:
        case {"result": dict(result)}:
            return result
        case {"error": [str(code), str(what), str(where), str(remedy)]}:
            names = {str(path.absolute()): str(path) for path in paths.values()}
            raise error_class(code)(what, where=names.get(where, where), remedy=remedy)
        case {"os_error": [int(number), str(reason)]}:
            raise OSError(number, reason)
        case _:
            defect = str(reply.get("defect", "the decoder gave no result"))
            raise InternalError(defect, where=str(paths["video"]))


def _stalled(video: Path, limits: SandboxLimits) -> DeepSoundError:
    return DecoderOverLimitError(
        f"decoding made no progress for over {limits.seconds:g} s",
        where=str(video),
        remedy=f"copy it again or convert it; where the disk is slow, raise {SECONDS_VARIABLE}",
    )


def _over_memory(video: Path, limits: SandboxLimits) -> DeepSoundError:
    return DecoderOverLimitError(
        f"decoding takes over {limits.memory_gib:g} GiB of memory",
        where=str(video),
        remedy=f"convert it to a smaller picture; where there is more memory, raise {MEMORY_VARIABLE}",
    )


def _ended(error: ProcessEndedError, video: Path, limits: SandboxLimits) -> DeepSoundError:
    if names_memory(error.stderr):
        return _over_memory(video, limits)
    match error.code:
        case None:
            return _stalled(video, limits)
        case code if code == -signal.SIGXCPU:
            return _stalled(video, limits)
        case code if code == -signal.SIGKILL:
            what = "its decoder was killed, most likely because the machine ran out of memory"
            return MemoryExhaustedError(what, where=str(video))
        case code if code < 0:
            ending = f"with signal {-code} ({signal.strsignal(-code)})"
        case code:
            ending = f"with exit code {code}{_last_line(error.stderr)}"
    return DecoderCrashedError(f"its decoder ended {ending}", where=str(video))


def _last_line(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return f": {lines[-1]}" if lines else ""
