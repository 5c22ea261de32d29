"""Fits the model of deepsound/detection/person_sounds.py: does a two-second window hold nobody, a voice, or many?

    python -m benchmarks.fit_person_sounds --animals PATH... --things PATH... --voices PATH... [--without _desc]

On 1,300 sounds of four seconds that are made here, of the material of the half `development` alone, and on
recordings of a second and more (files, or folders and their subfolders), each as it is and over a bed. Prints how
many sounds of each kind are called people by models that were fitted without them, and the coefficients of the
model fitted on all.
"""

import argparse
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from benchmarks.recordings import SHORTEST, seconds
from benchmarks.voiceover_clips import background_sounds, people_samples
from benchmarks.voiceover_clips.people_samples import RATE, SPEAKERS
from deepsound.detection.person_sounds import FEATURES, STEP, WINDOW, window_features
from deepsound.detection.speech_activity import measure_speech
from deepsound.media.audio import read_mono, write_float_wav
from deepsound.spans import Span, intersect, total
from tests.voice_samples import Sound, active_spans, mix_at, place

HALF = "development"
SECONDS = 4.0
SOUNDS, BUZZES = 1200, 100
LEVELS = (-5.0, 0.0, 0.0, 5.0, 10.0, 15.0)
PEOPLE = (5, 7, 9, 9, 9, 12, 16)
FOLDS = 5
NOBODY, ONE, MANY = range(3)
CLASSES = {
    "crowd": MANY,
    **dict.fromkeys(("laughter", "singing", "narration", "voices", "voices over a bed"), ONE),
}
"""Kinds of sound with people in them; all others have none."""

SHARES = {NOBODY: 0.6, ONE: 0.2, MANY: 0.2}
"""What each class weighs: a missed voice leaves the sound as it is, an imagined one takes something away."""

FULL = 0.8
"""Share of a window in which somebody is heard from which it counts as one with people."""

Rows = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Example:
    """A sound: `rows` (n, features) of the windows that people are heard in, or of all where there are none."""

    kind: str
    rows: Rows

    @property
    def label(self) -> int:
        return CLASSES.get(self.kind, NOBODY)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for kind in ("animals", "things", "voices"):
        parser.add_argument(f"--{kind}", type=Path, nargs="+", required=True, metavar="PATH")
    parser.add_argument("--without", default="\0", help="leave out names with this in them")
    asked = parser.parse_args()
    files = dict.fromkeys(
        (kind, file)
        for kind in ("animals", "things", "voices")
        for path in getattr(asked, kind)
        for file in recorded(path, asked.without)
    )
    with ProcessPoolExecutor(2) as pool:
        examples = [each for both in pool.map(measured, files, chunksize=8) for each in both]
        examples += pool.map(made, range(SOUNDS), chunksize=8)
        examples += pool.map(buzz, range(BUZZES), chunksize=8)
    examples = [example for example in examples if len(example.rows)]
    odds = out_of_fold(examples)
    shift = calibrated(examples, odds)
    for kind, likely in by_kind(examples, odds + shift):
        print(f"{kind}: {np.mean(likely >= 0):.3f} of {likely.size} called people")
    print("\ncoefficients of", ", ".join(FEATURES), "and the constant")
    for name, weights in zip(("one voice", "many voices"), fitted(examples), strict=True):
        print(name, np.round(np.append(weights[:-1], weights[-1] + shift), 3).tolist())


def made(number: int) -> Example:
    """The sound of this number: in turn a crowd, a laugh, a song, a narrator, something else and nothing human."""
    rng = np.random.default_rng([1, number])
    kind = ("crowd", "laughter", "singing", "narration", "bed", "mistakable")[number % 6]
    beds, seed = background_sounds.BEDS[HALF] | background_sounds.MUSIC[HALF], int(rng.integers(2**31))
    if kind in ("bed", "mistakable"):
        sound, spans = _nobody(kind, rng), ()
    else:
        voice = place(_voice(kind, seed, rng), float(rng.uniform(0.1, 0.7)), SECONDS)
        bed = beds[str(rng.choice(list(beds)))](SECONDS, int(rng.integers(2**31)))
        sound, spans = mix_at(voice, bed, float(rng.choice(LEVELS))).mix, active_spans(voice)
    rows = _heard(sound)
    return Example(kind, rows[[_is_full(index, spans) for index in range(len(rows))]] if spans else rows)


def buzz(number: int) -> Example:
    """A held tone, as of a mains transformer, a motor or an organ: pure, or with harmonics even or odd."""
    rng = np.random.default_rng([2, number])
    harmonics = np.arange(1, rng.choice([2, 6, 40]), rng.choice([1, 2]))
    phase = 2 * np.pi * rng.uniform(40, 400) * np.arange(round(SECONDS * RATE)) / RATE
    tone = np.sin(phase[:, None] * harmonics) @ (1 / harmonics ** rng.uniform(0.3, 1.5))
    tone *= rng.uniform(0.02, 0.3) / np.sqrt(np.square(tone).mean())
    return Example("buzz", _heard((tone + 0.001 * rng.standard_normal(tone.size)).astype(np.float32)))


def _heard(sound: Sound) -> Rows:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sound.wav"
        write_float_wav(file, RATE, 1, [sound[:, np.newaxis]])
        return window_features(measure_speech(file)[0])


