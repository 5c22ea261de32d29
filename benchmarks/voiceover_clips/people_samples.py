"""Sounds of people, made here: speech, singing, laughter, crowds. No speaker is in both halves of the clips.

Everything is mono float32 (n,) at 48 kHz, and the same call gives the same samples.
"""

from functools import cache
from itertools import pairwise

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, sosfilt, sosfiltfilt

from tests.voice_samples import Sound, active_spans, speak

RATE = 48_000

NEURAL = "hibari"
"""A neural voice (hibari-tts, distilled from Kokoro-82M)."""

SPEAKERS = {
    "development": ("en-us", "en-us+f2", "de+m3", "es+f5", "pl+m1", "sv+f1", "pt+m2"),
    "held-out": (NEURAL, "en-gb+f3", "fr+m4", "ru+f4", "it+m6", "nl+m7", "cmn+f3"),
}

_BREATH = butter(2, [800, 4000], "bandpass", fs=RATE, output="sos")

_LINES = {
    "en": (
        "The river rose in the night, and by morning the bridge was gone.",
        "Nobody who stood there that winter ever forgot the sound of the ice.",
        "Every year the whole valley comes down to the harbour to meet the boats.",
        "What you see here was built by hand, stone upon stone, in a single summer.",
    ),
    "de": (
        "Der Fluss stieg in der Nacht, und am Morgen war die Brücke verschwunden.",
        "Jedes Jahr kommt das ganze Tal zum Hafen hinunter, um die Boote zu begrüßen.",
    ),
    "es": (
        "El río creció durante la noche y por la mañana el puente había desaparecido.",
        "Todos los años el valle entero baja al puerto para recibir a los barcos.",
    ),
    "pl": (
        "W nocy rzeka wezbrała, a rano mostu już nie było.",
        "Co roku cała dolina schodzi do portu, by witać łodzie.",
    ),
    "sv": (
        "Floden steg under natten, och på morgonen var bron borta.",
        "Varje år kommer hela dalen ner till hamnen.",
    ),
    "pt": (
        "O rio subiu durante a noite e de manhã a ponte já não existia.",
        "Todos os anos o vale inteiro desce ao porto.",
    ),
    "fr": (
        "La rivière est montée dans la nuit, et au matin le pont avait disparu.",
        "Chaque année toute la vallée descend au port pour accueillir les bateaux.",
    ),
    "ru": (
        "Ночью река поднялась, и к утру моста уже не было.",
        "Каждый год вся долина спускается к гавани встречать лодки.",
    ),
    "it": (
        "Nella notte il fiume salì, e al mattino il ponte non c'era più.",
        "Ogni anno tutta la valle scende al porto.",
    ),
    "nl": (
        "De rivier steeg in de nacht, en tegen de ochtend was de brug weg.",
        "Elk jaar komt het hele dal naar de haven.",
    ),
    "cmn": (
        "夜里河水上涨，到了早晨桥已经不见了。",
        "每年整个山谷的人都会到港口迎接船只。",
    ),
}


def language(speaker: str) -> str:
    """The language a speaker speaks: "en", "de", ..."""
    return "en" if speaker == NEURAL else speaker.partition("+")[0].partition("-")[0]


def say(speaker: str, line: int) -> Sound:
    """One of the lines of the speaker's language."""
    lines = _LINES[language(speaker)]
    return _said(speaker, lines[line % len(lines)])


def sing(speaker: str, line: int, seed: int) -> Sound:
    """A line on a slow tune with vibrato: a vocoder puts its formants on a buzz that has the tune's pitch."""
    rng = np.random.default_rng(seed)
    words = soxr.resample(say(speaker, line), 1.0, 1.7)[: 4 * RATE]  # slower, and its formants put right below
    time = np.arange(words.size) / RATE
    root = rng.choice([131.0, 165.0, 220.0, 262.0])
    steps = rng.choice([0, 2, 4, 5, 7, 9, 12], size=int(time[-1] / 0.55) + 2)
    tune = root * 2 ** (np.repeat(steps, round(0.55 * RATE))[: words.size] / 12)
    smooth = sosfiltfilt(butter(2, 8, fs=RATE, output="sos"), tune)
    vibrato = 1 + 0.012 * np.sin(2 * np.pi * 5.5 * time)
    phase = 2 * np.pi * np.cumsum(smooth * vibrato) / RATE
    buzz = np.sum([np.cos(k * phase) / k**0.6 for k in range(1, 32)], axis=0) + 0.05 * rng.standard_normal(
        words.size
    )
    edges = np.geomspace(90, 7500, 25)
    sung = np.zeros(words.size)
    for low, high in pairwise(edges):
        # Slowing by resampling lowered every formant by 1.7; each band steers the one that far above it.
        steering = butter(2, [low / 1.7, high / 1.7], "bandpass", fs=RATE, output="sos")
        carrying = butter(2, [low, high], "bandpass", fs=RATE, output="sos")
        level = _envelope(sosfilt(steering, words), 12.0)
        band = sosfilt(carrying, buzz)
        sung += band * level / (_envelope(band, 12.0) + 1e-3)
    return _level(sung)


