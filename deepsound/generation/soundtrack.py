"""The generator `soundtrack`: uses the file's own audio as coarse audio.

With it, the later steps remove narration from existing footage; the result is the music-and-effects track.
"""

from collections.abc import Sequence
from pathlib import Path

from deepsound.canonical_json import Json
from deepsound.generation.protocol import GenerationRequest, GenerationResult
from deepsound.media.extract_audio import extract_audio
from deepsound.media.observers import Observer
from deepsound.models.identity import ModelIdentity


class Soundtrack:
    """Extracts the file's own audio, aligned with the picture. Digital silence is a valid track.

    Prompts and seed have no effect.
    """

    name = "soundtrack"
    version = "1"
    # Extracting again gives the same audio, voice included. If separation leaves silence, the generator that needs
    # no model and no network generates the replacement.
    regenerates_with: str | None = "foley"
    concurrency = 1

    @property
    def models(self) -> Sequence[ModelIdentity]:
        """None: there are no weights."""
        return ()

    def observers(self) -> Sequence[Observer]:
        """None: the picture is not used."""
        return ()

    def generate(self, request: GenerationRequest, target: Path) -> GenerationResult:
        """Write the first audio stream as float WAV at its own rate and channels, as long as the picture.

        Raises the errors of `extract_audio`: NoAudioStreamError (the remedy is the foley generator),
        SourceCorruptError and those of writing the file.
        """
        track = extract_audio(request.video, request.footage.info, target)
        notes: dict[str, Json] = {"damaged_packets": track.damaged_packets}
        return GenerationResult(track.sample_rate, track.channels, track.samples, notes)
