"""The gain of a separated voice: all of it inside the spans, none outside, no jump between."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deepsound.separation.removal_gain import FADE_SECONDS, removal_gain, touched_spans
from deepsound.spans import Span

RATE = 1000
FADE = round(FADE_SECONDS * RATE)

instants = st.integers(0, 400).map(lambda hundredths: hundredths / 100)
some_spans = st.lists(st.tuples(instants, instants).map(lambda ends: Span(min(ends), max(ends))), max_size=4)


def test_none_is_everything_and_spans_are_cut_to_the_sound() -> None:
    assert touched_spans(None, 3.0) == (Span(0.0, 3.0),)
    assert touched_spans([Span(1.0, 2.0), Span(1.5, 9.0), Span(7.0, 8.0)], 3.0) == (Span(1.0, 3.0),)
    assert touched_spans(None, 0.0) == ()


def test_a_span_fades_in_and_out_inside_itself() -> None:
    curve = removal_gain([Span(1.0, 2.0)], 4.0, RATE, 0, 4000)
    assert not curve[:1001].any()
    assert not curve[2000:].any()
    assert (curve[1000 + FADE : 2000 - FADE + 1] == 1).all()
    np.testing.assert_allclose(curve[1000 + FADE // 2], 0.5)


def test_there_is_no_fade_at_the_ends_of_the_sound() -> None:
    assert (removal_gain([Span(0.0, 4.0)], 4.0, RATE, 0, 4000) == 1).all()


@given(spans=some_spans, cut=st.integers(0, 4000))
def test_the_gain_has_no_jump_whatever_blocks_it_is_asked_in(spans: list[Span], cut: int) -> None:
    touched = touched_spans(spans, 4.0)
    whole = removal_gain(touched, 4.0, RATE, 0, 4000)
    blocks = [removal_gain(touched, 4.0, RATE, 0, cut), removal_gain(touched, 4.0, RATE, cut, 4000)]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    assert np.abs(np.diff(whole)).max() <= 1 / FADE + 1e-6
    inside = np.zeros(4000, bool)
    for span in touched:
        inside[round(span.start * RATE) : round(span.end * RATE)] = True
    assert not whole[~inside].any()
