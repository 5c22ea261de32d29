"""Records of runs that tasks and flows pass to the ledger: plain data without a database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from db.schema.hashing import manifest_sha256, settings_sha256
from db.schema.records import CodeVersion
from deepsound.canonical_json import Json


class EventKind(StrEnum):
    """What can be done to a whole run. A run without events, such as a local one, is active."""

    SUBMITTED = "submitted"
    """Handed to workers; `details` hold the submitted options."""
    PAUSED = "paused"
    RESUMED = "resumed"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    """Steps were opened again, by `db.write.retries`. The run's state does not change."""
    BUDGET_SPENT = "budget_spent"


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A readable source file: its hash, size in bytes, media type. `probe` is None if it is not a media file."""

    sha256: str
    size: int
    media_type: str
    probe: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class NewItem:
    """A line of a run's manifest. `source` is as given; `video` is None for an unreadable file."""

    source: str
    output_name: str
    video: VideoFile | None = None
    overrides: Mapping[str, Json] = field(default_factory=dict[str, Json])


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to register: its frozen settings and its items in order."""

    name: str
    settings: Mapping[str, Json]
    items: Sequence[NewItem]
    code: CodeVersion

    @property
    def settings_sha256(self) -> str:
        """Hash of the settings."""
        return settings_sha256(self.settings)

    @property
    def manifest_sha256(self) -> str:
        """Hash of the manifest: source, content, overrides and output name of every item, in order."""
        return manifest_sha256(
            (item.source, item.video.sha256 if item.video else None, item.overrides, item.output_name)
            for item in self.items
        )
