"""Describes a media file from its headers, its packets and one decoded frame."""

from pathlib import Path

from deepsound.media.decoder_pool import run_in_sandbox
from deepsound.media.media_info import VideoInfo


def probe(path: Path) -> VideoInfo:
    """Describe the first video stream of a file and its first audio stream.

    Reads the times of all packets and decodes one frame, in a sandboxed process. Raises SourceMissingError,
    SourceEmptyError, SourceNotMediaError, SourceCorruptError, NoVideoStreamError, and what `run_in_sandbox`
    raises.
    """
    return VideoInfo.from_json(run_in_sandbox("probe", {"video": path}, {}))
