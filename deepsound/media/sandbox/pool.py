"""Guarded processes, kept for the next file: one for every thread that needs one at the same time."""

import atexit
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from deepsound.canonical_json import Json
from deepsound.errors import InternalError, error_class
from deepsound.media.sandbox.limits import limits_from
from deepsound.media.sandbox.process import EndedError, FrameBlock, GuardedProcess, StalledError, environment
from deepsound.media.sandbox.sandbox_errors import out_of_bounds, sandbox_error, stalled

_SLOWEST_DISK = 10e6  # bytes a second: opening a file may mean to read it once from end to end

_idle: list[GuardedProcess] = []
_lock = threading.Lock()


def _no_frames(block: FrameBlock) -> None:
    raise ValueError(f"frames came that nobody asked for: {block.shape}")


def ask_sandbox(
    work: str,
    paths: Mapping[str, Path],
    details: Mapping[str, Json],
    take: Callable[[FrameBlock], None] = _no_frames,
) -> Mapping[str, Json]:
    """Have a piece of `guarded.work` done on the file `paths["video"]`; `take` gets its frames, block by block.

    Raises DeepSoundError: what the work raises; DECODER_CRASHED, DECODER_OVER_LIMIT, OUT_OF_MEMORY; BAD_SETTINGS
    for limits that are none. Raises OSError where the system refuses to write what the work makes.
    """
    video = paths["video"]
    here = environment()
    limits = limits_from(here)
    absolute: dict[str, Json] = {role: str(path.absolute()) for role, path in paths.items()}
    request = {"work": work, "paths": absolute, **details}
    process = _borrowed(here)
    try:
        reply = process.work(request, limits.seconds + _size(video) / _SLOWEST_DISK, take)
    except StalledError as error:
        process.end()
        raise stalled(video, limits) from error
    except EndedError as error:
        process.end()
        raise sandbox_error(error, video, limits) from error
    except BaseException:
        process.end()
        raise
    if "memory" in reply:
        process.end()
        raise out_of_bounds(video, limits)
    _give_back(process)
    return _answer(reply, paths)


def warm_up() -> None:
    """Have a guarded process wait that will be used, so that it is ready when the first file comes.

    Raises DeepSoundError (BAD_SETTINGS) for limits that are none.
    """
    here = environment()
    limits_from(here)
    _give_back(_borrowed(here))


def idle() -> tuple[GuardedProcess, ...]:
    """Those that wait for the next file."""
    with _lock:
        return tuple(_idle)


def _size(video: Path) -> int:
    try:
        return video.stat().st_size
    except OSError:  # the work says what is wrong with the file
        return 0


def _borrowed(here: Mapping[str, str]) -> GuardedProcess:
    """One that lives, and under the present limits."""
    while True:
        with _lock:
            process = _idle.pop() if _idle else None
        if process is None:
            return GuardedProcess(here)
        if process.environment == here and not process.has_ended:
            return process
        process.end()


def _give_back(process: GuardedProcess) -> None:
    with _lock:
        _idle.append(process)


def _answer(reply: Mapping[str, Json], paths: Mapping[str, Path]) -> Mapping[str, Json]:
    """The answer in a reply, or the failure it tells of, under the names that the caller gave the files."""
    match reply:
        case {"answer": dict(answer)}:
            return answer
        case {"failure": [str(code), str(what), str(where), str(remedy)]}:
            names = {str(path.absolute()): str(path) for path in paths.values()}
            raise error_class(code)(what, where=names.get(where, where), remedy=remedy)
        case {"system": [int(number), str(reason)]}:
            raise OSError(number, reason)
        case _:
            raise InternalError(
                str(reply.get("defect", "the decoder gave no answer")),
                where=str(paths["video"]),
                remedy="please report this with the file, if it can be shared",
            )


def _end_all() -> None:
    for process in idle():
        process.end()


atexit.register(_end_all)
