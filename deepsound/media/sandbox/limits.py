"""What a guarded process may use before it is ended."""

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

_BEYOND = 1.125
_DEFAULTS = {MEMORY_VARIABLE: "8", SECONDS_VARIABLE: "300"}


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """`memory_gib`: private memory it may write to. `seconds`: how long it may go without a sign of progress."""

    memory_gib: float
    seconds: float

    def apply(self) -> None:
        """Put this process under them for good.

        RLIMIT_DATA counts what can be written to, by all threads, and not the address space that allocators and
        thread stacks only reserve, as RLIMIT_AS does: a machine with many cores reserves gigabytes. The kernel
        holds a little beyond the limit, so that `overstepped` can tell.
        """
        _lower(resource.RLIMIT_DATA, int(self.memory_gib * _BEYOND * (1 << 30)))
        # 1 keeps Linux from writing a core file, and also from piping one to a program, which 0 does not.
        _lower(resource.RLIMIT_CORE, 1)
        self.renew()

    def overstepped(self) -> bool:
        """Whether this process ever held more memory.

        Decoders may take memory they are refused for damage of the file, and go on with a part of it.
        """
        return _peak() > self.memory_gib * (1 << 30)

    def renew(self) -> None:
        """Allow the processor time of another `seconds` on all cores, from now on."""
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        soft = math.ceil(time.process_time() + self.seconds * (cpu_count() or 1))
        resource.setrlimit(resource.RLIMIT_CPU, (_within(hard, soft), hard))


def memory_is_short() -> bool:
    """Whether a refusal of memory is due to this process's limit, and not to a size that no file can mean."""
    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return soft != resource.RLIM_INFINITY and _peak() > soft / 2


def _peak() -> int:
    """Bytes of what RLIMIT_DATA counts, at their most; what else is mapped hardly changes."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("ascii").splitlines())
    peak, size, data = (int(status[name].split()[0]) << 10 for name in ("VmPeak", "VmSize", "VmData"))
    return peak - (size - data)


def limits_from(environment: Mapping[str, str]) -> SandboxLimits:
    """The limits that the environment sets. Raises DeepSoundError (BAD_SETTINGS)."""
    return SandboxLimits(_number(environment, MEMORY_VARIABLE), _number(environment, SECONDS_VARIABLE))


def _number(environment: Mapping[str, str], name: str) -> float:
    told = environment.get(name) or _DEFAULTS[name]
    try:
        number = float(told)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise BadSettingsError(f"{told!r} is no number above 0", where=name, remedy="mend or unset it")
    return number


def _lower(kind: int, value: int) -> None:
    value = _within(resource.getrlimit(kind)[1], value)
    resource.setrlimit(kind, (value, value))


def _within(hard: int, value: int) -> int:
    return value if hard == resource.RLIM_INFINITY else min(value, hard)
