"""The voice-over benchmark: halves that share nothing, clips that are what they are labelled, right figures."""

import numpy as np
import pytest

from benchmarks.voiceover_clips.background_sounds import BEDS, MISTAKABLE, MUSIC
from benchmarks.voiceover_clips.people_samples import SPEAKERS
from benchmarks.voiceover_clips.pictures import SILENT, TALKERS, places, portraits
from benchmarks.voiceover_clips.recipes import HALVES, Recipe, recipes
from benchmarks.voiceover_clips.rendering import CUT, clip
from benchmarks.voiceover_clips.scores import Judged, calibration_error, measures, overlap
from deepsound.cot import Verdict
from deepsound.media.probe import probe
from deepsound.spans import Span


@pytest.mark.parametrize("material", [SPEAKERS, BEDS, MUSIC, MISTAKABLE, TALKERS, SILENT])
def test_no_speaker_sound_or_person_is_in_both_halves(material):
    one, other = (set(material[half]) for half in HALVES)
    assert not one & other


def test_no_picture_is_in_both_halves():
    one, other = ({*places(half), *portraits(half)} for half in HALVES)
    assert not one & other


def test_there_are_more_than_two_hundred_clips_the_same_every_time_and_of_both_kinds():
    made = {half: recipes(half, 0) for half in HALVES}
    assert sum(map(len, made.values())) > 200
    for half, clips in made.items():
        assert clips == recipes(half, 0)
        assert 0.4 < np.mean([recipe.voice_over for recipe in clips]) < 0.6
        assert {recipe.half for recipe in clips} == {half}


def test_a_clip_is_made_once_and_labelled(tmp_path):
    recipe = Recipe(0, "development", "speech past a cut", "astronaut", "en-us", "rain", 5.0, "ball")
    made = clip(recipe, tmp_path, seed=0)
    assert probe(made.video).duration == pytest.approx(4.0)
    assert made.spans[0].start == CUT
    written = made.video.stat().st_mtime_ns
    assert clip(recipe, tmp_path, seed=0) == made
    assert made.video.stat().st_mtime_ns == written


def judged(voice_over: bool, probability: float | None, found: float | None = None) -> Judged:
    kind = "narration" if voice_over else "no voice"
    verdict = Verdict.UNDECIDED if probability is None else Verdict.YES if probability >= 0.5 else Verdict.NO
    return Judged(Recipe(0, "held-out", kind, "whale"), verdict, probability, found, 1.0, 0.5)


def test_precision_recall_and_f1():
    clips = [judged(True, 0.9), judged(True, 0.8), judged(True, 0.2), judged(True, None), judged(False, 0.7)]
    figures = measures(clips)
    assert figures["precision"] == pytest.approx(2 / 3)
    assert figures["recall"] == pytest.approx(2 / 4)
    assert figures["f1"] == pytest.approx(4 / 7)
    assert figures["undecided"] == pytest.approx(1 / 5)
    assert measures([judged(False, 0.1)])["recall"] is None


def test_calibration_error_is_the_gap_between_what_was_said_and_what_is():
    assert calibration_error([judged(True, 1.0), judged(False, 0.0)]) == 0.0
    assert calibration_error([judged(True, 0.75), judged(False, 0.75)]) == pytest.approx(0.25)
    assert calibration_error([judged(True, None)]) is None


def test_overlap_is_intersection_over_union_of_time():
    assert overlap([Span(1.0, 3.0)], [Span(2.0, 4.0)]) == pytest.approx(1 / 3)
    assert overlap([], [Span(2.0, 4.0)]) == 0.0
    assert overlap([Span(1.0, 3.0)], []) is None
