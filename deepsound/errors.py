"""Errors as classes, each with a stable code for the ledger, a default remedy, and whether a retry can help.

DeepSoundError
    SourceError
        SourceMissingError, SourceEmptyError, SourceNotMediaError, SourceCorruptError, SourceChangedError,
        NoVideoStreamError, NoAudioStreamError
    DecoderError
        DecoderCrashedError, DecoderOverLimitError
    ModelError
        ModelMissingError, ModelFailedError
    StoreError
        StoreUnreachableError (retryable), StoreRefusedError, ArtifactMissingError, ArtifactDamagedError
    LedgerError
        LedgerUnreachableError (retryable), LeaseLostError
    BadSettingsError
        NoSuchRunError
    ServerUnavailableError (retryable), MemoryExhaustedError (retryable), TimedOutError (retryable)
    OutputNotWritableError, DiskFullError, QuarantinedError
    PrefectNotStartedError, PrefectNotDeployedError
    InternalError
"""

import errno
import os
from enum import StrEnum
from typing import ClassVar

from deepsound.terminal_text import terminal_safe


class ErrorCode(StrEnum):
    """The codes by which the ledger groups failures. They never change; each belongs to one class below."""

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


class DeepSoundError(Exception):
    """A failure with a code, the thing it concerns, and what to do about it. Raise a subclass.

    `str(error)` is one plain line: `where: what; remedy`. The parts are kept as they are, and hold no secrets.
    A subclass that declares `code` is the one that `error_class` returns for it; `remedy` is used where the
    caller names none.
    """

    code: ClassVar[ErrorCode]
    remedy_by_default: ClassVar[str] = ""
    is_retryable: ClassVar[bool] = False

    def __init__(self, what: str, *, where: str = "", remedy: str | None = None) -> None:
        self.what = what
        self.where = where
        self.remedy = self.remedy_by_default if remedy is None else remedy
        line = f"{where}: {what}" if where else what
        line = f"{line}; {self.remedy}" if self.remedy else line
        super().__init__(terminal_safe(" ".join(line.split())))

    def __init_subclass__(cls) -> None:
        if "code" in vars(cls):
            _BY_CODE[cls.code] = cls

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.remedy)

    def renamed(self, where: str) -> "DeepSoundError":
        """The same failure, told about another thing: a source instead of its local copy."""
        return type(self)(self.what, where=where, remedy=self.remedy)


_BY_CODE: dict[ErrorCode, type[DeepSoundError]] = {}


def _rebuild(kind: type[DeepSoundError], what: str, where: str, remedy: str) -> DeepSoundError:
    return kind(what, where=where, remedy=remedy)


def error_class(code: str) -> type[DeepSoundError]:
    """The class of a code, e.g. one read from the ledger. Raises ValueError for an unknown code."""
    return _BY_CODE[ErrorCode(code)]


class SourceError(DeepSoundError):
    """A source file can't be used."""


class SourceMissingError(SourceError):
    """There is no such file, or it can't be read."""

    code = ErrorCode.SOURCE_MISSING
    remedy_by_default = "check the path"


class SourceEmptyError(SourceError):
    """The file has no bytes."""

    code = ErrorCode.SOURCE_EMPTY
    remedy_by_default = "copy it again"


class SourceNotMediaError(SourceError):
    """The file is no audio or video."""

    code = ErrorCode.SOURCE_NOT_MEDIA
    remedy_by_default = "name a media file"


class SourceCorruptError(SourceError):
    """The file is damaged."""

    code = ErrorCode.SOURCE_CORRUPT
    remedy_by_default = "copy it again, or repair it"


class SourceChangedError(SourceError):
    """The file's bytes differ from those that were registered."""

    code = ErrorCode.SOURCE_CHANGED
    remedy_by_default = "run the command again, which registers it anew"


class NoVideoStreamError(SourceError):
    """The file has no picture."""

    code = ErrorCode.NO_VIDEO_STREAM
    remedy_by_default = "name a file with a video stream"


class NoAudioStreamError(SourceError):
    """The file has no sound, and one is needed."""

    code = ErrorCode.NO_AUDIO_STREAM
    remedy_by_default = "choose a generator that makes sound"


class DecoderError(DeepSoundError):
    """The process that decodes a source ended badly."""


class DecoderCrashedError(DecoderError):
    """A library crashed on the file."""

    code = ErrorCode.DECODER_CRASHED
    remedy_by_default = "copy it again, or convert it with another program"


class DecoderOverLimitError(DecoderError):
    """Decoding took more memory or time than allowed."""

    code = ErrorCode.DECODER_OVER_LIMIT
    remedy_by_default = "convert it to a smaller picture"


class ModelError(DeepSoundError):
    """A model can't be used."""


class ModelMissingError(ModelError):
    """A model's files are not here."""

    code = ErrorCode.MODEL_MISSING
    remedy_by_default = "see `deepsound models list`"


class ModelFailedError(ModelError):
    """A model's files are damaged, or the model can't answer."""

    code = ErrorCode.MODEL_FAILED
    remedy_by_default = "fetch the official file again"


class StoreError(DeepSoundError):
    """The artifact store, or an object in it, can't be used."""