def _voice(kind: str, seed: int, rng: np.random.Generator) -> Sound:
    speaker, line = str(rng.choice(SPEAKERS[HALF])), int(rng.integers(4))
    if kind == "crowd":
        return people_samples.crowd(SPEAKERS[HALF], seed, people=int(rng.choice(PEOPLE)))
    if kind == "laughter":
        return people_samples.laugh(speaker, seed)
    return people_samples.sing(speaker, line, seed) if kind == "singing" else people_samples.say(speaker, line)


def _nobody(kind: str, rng: np.random.Generator) -> Sound:
    """A bed, or one of the sounds that might be taken for a voice, half of these over a bed."""
    makers = (
        background_sounds.MISTAKABLE[HALF]
        if kind == "mistakable"
        else background_sounds.BEDS[HALF] | background_sounds.MUSIC[HALF]
    )
    sound = makers[str(rng.choice(list(makers)))](SECONDS, int(rng.integers(2**31)))
    if kind == "mistakable" and rng.random() < 0.5:
        sound = _over_a_bed(sound, rng)
    return (sound * rng.uniform(0.3, 1.0)).astype(np.float32)


def _is_full(index: int, spans: Sequence[Span]) -> bool:
    window = Span(index * STEP, index * STEP + WINDOW)
    return total(intersect(spans, [window])) >= FULL * WINDOW


def _over_a_bed(sound: Sound, rng: np.random.Generator) -> Sound:
    bed = background_sounds.BEDS[HALF][str(rng.choice(list(background_sounds.BEDS[HALF])))](
        SECONDS, int(rng.integers(2**31))
    )
    return mix_at(sound, bed, float(rng.uniform(0, 15))).mix


def recorded(path: Path, without: str) -> Iterator[Path]:
    """The recordings there that are long enough."""
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if file.is_file() and without not in file.name and seconds(file) >= SHORTEST:
            yield file


def measured(recording: tuple[str, Path]) -> list[Example]:
    """The recording as it is, and its first sounding seconds, over and over, over a bed."""
    kind, file = recording
    sound = np.concatenate(list(read_mono(file, RATE, SECONDS)))
    sounding = active_spans(sound)
    if not sounding:
        return []
    again = np.resize(sound[round(sounding[0].start * RATE) :], round(SECONDS * RATE))
    mixed = _over_a_bed(again, np.random.default_rng(list(file.name.encode())))
    return [Example(kind, window_features(measure_speech(file)[0])), Example(f"{kind} over a bed", _heard(mixed))]


def fitted(examples: Sequence[Example]) -> tuple[Rows, Rows]:
    """Coefficients and constant, (features + 1,), of one voice and of many against nobody.

    Multinomial logistic regression with a unit Gaussian prior on standardised features. Every kind of sound counts
    the same within its class, and every sound within its kind.
    """
    rows = np.concatenate([example.rows for example in examples])
    labels = np.concatenate([np.full(len(example.rows), example.label) for example in examples])
    scale = StandardScaler().fit(rows)
    model = LogisticRegression(C=1.0, max_iter=5000).fit(scale.transform(rows), labels, _weights(examples))
    raw = model.coef_ / scale.scale_
    constants = model.intercept_ - raw @ scale.mean_
    against = np.column_stack((raw, constants))
    return against[ONE] - against[NOBODY], against[MANY] - against[NOBODY]


def _weights(examples: Sequence[Example]) -> Rows:
    kinds = {label: {each.kind for each in examples if each.label == label} for label in (NOBODY, ONE, MANY)}
    count = {kind: sum(each.kind == kind for each in examples) for kind in {each.kind for each in examples}}
    weights = [
        np.full(len(each.rows), SHARES[each.label] / len(kinds[each.label]) / count[each.kind] / len(each.rows))
        for each in examples
    ]
    return np.concatenate(weights) * sum(len(each.rows) for each in examples)


def log_odds(model: tuple[Rows, Rows], example: Example) -> float:
    """Of the window in which people are likeliest."""
    one, many = (example.rows @ weights[:-1] + weights[-1] for weights in model)
    return float(np.logaddexp(one, many).max())


def out_of_fold(examples: Sequence[Example]) -> Rows:
    """Each sound's log odds by a model that was fitted without it, (n,)."""
    fold = np.random.default_rng(0).integers(FOLDS, size=len(examples))
    odds = np.zeros(len(examples))
    for held_back in range(FOLDS):
        model = fitted([each for each, number in zip(examples, fold, strict=True) if number != held_back])
        for index in np.flatnonzero(fold == held_back).tolist():
            odds[index] = log_odds(model, examples[index])
    return odds


def calibrated(examples: Sequence[Example], odds: Rows) -> float:
    """What to add to the log odds of the likeliest window, the highest of many, to make them the sound's."""
    weights = _weights([Example(example.kind, example.rows[:1]) for example in examples])
    people = np.array([example.label != NOBODY for example in examples], np.float64)
    return float(brentq(lambda shift: weights @ (expit(odds + shift) - people), -10.0, 10.0))


def by_kind(examples: Sequence[Example], odds: Rows) -> Iterable[tuple[str, Rows]]:
    kinds = np.array([example.kind for example in examples])
    return [(kind, odds[kinds == kind]) for kind in dict.fromkeys(kinds.tolist())]


if __name__ == "__main__":
    main()
