"""Limits on the memory and processor time of a sandboxed process."""

import math
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from os import cpu_count
from pathlib import Path

from deepsound.errors import BadSettingsError

MEMORY_VARIABLE = "DEEPSOUND_DECODER_GIB"
SECONDS_VARIABLE = "DEEPSOUND_DECODER_SECONDS"

_HEADROOM = 1.125  # the kernel's limit over ours
_DEFAULTS = {MEMORY_VARIABLE: "8", SECONDS_VARIABLE: "300"}


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """`memory_gib`: private writable memory. `seconds`: the longest time without a sign of progress."""

    memory_gib: float
    seconds: float

    def apply(self) -> None:
        """Put this process under the limits for good.

        RLIMIT_DATA counts the writable memory of all threads. RLIMIT_AS would also count the address space that
        allocators and thread stacks only reserve, which is gigabytes on a machine with many cores. The kernel's
        limit is a little higher than ours, so that `exceeded` can see an overrun.
        """
        _lower(resource.RLIMIT_DATA, int(self.memory_gib * _HEADROOM * (1 << 30)))
        # 1 keeps Linux from writing a core file, and also from piping one to a program, which 0 does not.
        _lower(resource.RLIMIT_CORE, 1)
        self.renew()

    def exceeded(self) -> bool:
        """Whether this process ever held more memory than the limit.

        A decoder may treat refused memory as damage of the file and continue with a part of it.
        """
        return _peak() > self.memory_gib * (1 << 30)

    def renew(self) -> None:
        """Allow another `seconds` of processor time on all cores, from now on."""
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        soft = math.ceil(time.process_time() + self.seconds * (cpu_count() or 1))
        resource.setrlimit(resource.RLIMIT_CPU, (_within(hard, soft), hard))


def memory_is_short() -> bool:
    """Whether refused memory is due to this process's limit, and not to an absurd size in a damaged file."""
    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return soft != resource.RLIM_INFINITY and _peak() > soft / 2


def _peak() -> int:
    """Return the peak in bytes of what RLIMIT_DATA counts, taking the other mappings as constant."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("ascii").splitlines())
    peak, size, data = (int(status[name].split()[0]) << 10 for name in ("VmPeak", "VmSize", "VmData"))
    return peak - (size - data)


def limits_from(environment: Mapping[str, str]) -> SandboxLimits:
    """Return the limits that the environment sets. Raises BadSettingsError unless they are positive numbers."""
    return SandboxLimits(_number(environment, MEMORY_VARIABLE), _number(environment, SECONDS_VARIABLE))


def _number(environment: Mapping[str, str], name: str) -> float:
    text = environment.get(name) or _DEFAULTS[name]
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise BadSettingsError(f"{text!r} is not a number above 0", where=name, remedy="correct or unset it")
    return number


def _lower(kind: int, value: int) -> None:
    value = _within(resource.getrlimit(kind)[1], value)
    resource.setrlimit(kind, (value, value))


def _within(hard: int, value: int) -> int:
    return value if hard == resource.RLIM_INFINITY else min(value, hard)
