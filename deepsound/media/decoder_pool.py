"""What befell a guarded process, as one line a person can act on."""

import signal
from pathlib import Path

from deepsound.errors import (
    DecoderCrashedError,
    DecoderOverLimitError,
    DeepSoundError,
    MemoryExhaustedError,
)
from deepsound.media.sandbox.limits import MEMORY_VARIABLE, SECONDS_VARIABLE, SandboxLimits
from deepsound.media.sandbox.process import EndedError

_OF_MEMORY = ("bad_alloc", "MemoryError", "Cannot allocate memory", "out of memory")


def stalled(video: Path, limits: SandboxLimits) -> DeepSoundError:
    """No sign of progress for too long."""
    return DecoderOverLimitError(
        f"decoding it came no further for over {limits.seconds:g} s",
        where=str(video),
        remedy=f"copy it again or convert it; where the disk is slow, raise {SECONDS_VARIABLE}",
    )


def out_of_bounds(video: Path, limits: SandboxLimits) -> DeepSoundError:
    """More memory than it may have."""
    return DecoderOverLimitError(
        f"decoding it takes over {limits.memory_gib:g} GiB of memory",
        where=str(video),
        remedy=f"convert it to a smaller picture; where there is more memory, raise {MEMORY_VARIABLE}",
    )


def sandbox_error(ended: EndedError, video: Path, limits: SandboxLimits) -> DeepSoundError:
    """Its end in the middle of the work."""
    if any(word in ended.words for word in _OF_MEMORY):
        return out_of_bounds(video, limits)
    match ended.code:
        case None:
            return stalled(video, limits)
        case code if code == -signal.SIGXCPU:
            return stalled(video, limits)
        case code if code == -signal.SIGKILL:
            return MemoryExhaustedError(
                "its decoder was killed, most likely because the machine ran out of memory",
                where=str(video),
                remedy="work on fewer videos at once",
            )
        case code if code < 0:
            how = f"with signal {-code} ({signal.strsignal(-code)})"
        case code:
            how = f"with exit code {code}{_last_line(ended.words)}"
    return DecoderCrashedError(
        f"its decoder ended {how}",
        where=str(video),
        remedy="copy it again, or convert it with another program",
    )


def _last_line(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return f": {lines[-1]}" if lines else ""