def laugh(speaker: str, seed: int) -> Sound:
    """Bouts of short vowels four to six times a second, falling in pitch and strength, with breath between."""
    rng = np.random.default_rng(seed)
    syllable = _said(speaker, "ha ha ha.")
    start = active_spans(syllable, gap=0.0)[0]
    vowel = syllable[round(start.start * RATE) : round(min(start.end, start.start + 0.16) * RATE)]
    sound = np.zeros(round(3.2 * RATE))
    at, per_second = 0.05, rng.uniform(4.2, 5.6)
    for bout in range(2):
        count = int(rng.integers(4, 8))
        for beat in range(count):
            pitch = (1.35 - 0.45 * beat / count) * rng.uniform(0.95, 1.05)
            note = soxr.resample(vowel, pitch, 1.0)
            note = note * np.hanning(note.size) * (1.0 - 0.6 * beat / count)
            breath = sosfilt(
                butter(2, [800, 4000], "bandpass", fs=RATE, output="sos"), rng.standard_normal(note.size)
            )
            first = round(at * RATE)
            part = slice(first, min(first + note.size, sound.size))
            sound[part] += (note + 0.02 * breath * np.hanning(note.size))[: max(0, part.stop - part.start)]
            at += rng.uniform(0.9, 1.1) / per_second
        at += rng.uniform(0.15, 0.35) * (bout + 1)
    return _level(sound[: round(min(at, 3.2) * RATE)])


def crowd(speakers: tuple[str, ...], seed: int, seconds: float = 3.4, people: int = 9) -> Sound:
    """Many people talking at once in a hall, of which half is heard directly."""
    rng = np.random.default_rng(seed)
    sound = np.zeros(round(seconds * RATE))
    for person in range(people):
        voice = say(speakers[int(rng.integers(len(speakers)))], int(rng.integers(4)))
        voice = soxr.resample(voice, rng.uniform(0.85, 1.2), 1.0)
        voice = np.roll(np.resize(voice, sound.size), int(rng.integers(sound.size)))
        sound += voice * rng.uniform(0.4, 1.0) * (1.5 if person == 0 else 1.0)
    tail = np.exp(-np.arange(round(0.5 * RATE)) / (0.12 * RATE)) * rng.standard_normal(round(0.5 * RATE))
    tail[0] += np.sqrt(np.square(tail).sum())
    wet = fftconvolve(sound, tail)[: sound.size]
    return _level(
        wet * np.minimum(1, np.minimum(np.arange(wet.size), wet.size - np.arange(wet.size)) / (0.1 * RATE))
    )


def _said(speaker: str, text: str) -> Sound:
    return _neural(text) if speaker == NEURAL else speak(text, speaker)


@cache
def _neural(text: str) -> Sound:
    from hibari import Hibari  # an extra of its own, needed by this benchmark alone

    said = soxr.resample(np.asarray(Hibari()(text, seed=0), np.float32), 24_000, RATE)
    loud = np.flatnonzero(np.abs(said) > 0.01 * np.abs(said).max())
    return _level(said[loud[0] : loud[-1] + 1])


def _envelope(sound: NDArray[np.floating], cutoff: float) -> NDArray[np.floating]:
    return np.maximum(sosfiltfilt(butter(2, cutoff, fs=RATE, output="sos"), np.abs(sound)), 0.0)


def _level(sound: NDArray[np.floating]) -> Sound:
    scaled = sound * (0.1 / max(1e-9, float(np.sqrt(np.square(sound).mean()))))
    return (scaled * min(1.0, 0.95 / np.abs(scaled).max())).astype(np.float32)
