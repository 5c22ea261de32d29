"""From a recipe to a clip on disk: a silent video, its sound beside it, and the spans of voice-over in it."""

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.voiceover_clips import background_sounds, people_samples, pictures
from benchmarks.voiceover_clips.people_samples import RATE, SPEAKERS
from benchmarks.voiceover_clips.pictures import FRAME_RATE, HEIGHT, SILENT, TALKERS, WIDTH, Curve, Film
from benchmarks.voiceover_clips.recipes import Recipe
from deepsound.media.audio import read_mono, write_float_wav
from deepsound.media.extract_audio import extract_audio
from deepsound.media.probe import probe
from deepsound.spans import Span, intersect, merge
from tests.made_clips import write_clip
from tests.voice_samples import Sound, active_spans, mix_at, place

SECONDS = 4.0
CUT = 2.0
_BEDS = {
    half: background_sounds.BEDS[half] | background_sounds.MUSIC[half] | background_sounds.MISTAKABLE[half]
    for half in background_sounds.BEDS
}


@dataclass(frozen=True, slots=True)
class Clip:
    """What lies on disk, and where voice-over is in it."""

    recipe: Recipe
    video: Path
    sound: Path
    spans: tuple[Span, ...]


def clip(recipe: Recipe, folder: Path, seed: int) -> Clip:
    """Make the clip of a recipe in `folder`, or find it there."""
    stem = folder / f"{recipe.half}-{recipe.number:03}"
    video, sound, label = (stem.with_suffix(suffix) for suffix in (".mp4", ".wav", ".json"))
    if not label.exists():
        rng = np.random.default_rng([seed, recipe.number, len(recipe.half)])
        voice = _voice(recipe, rng)
        film, mixed = _film(recipe, voice, rng), _mixed(recipe, voice, rng)
        write_clip(
            video, seconds=SECONDS, rate=FRAME_RATE, size=(WIDTH, HEIGHT), frames=film, options={"crf": "23"}
        )
        write_float_wav(sound, RATE, 1, [mixed[:, np.newaxis]])
        unfinished = label.with_suffix(".part")
        unfinished.write_text(json.dumps([asdict(span) for span in _spans(recipe, voice)]))
        unfinished.replace(label)
    return Clip(recipe, video, sound, tuple(Span(**span) for span in json.loads(label.read_text())))


def _voice(recipe: Recipe, rng: np.random.Generator) -> Sound | None:
    """Everybody who is heard, alone, in four seconds; None where nobody is."""
    line, seed = int(rng.integers(4)), int(rng.integers(2**31))
    if recipe.kind == "crowd":
        heard = people_samples.crowd(SPEAKERS[recipe.half], seed)
    elif recipe.speaker is None:
        return None
    elif recipe.speaker in TALKERS[recipe.half]:
        return _own_voice(recipe)
    elif recipe.kind == "singing":
        heard = people_samples.sing(recipe.speaker, line, seed)
    elif recipe.kind.startswith("laugh"):
        heard = people_samples.laugh(recipe.speaker, seed)
    else:
        heard = people_samples.say(recipe.speaker, line)
    begins = 0.1 if recipe.kind == "speech past a cut" else float(rng.uniform(0.1, 0.7))
    return place(heard, begins, SECONDS)


def _own_voice(recipe: Recipe) -> Sound:
    """What a real talker really says in the piece of footage that is shown (or would be)."""
    footage = TALKERS[recipe.half][str(recipe.speaker)]
    start = round(footage.starts[recipe.number % len(footage.starts)] * RATE)
    return _soundtrack(footage.path)[start : start + round(SECONDS * RATE)]


@cache
def _soundtrack(path: Path) -> Sound:
    with TemporaryDirectory() as folder:
        sound = Path(folder) / "sound.wav"
        extract_audio(path, probe(path), sound)
        return np.concatenate(list(read_mono(sound, RATE, 10.0)))


def _mixed(recipe: Recipe, voice: Sound | None, rng: np.random.Generator) -> Sound:
    bed = None
    if recipe.bed is not None:
        bed = _BEDS[recipe.half][recipe.bed](SECONDS, int(rng.integers(2**31)))
    if voice is None or bed is None:
        alone = voice if voice is not None else bed
        assert alone is not None
        return (alone * rng.uniform(0.3, 1.0)).astype(np.float32)
    if recipe.level is None:
        return voice
    return mix_at(voice, bed, recipe.level).mix


def _film(recipe: Recipe, voice: Sound | None, rng: np.random.Generator) -> Film:
    half, name, seed = recipe.half, recipe.picture, int(rng.integers(2**31))
    if name in pictures.places(half):
        return pictures.place(half, name, SECONDS, seed)
    if name in TALKERS[half] or name in SILENT[half]:
        return pictures.real((TALKERS[half] | SILENT[half])[name], SECONDS, recipe.number)
    film = pictures.person(name, _opening(recipe, voice, rng), seed)
    if recipe.other is None:
        return film
    cut = round(CUT * FRAME_RATE)
    return np.concatenate((film[:cut], pictures.place(half, recipe.other, SECONDS, seed)[cut:]))


def _opening(recipe: Recipe, voice: Sound | None, rng: np.random.Generator) -> Curve:
    """How wide the mouth is in each frame."""
    if recipe.kind in ("narrator off screen", "silent person"):
        return np.zeros(round(SECONDS * FRAME_RATE))
    if recipe.kind in ("dubbed speaker", "mouth without voice"):
        # Their own words, in another language, in about the time that the voice takes.
        speakers = SPEAKERS[recipe.half]
        other = people_samples.say(speakers[int(rng.integers(len(speakers)))], int(rng.integers(4)))
        begins = 0.3 if voice is None else active_spans(voice)[0].start
        voice = place(other, begins + float(rng.uniform(-0.1, 0.1)), SECONDS)
    assert voice is not None
    step = RATE // FRAME_RATE
    level = np.sqrt(np.square(voice[: len(voice) // step * step].reshape(-1, step)).mean(axis=1))
    wide = np.clip(level / max(1e-9, float(np.quantile(level, 0.95))), 0, 1) ** 0.7
    late = int(rng.integers(-1, 3))
    return np.roll(wide, late) * rng.uniform(0.25, 0.8)


def _spans(recipe: Recipe, voice: Sound | None) -> tuple[Span, ...]:
    if voice is None or not recipe.voice_over:
        return ()
    active = merge(active_spans(voice))
    return intersect(active, [Span(CUT, SECONDS)]) if recipe.other else active
