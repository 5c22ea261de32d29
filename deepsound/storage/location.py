"""Where a file is, as people write it: a path, or `s3://bucket/key`."""

from dataclasses import dataclass
from pathlib import Path

from deepsound.errors import BadSettingsError

_SCHEME = "s3://"


@dataclass(frozen=True, slots=True)
class InBucket:
    """An object, or what all objects below a prefix have in common; its text is `s3://bucket/key`."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{_SCHEME}{self.bucket}/{self.key}".removesuffix("/")

    def __truediv__(self, name: str) -> "InBucket":
        return InBucket(self.bucket, f"{self.key}/{name}" if self.key else name)


Location = Path | InBucket
"""Where a file is: on a disk of this machine, or in a bucket."""


def location(text: str) -> Location:
    """A path, or `s3://bucket/key`. Raises DeepSoundError (BAD_SETTINGS)."""
    if not text.startswith(_SCHEME):
        return Path(text)
    bucket, _, key = text.removeprefix(_SCHEME).partition("/")
    if not bucket or "@" in bucket:
        raise BadSettingsError(
            "this names no bucket",
            where=_SCHEME,
            remedy="give s3://bucket/prefix; keys go into DEEPSOUND_S3_ACCESS_KEY and _SECRET_KEY",
        )
    return InBucket(bucket, key.removesuffix("/"))
