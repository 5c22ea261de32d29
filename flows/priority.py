"""How urgent a run is; apart from what talks to Prefect, whose import takes seconds."""

from enum import StrEnum


class Priority(StrEnum):
    """Which queue of its pool a run waits in; workers empty the higher ones first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"