class StoreUnreachableError(StoreError):
    """The store does not answer."""

    code = ErrorCode.STORE_UNREACHABLE
    remedy_by_default = "check that the store is there, then run again"
    is_retryable = True


class StoreRefusedError(StoreError):
    """The store refuses access."""

    code = ErrorCode.STORE_REFUSED
    remedy_by_default = "check the access key and permissions"


class ArtifactMissingError(StoreError):
    """The store lacks bytes that the ledger names."""

    code = ErrorCode.ARTIFACT_MISSING
    remedy_by_default = "restore the store from a backup"


class ArtifactDamagedError(StoreError):
    """Bytes in the store differ from their hash."""

    code = ErrorCode.ARTIFACT_DAMAGED
    remedy_by_default = "restore the store from a backup"


class LedgerError(DeepSoundError):
    """The ledger can't be used."""


class LedgerUnreachableError(LedgerError):
    """The ledger's database does not answer."""

    code = ErrorCode.LEDGER_UNREACHABLE
    remedy_by_default = "check that the database is there, then run again"
    is_retryable = True


class LeaseLostError(LedgerError):
    """Another process works on the step."""

    code = ErrorCode.LEASE_LOST
    remedy_by_default = "wait for the other process"


class BadSettingsError(DeepSoundError):
    """A setting, argument or list is wrong."""

    code = ErrorCode.BAD_SETTINGS
    remedy_by_default = ""


class NoSuchRunError(BadSettingsError):
    """No run in the ledger has this id."""

    remedy_by_default = "check --db, DEEPSOUND_DB and the id"


class ServerUnavailableError(DeepSoundError):
    """A model server does not answer."""

    code = ErrorCode.SERVER_UNAVAILABLE
    remedy_by_default = "check that the server runs, then run again"
    is_retryable = True


class MemoryExhaustedError(DeepSoundError):
    """Memory ran out."""

    code = ErrorCode.OUT_OF_MEMORY
    remedy_by_default = "work on fewer videos at once"
    is_retryable = True


class TimedOutError(DeepSoundError):
    """A step took longer than allowed."""

    code = ErrorCode.TIMED_OUT
    remedy_by_default = "run again"
    is_retryable = True


class OutputNotWritableError(DeepSoundError):
    """Results can't be written."""

    code = ErrorCode.OUTPUT_NOT_WRITABLE
    remedy_by_default = "check the folder and its disk, or choose another with -o"


class DiskFullError(DeepSoundError):
    """A disk or bucket is full."""

    code = ErrorCode.DISK_FULL
    remedy_by_default = "free some space and run again"


class QuarantinedError(DeepSoundError):
    """A step killed its workers and is no longer tried."""

    code = ErrorCode.QUARANTINED
    remedy_by_default = "look at the file, then retry it"


class PrefectNotStartedError(DeepSoundError):
    """Prefect's server can't be reached or started."""

    code = ErrorCode.ENGINE_NOT_STARTED
    remedy_by_default = "see `deepsound doctor`"


class PrefectNotDeployedError(DeepSoundError):
    """Prefect's server does not know our flows."""

    code = ErrorCode.ENGINE_NOT_DEPLOYED
    remedy_by_default = "run `prefect deploy --all`"


class InternalError(DeepSoundError):
    """A defect of this program."""

    code = ErrorCode.INTERNAL
    remedy_by_default = "please report this with the file, if it can be shared"


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_OUT_OF_MEMORY = frozenset({errno.ENOMEM})
_MEMORY_SIGNS = (
    "DefaultCPUAllocator",
    "out of memory",
    "STATUS_ALLOC_FAILED",
    "Cannot allocate memory",
    "bad_alloc",
    "MemoryError",
)
"""How PyTorch's CPU allocator, CUDA, cuBLAS, cuDNN, the system, C++ and Python name it in plain text."""


def is_disk_full(error: OSError) -> bool:
    """Whether the system says that a disk, a quota or a file's largest size is used up."""
    return error.errno in _FULL


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: our own error, Python's, the system's, PyTorch's or a native library's."""
    match error:
        case MemoryExhaustedError() | MemoryError():
            return True
        case DeepSoundError():
            return False
        case OSError():
            return error.errno in _OUT_OF_MEMORY
        case RuntimeError():
            return names_memory(str(error)) or type(error).__name__ == "OutOfMemoryError"
        case _:
            return False


def names_memory(words: str) -> bool:
    """Whether an error's text, of a native library or a dead process, says that memory ran out."""
    return any(sign in words for sign in _MEMORY_SIGNS)


def from_os_error(
    error: OSError, otherwise: type[DeepSoundError], what: str, *, where: str, remedy: str | None = None
) -> DeepSoundError:
    """An OSError as one of ours: a full disk and lack of memory are told apart from all other causes.

    `what` says what could not be done (`results can't be written here`); the system's reason is appended.
    `otherwise` and `remedy` serve for every other cause.
    """
    if is_disk_full(error):
        return DiskFullError(f"{what}: the disk is full", where=where)
    if is_out_of_memory(error):
        return MemoryExhaustedError(f"{what}: out of memory", where=where)
    reason = (error.strerror or (os.strerror(error.errno) if error.errno else "refused")).lower()
    return otherwise(f"{what}: {reason}", where=where, remedy=remedy)
