"""What a list may say of the part of a video that is meant, and what is refused before anything starts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.runtime.time_range import TimeRange, range_of, read_range

PROBED = {"duration": 10.0, "frame_rate": "25"}


@pytest.mark.parametrize(
    ("told", "seconds"),
    [("12.5", 12.5), (12, 12.0), ("0:12", 12.0), ("1:02:03.25", 3723.25), (" 00:00:07.040 ", 7.04), ("90", 90.0)],
)
def test_times_are_seconds_or_hours_minutes_and_seconds(told: object, seconds: float):
    assert read_range({"start": told}) == TimeRange(seconds, None)


@pytest.mark.parametrize("told", ["-1", "1:75", "1:2:3:4", "noon", True, float("inf"), float("nan"), "1,5", [1]])
def test_what_is_no_time_is_said_to_be_none(told: object):
    with pytest.raises(ValueError, match=r"its end .* is no time"):
        read_range({"start": 1, "end": told})


@pytest.mark.parametrize(("start", "end"), [("5", "5"), ("0:10", "9.9"), ("", "0")])
def test_an_end_comes_after_its_start(start: str, end: str):
    with pytest.raises(ValueError, match="is not after its start"):
        read_range({"start": start, "end": end})


@pytest.mark.parametrize("row", [{}, {"start": "", "end": ""}, {"start": "0"}, {"start": None, "end": None}])
def test_nothing_said_is_all_of_the_video(row: dict[str, object]):
    assert read_range(row) is None


@given(st.floats(0, 1e5), st.floats(0.001, 1e5) | st.none())
def test_a_part_comes_back_from_the_ledger_as_it_was(start: float, length: float | None):
    part = TimeRange(start, None if length is None else start + length)
    assert range_of({"prompt": "rain", **part.to_json()}) == part


def test_a_part_lies_within_its_video():
    assert TimeRange(9.0, 10.03).fault(PROBED) == "", "less than a frame beyond the end is the end"
    assert TimeRange(9.0, 10.5).fault(PROBED) == "it ends at 10.5 s, and the video after 10.000 s"
    assert TimeRange(10.0, None).fault(PROBED) == "it starts at 10 s, and the video ends after 10.000 s"
