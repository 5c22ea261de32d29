"""The generator that generates nothing: the file's own sound is the coarse audio.

This is how narration is taken off an archive reel: what the later steps leave is the music-and-effects track.
"""

from collections.abc import Sequence
from pathlib import Path

from deepsound.canonical_json import Json
from deepsound.generation.protocol import GenerationRequest, GenerationResult
from deepsound.media.extract_audio import extract_audio
from deepsound.media.observers import Observer
from deepsound.models.identity import ModelIdentity


class Soundtrack:
    """Hands over the file's own sound on the picture's clock; digital silence is a legitimate track too.

    Prompts and seed change nothing.
    """

    name = "soundtrack"
    version = "1"
    # A recording can't be made again without its voice: asked twice it is the same sound. So when too little is
    # left after separation, the generator that needs no model and no network makes a new one.
    regenerates_with: str | None = "foley"
    concurrency = 1

    @property
    def models(self) -> Sequence[ModelIdentity]:
        """None."""
        return ()

    def observers(self) -> Sequence[Observer]:
        """None: it does not look at the picture."""
        return ()

    def generate(self, request: GenerationRequest, target: Path) -> GenerationResult:
        """Write the first audio stream as float WAV at its own rate and channels, as long as the picture.

        Raises NoAudioStreamError (the remedy is the foley generator), SourceCorruptError, and those of
        writing the file.
        """
        track = extract_audio(request.video, request.footage.info, target)
        notes: dict[str, Json] = {"damaged_packets": track.damaged_packets}
        return GenerationResult(track.sample_rate, track.channels, track.samples, notes)
