"""The protocol's parsers read what was said and never guess."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepsound import cot
from deepsound.cot import Stage, Verdict, format_judgement, parse_answer, parse_judgement, parse_plan

WORDS = {
    Stage.SUMMARY: "I will determine whether there are people in the video and in the audio.",
    Stage.CAPTION: "The video shows there are no people. There is the sound of people in the audio.",
    Stage.REASONING: "There are no people in the video. I detect that the audio contains a voice-over.",
    Stage.CONCLUSION: "A",
}
GOOD = format_judgement(WORDS)


def reply(**changed: str) -> str:
    return format_judgement({stage: changed.get(stage.value, WORDS[stage]) for stage in Stage})


def test_a_whole_reply_gives_the_four_thoughts_and_the_verdict():
    judgement = parse_judgement(GOOD)
    assert judgement.verdict is Verdict.YES
    assert judgement.verdict == "yes"
    assert [thought.stage for thought in judgement.thoughts] == list(Stage)
    assert judgement.caption == WORDS[Stage.CAPTION]
    assert judgement.raw == GOOD


def test_the_verdict_points_at_the_letter_it_was_read_from():
    judgement = parse_judgement(GOOD)
    assert judgement.decided_at is not None
    start, end = judgement.decided_at
    assert GOOD[start:end] == "A"
    assert GOOD[start - 2 : start] == "> "


def test_every_thought_points_at_its_own_words():
    for thought in parse_judgement(GOOD).thoughts:
        assert GOOD[thought.start : thought.end] == thought.text == WORDS[thought.stage]


@pytest.mark.parametrize("letter", ["B", "B.", "B. No", "B. No.", " B "])
def test_b_is_no(letter: str):
    text = reply(reasoning="Someone is in the picture. The audio does not contain voice-over.", conclusion=letter)
    assert parse_judgement(text).verdict is Verdict.NO


@pytest.mark.parametrize(
    "answer", ["", "C", "A or B", "A B", "AB", "Yes", "a", "B. Yes", "A. No", "not A", "А", "The answer is A"]
)
def test_any_other_conclusion_is_undecided(answer: str):
    judgement = parse_judgement(reply(conclusion=answer))
    assert judgement.verdict is Verdict.UNDECIDED
    assert judgement.reason


def test_a_conclusion_against_its_own_reasoning_is_undecided():
    judgement = parse_judgement(reply(conclusion="B"))
    assert judgement.verdict is Verdict.UNDECIDED
    assert "reasoning says yes" in judgement.reason


@pytest.mark.parametrize("stage", list(Stage))
def test_a_missing_stage_is_undecided(stage: Stage):
    text = GOOD.replace(f"<{stage.name}> {WORDS[stage]} </{stage.name}>", "")
    judgement = parse_judgement(text)
    assert judgement.verdict is Verdict.UNDECIDED
    assert str(stage) in judgement.reason
    assert judgement.text(stage) is None


@pytest.mark.parametrize("stage", list(Stage))
def test_a_doubled_stage_is_undecided(stage: Stage):
    judgement = parse_judgement(GOOD + f"\n<{stage.name}> A </{stage.name}>")
    assert judgement.verdict is Verdict.UNDECIDED


def test_stages_out_of_order_are_undecided():
    parts = GOOD.split("\n")
    assert parse_judgement("\n".join(parts[6:] + parts[:6])).verdict is Verdict.UNDECIDED


@given(st.integers(min_value=0, max_value=len(GOOD) - 1))
def test_a_truncated_reply_is_undecided(length: int):
    assert parse_judgement(GOOD[:length]).verdict is Verdict.UNDECIDED


@given(st.text(max_size=300))
def test_free_text_is_undecided_and_kept(text: str):
    judgement = parse_judgement(text)
    assert judgement.verdict is Verdict.UNDECIDED
    assert judgement.raw == text


TAGS = st.sampled_from([f"<{slash}{stage.name}>" for stage in Stage for slash in ("", "/")])


@given(st.lists(st.one_of(TAGS, st.sampled_from(["A", "B", " ", "旁白", "voice-over", "\n"])), max_size=30))
def test_a_soup_of_tags_never_raises_and_decides_only_when_it_is_well_formed(pieces: list[str]):
    text = "".join(pieces)
    judgement = parse_judgement(text)
    for thought in judgement.thoughts:
        assert text[thought.start : thought.end] == thought.text
    if judgement.verdict is not Verdict.UNDECIDED:
        assert [tag for tag in pieces if tag.startswith("<")] == [
            tag for stage in Stage for tag in (f"<{stage.name}>", f"</{stage.name}>")
        ]
        assert judgement.conclusion in ("A", "B")


@given(st.sampled_from(list(Stage)), st.text(alphabet="<>/ABCONLUSI旁 \n", max_size=40))
def test_words_inside_a_stage_never_turn_the_verdict(stage: Stage, noise: str):
    words = {**WORDS, stage: WORDS[stage] + noise}
    assert parse_judgement(format_judgement(words)).verdict in (Verdict.YES, Verdict.UNDECIDED)


@pytest.mark.parametrize(
    ("text", "verdict"), [("A", Verdict.YES), ("A. Yes", Verdict.YES), ("B.", Verdict.NO), (" B\n", Verdict.NO)]
)
def test_a_bare_letter_is_a_verdict_without_thoughts(text: str, verdict: Verdict):
    judgement = parse_answer(text)
    assert (judgement.verdict, judgement.thoughts, judgement.reason, judgement.raw) == (verdict, (), "", text)
    assert judgement.decided_at is not None
    start, end = judgement.decided_at
    assert text[start:end] == text.strip()[0]


@pytest.mark.parametrize("text", ["", "a", "C", "AB", "A B", "A. No", "Yes", "I choose A", "А", GOOD])
def test_anything_but_a_bare_letter_is_undecided_with_a_reason(text: str):
    judgement = parse_answer(text)
    assert (judgement.verdict, judgement.decided_at, judgement.raw) == (Verdict.UNDECIDED, None, text)
    assert judgement.reason


@given(st.text())
def test_a_reply_is_a_letter_only_if_nothing_else_is_said(text: str):
    if parse_answer(text).verdict is not Verdict.UNDECIDED:
        assert text.strip() in ("A", "B", "A.", "B.", "A. Yes", "B. No", "A. Yes.", "B. No.")


def test_the_protocols_plan_is_accepted():
    assert parse_plan(cot.PLAN).accepted
    assert len(cot.plan_steps(cot.PLAN)) == 4


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I would rather not.",
        cot.PLAN.replace("Step3", "Step5"),
        cot.PLAN.replace("voice-over from audio.", "voices from audio."),
        cot.PLAN[: cot.PLAN.index("Step4")],
        cot.PLAN + cot.PLAN,
    ],
)
def test_any_other_plan_is_refused_with_a_reason(text: str):
    plan = parse_plan(text)
    assert not plan.accepted
    assert plan.reason
    assert plan.raw == text
