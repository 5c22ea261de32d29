"""When people are in the picture, how that cuts speech, and what it makes likely: the pure part of `evidence`."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepsound.detection.person_sounds import PERSON_SOUND_RULE
from deepsound.reasoning.evidence.visibility import (
    MIN_MOUTH_FRAMES,
    MIN_MOUTH_SHARE,
    MIN_PIECE_SECONDS,
    PRESENCE_SECONDS,
    FaceTimeline,
    split_by_visibility,
)
from deepsound.reasoning.evidence.voice_over_probability import (
    MOVING_MOUTH,
    PROBABILITY_FLOOR,
    STILL_MOUTH,
    HeardVoice,
    voice_over_probability,
)
from deepsound.spans import Span, intersect, merge, total

RATE = 4.0


def timeline(scores, cuts=(), duration=None, times=None) -> FaceTimeline:
    """Frames looked at four times a second, with shots beginning at the rows `cuts`."""
    count = len(scores)
    time = np.arange(count) / RATE if times is None else np.array(times, np.float64)
    new_shot = np.isin(np.arange(count), cuts)
    score = np.array(scores, np.float32)
    end = time[-1] + 1 / RATE if duration is None else duration
    watched = np.zeros(0, np.float32)
    faces = (score >= 0.5).astype(np.int32)
    return FaceTimeline(
        time, faces, score, new_shot, watched.astype(np.float64), watched, watched, float(end), RATE
    )


def test_nobody_seen_is_nobody_there():
    assert timeline([0.1] * 40).people_visible() == ()


def test_a_person_is_there_for_some_seconds_around_a_sighting():
    (there,) = timeline([0.0] * 20 + [0.9] + [0.0] * 39).people_visible()
    assert there.start == pytest.approx(5.0 - PRESENCE_SECONDS)
    assert there.end == pytest.approx(5.25 + PRESENCE_SECONDS)


def test_a_face_just_found_in_a_single_look_is_a_mistake():
    assert timeline([0.3, 0.55, 0.3]).people_visible() == ()
    assert timeline([0.3, 0.55, 0.55]).people_visible() != ()
    assert timeline([0.3, 0.55, 0.55], cuts=[2]).people_visible() == ()
    assert timeline([0.3, 0.7, 0.3]).people_visible() != ()


def test_a_person_stays_within_the_shot_they_were_seen_in():
    (there,) = timeline([0.0] * 8 + [0.9] * 4 + [0.0] * 8, cuts=[8, 12]).people_visible()
    assert there.start == pytest.approx(2.0, abs=1 / RATE / 2)
    assert there.end == pytest.approx(3.0, abs=1 / RATE / 2)


def test_a_sighting_in_one_shot_says_nothing_about_the_next_even_if_someone_comes_later_there():
    people = timeline([0.9] * 4 + [0.0] * 40 + [0.9] * 4, cuts=[4]).people_visible()
    assert [span.duration for span in people] == [pytest.approx(0.875), pytest.approx(1.0 + PRESENCE_SECONDS)]


def test_a_frame_on_show_for_long_counts_as_long_as_it_is_shown():
    """A still held for 10 s, then a landscape: the cut is just before the second frame, not half-way."""
    (there,) = timeline([0.9, 0.1], cuts=[1], times=[0.0, 10.0], duration=20.0).people_visible()
    assert there == Span(0.0, 10.0 - 1 / RATE / 2)


def test_a_video_of_one_frame_is_one_shot():
    one = timeline([0.9], duration=0.04)
    assert one.shots() == (Span(0.0, 0.04),)
    assert one.people_visible() == (Span(0.0, 0.04),)


def test_scores_in_a_span_are_those_of_the_frames_on_show_in_it():
    seen = timeline([0.0, 0.1, 0.2, 0.3])
    assert seen.scores_in(Span(0.3, 0.6)).tolist() == pytest.approx([0.1, 0.2])
    assert seen.scores_in(Span(0.3, 0.4)).tolist() == pytest.approx([0.1])
    assert seen.scores_in(Span(0.9, 50.0)).tolist() == pytest.approx([0.3])


rows = st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=60)


@given(rows, st.floats(0, 5))
def test_shots_tile_the_video_and_every_sighting_is_inside_what_is_seen(rows, more):
    scores, cuts = zip(*rows, strict=True)
    seen = timeline(scores, np.flatnonzero(cuts), duration=len(rows) / RATE + more)
    shots = seen.shots()
    assert shots[0].start == 0.0
    assert shots[-1].end == seen.duration
    assert all(one.end == two.start for one, two in pairwise(shots))
    people = seen.people_visible()
    assert all(0 <= span.start < span.end <= seen.duration for span in people)
    for time, found in zip(seen.time, seen.found, strict=True):
        assert not found or any(span.start <= time < span.end for span in people)
    for shot in shots:
        if not any(shot.start <= time < shot.end for time in seen.time[seen.found]):
            assert total(intersect(people, [shot])) == 0.0


def spans(longest: float) -> st.SearchStrategy[Span]:
    return st.tuples(st.floats(0, 20), st.floats(0.001, longest)).map(lambda s: Span(s[0], s[0] + s[1]))


@given(spans(15.0), st.lists(spans(4.0), max_size=8))
def test_pieces_of_a_speech_tile_it_alternate_and_are_long_enough(speech, people):
    pieces = split_by_visibility(speech, merge(people))
    assert pieces[0].span.start == speech.start
    assert pieces[-1].span.end == speech.end
    assert all(one.span.end == two.span.start for one, two in pairwise(pieces))
    assert all(one.person_visible != two.person_visible for one, two in pairwise(pieces))
    assert len(pieces) == 1 or all(piece.span.duration >= MIN_PIECE_SECONDS for piece in pieces)


@given(spans(15.0), spans(20.0))
def test_a_speech_on_one_side_stays_whole(speech, people):
    (piece,) = split_by_visibility(speech, [Span(speech.start - 1, speech.end + 1)])
    assert piece.person_visible
    (piece,) = split_by_visibility(speech, [Span(speech.end + people.start, speech.end + people.end)])
    assert not piece.person_visible


def test_a_sliver_takes_its_neighbours_side():
    pieces = split_by_visibility(Span(0.0, 4.0), [Span(0.0, 2.0), Span(2.2, 4.0)])
    assert [(piece.span, piece.person_visible) for piece in pieces] == [(Span(0.0, 4.0), True)]
    pieces = split_by_visibility(Span(1.8, 4.0), [Span(0.0, 2.0)])
    assert [(piece.span, piece.person_visible) for piece in pieces] == [(Span(1.8, 4.0), False)]


def watched(mouth, face=0.0, seconds=2.0) -> FaceTimeline:
    """A mouth watched twelve times a second; `mouth` may be one value or one a frame."""
    time = np.arange(round(seconds * 12)) / 12
    mouth, face = (np.broadcast_to(np.float32(value), time.shape).copy() for value in (mouth, face))
    nothing = np.zeros(1, np.float32)
    return FaceTimeline(np.zeros(1), np.ones(1, np.int32), nothing, nothing > 1, time, mouth, face, seconds, RATE)


def test_a_mouth_moves_as_much_as_it_changes_beyond_its_face():
    assert watched(0.3, face=0.1).mouth_movement(Span(0.0, 2.0)) == pytest.approx(0.2)
    assert watched(0.02, face=0.02).mouth_movement(Span(0.0, 2.0)) == pytest.approx(MIN_MOUTH_SHARE * 0.02)


def test_where_the_whole_face_moves_its_mouth_may_move_too():
    assert watched(0.4, face=0.5).mouth_movement(Span(0.0, 2.0)) > MOVING_MOUTH


def test_pauses_do_not_make_a_mouth_still():
    busy = np.where(np.arange(24) % 4 == 0, 0.3, 0.0)
    assert watched(busy).mouth_movement(Span(0.0, 2.0)) > MOVING_MOUTH


def test_a_mouth_seen_too_seldom_says_nothing():
    seen = watched(0.0, seconds=0.5)
    assert seen.mouth_movement(Span(0.0, 0.5)) == 0.0
    assert seen.mouth_movement(Span(0.0, 2.0)) is None
    assert seen.mouth_movement(Span(0.0, (MIN_MOUTH_FRAMES - 1) / 12)) is None
    assert timeline([0.9] * 8).mouth_movement(Span(0.0, 2.0)) is None


def heard(
    seconds=3.0,
    confidence=0.95,
    score=0.05,
    confirmed_share=1.0,
    people=0.0,
    wordless=False,
    visible=False,
    movement=None,
) -> HeardVoice:
    scores = np.full(5, score, np.float32)
    span = Span(1.0, 1.0 + seconds)
    return HeardVoice(span, wordless, confidence, confirmed_share, people, visible, scores, movement)


def probability(*voices: HeardVoice) -> float:
    return voice_over_probability(sum(voice.weight for voice in voices))


def test_no_voice_is_as_unlikely_as_doubt_allows():
    assert probability() == PROBABILITY_FLOOR


def test_plain_narration_is_nearly_sure():
    assert probability(heard()) > 0.95


@pytest.mark.parametrize(
    "weak",
    [
        heard(seconds=0.3),
        heard(confidence=0.55, confirmed_share=0.0),
        heard(score=0.49),
        heard(seconds=0.4, confidence=0.7),
        heard(seconds=1.1, confidence=0.74, confirmed_share=0.0),
        heard(wordless=True),
        heard(wordless=True, people=0.3),
        heard(seconds=0.5, wordless=True, people=0.6),
    ],
)
def test_a_word_a_murmur_a_face_just_missed_and_a_lone_opinion_do_not_make_a_verdict(weak):
    assert probability(weak) < 0.35


@given(st.floats(PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR), st.floats(PERSON_SOUND_RULE.min_length, 60))
def test_a_voice_without_words_is_as_likely_as_all_detectors_together_find_it(people, seconds):
    likely = probability(heard(seconds, score=0.0, wordless=True, people=people))
    assert likely == pytest.approx(PROBABILITY_FLOOR + (1 - 2 * PROBABILITY_FLOOR) * people)


def test_whoever_is_in_the_picture_and_keeps_their_mouth_still_is_not_the_one_who_is_heard():
    silent = heard(visible=True, movement=STILL_MOUTH)
    assert silent.mouths_still
    assert silent.off_screen
    assert probability(silent) > 0.95


@pytest.mark.parametrize("movement", [MOVING_MOUTH, 1.0, None])
def test_a_mouth_that_moves_or_cannot_be_watched_may_be_the_one_that_speaks(movement):
    speaker = heard(visible=True, movement=movement)
    assert not speaker.off_screen
    assert probability(speaker) == PROBABILITY_FLOOR


units = st.floats(0, 1)


@given(st.floats(0, 4000), st.floats(0, 100), units, units, units, units, units, units)
def test_more_speech_surer_speech_and_fewer_faces_never_make_it_less_likely(
    seconds, more, confidence, surer, score, lower, confirmed_share, agreed
):
    least = probability(heard(seconds, confidence, score, confirmed_share))
    most = probability(
        heard(seconds + more, max(confidence, surer), min(score, lower), max(confirmed_share, agreed))
    )
    assert PROBABILITY_FLOOR <= least <= most + 1e-12
    assert most <= 1 - PROBABILITY_FLOOR
    assert (
        probability(heard(seconds, confidence, score, confirmed_share), heard(more, surer, lower)) >= least - 1e-12
    )


@given(units, units, units, units, st.booleans())
def test_a_calmer_mouth_and_likelier_people_never_make_it_less_likely(movement, calmer, people, more, wordless):
    def of(moved: float, likely: float) -> float:
        return probability(heard(people=likely, wordless=wordless, visible=True, movement=moved))

    assert of(movement, people) <= of(min(movement, calmer), max(people, more)) + 1e-12
    assert of(STILL_MOUTH, 1.0) > 0.9
