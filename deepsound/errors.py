"""What can go wrong, as data: a code the ledger can group by, and one line a person can act on."""

from enum import StrEnum

from deepsound.terminal_text import speakable


class ErrorCode(StrEnum):
    """Every way a step can fail. `is_retryable` decides whether trying the same thing again can help."""

    SOURCE_MISSING = "source_missing"
    SOURCE_EMPTY = "source_empty"
    SOURCE_NOT_MEDIA = "source_not_media"
    SOURCE_CORRUPT = "source_corrupt"
    NO_VIDEO_STREAM = "no_video_stream"
    NO_AUDIO_STREAM = "no_audio_stream"
    SOURCE_CHANGED = "source_changed"
    MODEL_MISSING = "model_missing"
    MODEL_FAILED = "model_failed"
    SERVER_UNAVAILABLE = "server_unavailable"
    OUT_OF_MEMORY = "out_of_memory"
    STORE_UNREACHABLE = "store_unreachable"
    STORE_REFUSED = "store_refused"
    ARTIFACT_MISSING = "artifact_missing"
    ARTIFACT_DAMAGED = "artifact_damaged"
    LEDGER_UNREACHABLE = "ledger_unreachable"
    LEASE_LOST = "lease_lost"
    OUTPUT_NOT_WRITABLE = "output_not_writable"
    DISK_FULL = "disk_full"
    TIMED_OUT = "timed_out"
    DECODER_CRASHED = "decoder_crashed"
    DECODER_OVER_LIMIT = "decoder_over_limit"
    QUARANTINED = "quarantined"
    BAD_SETTINGS = "bad_settings"
    ENGINE_NOT_STARTED = "engine_not_started"
    ENGINE_NOT_DEPLOYED = "engine_not_deployed"
    INTERNAL = "internal"

    @property
    def is_retryable(self) -> bool:
        """True where the cause may pass by itself: networks, memory pressure, time limits."""
        return self in _RETRYABLE


_RETRYABLE = frozenset(
    {
        ErrorCode.SERVER_UNAVAILABLE,
        ErrorCode.OUT_OF_MEMORY,
        ErrorCode.STORE_UNREACHABLE,
        ErrorCode.LEDGER_UNREACHABLE,
        ErrorCode.TIMED_OUT,
    }
)


class DeepSoundError(Exception):
    """A failure with a code, the thing it concerns, and what to do about it.

    `str(error)` is one plain line: `where: what; remedy`. The parts are kept as they are, and hold no secrets.
    """

    def __init__(self, code: ErrorCode, what: str, *, where: str = "", remedy: str = "") -> None:
        self.code = code
        self.what = what
        self.where = where
        self.remedy = remedy
        line = f"{where}: {what}" if where else what
        line = f"{line}; {remedy}" if remedy else line
        super().__init__(speakable(" ".join(line.split())))

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.code, self.what, self.where, self.remedy)


def _rebuild(code: ErrorCode, what: str, where: str, remedy: str) -> DeepSoundError:
    return DeepSoundError(code, what, where=where, remedy=remedy)
