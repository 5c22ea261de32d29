"""Long voices without words: what both detectors hear something of is people, what one hears is an animal."""

import numpy as np
import pytest

from deepsound.speech.people import LEAST_SUPPORT, PEOPLE_RULE, people_heard

FRAME, HOP, SECONDS = 0.032, 0.01, 6.0


def heard(probability=0.2, speech=0.0, singing=0.0, music=0.0, start=1.0, seconds=3.0):
    """One event from `start` on, in silence; `probability` is what the first detector makes of it."""
    track = np.zeros(round(SECONDS / FRAME), np.float32)
    track[round(start / FRAME) : round((start + seconds) / FRAME)] = probability
    events = np.zeros((round(SECONDS / HOP), 3), np.float32)
    events[round(start / HOP) : round((start + seconds) / HOP)] = (speech, singing, music)
    return people_heard(track, FRAME, events, HOP, SECONDS)


@pytest.mark.parametrize(
    "what", [{"speech": 0.8}, {"singing": 0.9}, {"speech": 0.6, "singing": 0.7, "music": 0.9}]
)
def test_laughter_singing_and_a_crowd_are_people(what):
    (people,) = heard(**what)
    assert (people.span.start, people.span.end) == (pytest.approx(1.0), pytest.approx(4.0))
    assert people.support == pytest.approx(0.2, abs=0.01)


def test_what_the_first_detector_hears_nothing_of_is_an_animal():
    assert heard(probability=LEAST_SUPPORT / 2, speech=0.95) == ()


def test_a_short_call_is_not_enough():
    assert heard(speech=0.95, seconds=PEOPLE_RULE.min_length - 0.1) == ()


def test_singing_with_instruments_in_it_and_no_words_is_taken_for_an_instrument():
    assert heard(singing=0.9, music=0.9) == ()


def test_silence_holds_nobody():
    assert heard() == ()
    assert people_heard(np.zeros(0, np.float32), FRAME, np.zeros((0, 3), np.float32), HOP, 0.0) == ()
