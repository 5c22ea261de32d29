"""Which spans of a judgement go to the separator: those in which nobody who may be speaking is in the picture."""

import pytest

from db.schema.records import FinishedStep, StepRef
from deepsound.pipeline import Step
from deepsound.spans import Span
from tasks.steps.judge import off_screen_spans


def judged(*voices: dict) -> FinishedStep:
    result = {"voices": [{"start": 1.0, "end": 2.0, "confidence": 0.9} | voice for voice in voices]}
    return FinishedStep(StepRef(Step.JUDGE, 1), 1, "evidence", result, 0.9, (), {})


@pytest.mark.parametrize(
    ("voice", "taken_out"),
    [
        ({"person_visible": False}, True),
        ({"person_visible": False, "mouths_still": False}, True),
        ({"person_visible": True}, False),
        ({"person_visible": True, "mouths_still": False}, False),
        ({"person_visible": True, "mouths_still": True}, True),
    ],
)
def test_a_voice_is_taken_out_where_nobody_in_the_picture_may_be_speaking(voice, taken_out):
    assert off_screen_spans(judged(voice)) == ([Span(1.0, 2.0)] if taken_out else [])
