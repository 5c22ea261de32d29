"""The protocol's parsers are strict and never guess."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepsound import cot
from deepsound.cot import (
    ReplyForm,
    Stage,
    Verdict,
    format_judgement,
    parse_answer,
    parse_judgement,
    parse_plan,
    parse_reply,
    parse_silence,
)
from deepsound.cot.contradiction import last_stance

WORDS = {
    Stage.SUMMARY: "I will determine whether there are people in the video and in the audio.",
    Stage.CAPTION: "The video shows there are no people. There is the sound of people in the audio.",
    Stage.REASONING: "There are no people in the video. I detect that the audio contains a voice-over.",
    Stage.CONCLUSION: "A",
}
GOOD = format_judgement(WORDS)


def reply(**changed: str) -> str:
    return format_judgement({stage: changed.get(stage.value, WORDS[stage]) for stage in Stage})


def test_a_complete_reply_gives_the_four_thoughts_and_the_verdict():
    judgement = parse_judgement(GOOD)
    assert judgement.verdict is Verdict.YES
    assert judgement.verdict == "yes"
    assert [thought.stage for thought in judgement.thoughts] == list(Stage)
    assert judgement.caption == WORDS[Stage.CAPTION]
    assert judgement.raw == GOOD


def test_the_verdict_has_the_range_of_its_letter():
    judgement = parse_judgement(GOOD)
    assert judgement.decided_at is not None
    start, end = judgement.decided_at
    assert GOOD[start:end] == "A"
    assert GOOD[start - 2 : start] == "> "


def test_every_thought_has_the_range_of_its_text():
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


def test_a_conclusion_that_contradicts_its_reasoning_is_undecided():
    judgement = parse_judgement(reply(conclusion="B"))
    assert judgement.verdict is Verdict.UNDECIDED
    assert "reasoning says yes" in judgement.reason
    assert judgement.contradicted_at is not None
    assert judgement.raw[slice(*judgement.contradicted_at)] == "I detect that the audio contains a voice-over."
    assert judgement.raw[slice(*judgement.decided_at or (0, 0))] == "B", "the conclusion keeps its range"


def test_a_conclusion_that_follows_from_its_reasoning_has_no_contradiction():
    assert parse_judgement(GOOD).contradicted_at is None


@pytest.mark.parametrize(
    "said",
    [
        "The audio contains a voice-over.",
        "There is no sound of people at first. So there is a voice-over.",
        "There are no people in the video, and the audio has voice over.",
        "The clip might contain voice-over. After 3.5 s I detect a voice-over.",
        "There is no voice-over in the beginning. In the end there is voice-over.",
    ],
)
def test_a_plain_affirmation_is_recognised(said: str):
    stance = last_stance(said)
    assert stance is not None
    assert stance.affirms
    assert "voice" in said[stance.start : stance.end]


@pytest.mark.parametrize(
    "said",
    [
        "The audio does not contain a voice-over.",
        "The audio doesn't have any voiceover.",
        "There is speech, but there is no sign of a voice-over.",
        "At first I hear a voice-over. Then I see the man: this is not a voice-over.",
        "There's a man, so it is free of voice-overs.",
    ],
)
def test_a_plain_denial_is_recognised(said: str):
    stance = last_stance(said)
    assert stance is not None
    assert not stance.affirms


@pytest.mark.parametrize(
    "said",
    [
        "",
        "There are no people in the video. There is the sound of people in the audio.",
        "I must determine whether the audio contains a voice-over.",
        "If nobody is seen, the audio contains a voice-over.",
        "Does the audio contain a voice-over? It has a voice-over?",
        "The audio may contain a voice-over.",
        "I do not find that the audio contains a voice-over.",
        "It is false that there is a voice-over.",
        "It is not true that there is no voice-over.",
        "No one could call this free of voice-over.",
        "The probability of voice-over is 0.10.",
        "音频中包含旁白 (voice-over)。",
        "L'audio contient une voix off.",
    ],
)
def test_anything_but_a_plain_statement_is_ignored(said: str):
    assert last_stance(said) is None


@given(st.text(max_size=200))
def test_a_stance_always_names_voice_over(said: str):
    stance = last_stance(said)
    if stance is not None:
        assert "voice" in said[stance.start : stance.end].lower()


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


TAGS = st.sampled_from([f"<{slash}{stage.name}>" for stage in Stage for slash in ("", "/")])
BLOCKS = ["\n".join(pair) for pair in zip(GOOD.split("\n")[::2], GOOD.split("\n")[1::2], strict=True)]


@given(st.permutations(BLOCKS), st.integers(0, 4), st.none() | st.sampled_from(BLOCKS))
def test_reordered_or_repeated_stages_are_undecided(blocks: list[str], place: int, again: str | None):
    if blocks == BLOCKS and again is None:
        return
    said = "\n".join([*blocks[:place], *([] if again is None else [again]), *blocks[place:]])
    for form in (ReplyForm.STAGES, ReplyForm.STAGES_TO_LETTER):
        judgement = parse_reply(said, form)
        assert (judgement.verdict, judgement.raw) == (Verdict.UNDECIDED, said)
        assert judgement.reason


INSIDE = {place for tag in re.finditer("</?[A-Z]+>", GOOD) for place in range(tag.start() + 1, tag.end())}
BESIDE = st.sampled_from([place for place in range(len(GOOD) + 1) if place not in INSIDE])


@given(BESIDE, TAGS | st.sampled_from(["<SUMMARY><CONCLUSION> B </CONCLUSION>", "</REASONING>A"]))
def test_an_additional_tag_anywhere_is_undecided(place: int, tag: str):
    assert parse_judgement(GOOD[:place] + tag + GOOD[place:]).verdict is Verdict.UNDECIDED


@given(st.integers(min_value=0, max_value=len(GOOD) - 1))
def test_a_truncated_reply_is_undecided(length: int):
    assert parse_judgement(GOOD[:length]).verdict is Verdict.UNDECIDED


@given(st.text(max_size=300))
def test_free_text_is_undecided_and_kept(text: str):
    judgement = parse_judgement(text)
    assert judgement.verdict is Verdict.UNDECIDED
    assert judgement.raw == text


STOPPED = GOOD[: GOOD.index("A </CONCLUSION>") + 1]


def test_a_reply_stopped_at_the_letter_has_a_verdict():
    judgement = parse_reply(STOPPED, ReplyForm.STAGES_TO_LETTER)
    assert (judgement.verdict, judgement.raw, judgement.conclusion) == (Verdict.YES, STOPPED, "A")
    assert judgement.decided_at == (len(STOPPED) - 1, len(STOPPED))
    assert parse_reply(STOPPED, ReplyForm.STAGES).verdict is Verdict.UNDECIDED, (
        "a truncated reply is not a stopped one"
    )


@given(st.integers(min_value=0, max_value=len(STOPPED) - 1))
def test_a_reply_stopped_anywhere_else_is_undecided(length: int):
    assert parse_reply(STOPPED[:length], ReplyForm.STAGES_TO_LETTER).verdict is Verdict.UNDECIDED


@given(st.text(min_size=1, max_size=20))
def test_only_the_letter_may_follow_the_conclusion_tag_of_a_stopped_reply(more: str):
    opened = STOPPED[:-2]
    judgement = parse_reply(opened + more, ReplyForm.STAGES_TO_LETTER)
    if judgement.verdict is not Verdict.UNDECIDED:
        assert more.strip()[0] in "AB"


def test_each_form_is_parsed_by_its_own_rules():
    assert parse_reply("A", ReplyForm.LETTER).verdict is Verdict.YES
    assert parse_reply("A", ReplyForm.STAGES).verdict is Verdict.UNDECIDED
    assert parse_reply(GOOD, ReplyForm.LETTER).verdict is Verdict.UNDECIDED
    assert parse_reply(GOOD, ReplyForm.STAGES_TO_LETTER).verdict is Verdict.YES


# Look-alikes of tags and letters: homoglyphs, other case, spaces, entities, invisible characters.
ADVERSARIAL = st.sampled_from(
    [
        *(
            "<conclusion>",
            "<CONCLUSION >",
            "< CONCLUSION>",
            "<СONCLUSION>",
            "<CONCLU\u200bSION>",
            "＜CONCLUSION＞",
        ),
        *(
            "&lt;CONCLUSION&gt;",
            "<CONCLUSION/>",
            "<<CONCLUSION>>",
            "</ CONCLUSION>",
            "<结论>",
            "\u202e<NOISULCNOC>",
        ),
        *("А", "Β", "Ａ", "𝐀", "A\u0301", "答案是A", "الجواب أ", "Ответ: А", "\x00", "\ud800"),
    ]
)


@given(st.lists(ADVERSARIAL, min_size=1, max_size=4), st.sampled_from(list(ReplyForm)))
def test_look_alikes_of_tags_and_letters_are_rejected(pieces: list[str], form: ReplyForm):
    looks = "".join(pieces)
    assert parse_reply(reply(conclusion=looks), form).verdict is Verdict.UNDECIDED
    assert parse_reply(GOOD.replace("<CONCLUSION>", looks), form).verdict is Verdict.UNDECIDED
    assert parse_reply(looks, form).verdict is Verdict.UNDECIDED


LANGUAGES = st.sampled_from(
    [
        "画面中没有人，但是有旁白。",
        "Il n'y a personne à l'image.",
        "Нет людей в кадре.",
        "لا يوجد أشخاص",
        "人はいません。",
    ]
)


@given(LANGUAGES, LANGUAGES, LANGUAGES, st.sampled_from("AB"))
def test_the_stages_may_be_in_any_language(summary: str, caption: str, reasoning: str, letter: str):
    judgement = parse_judgement(reply(summary=summary, caption=caption, reasoning=reasoning, conclusion=letter))
    assert judgement.verdict is {"A": Verdict.YES, "B": Verdict.NO}[letter]
    assert judgement.reasoning == reasoning


@given(st.lists(st.one_of(TAGS, st.sampled_from(["A", "B", " ", "旁白", "voice-over", "\n"])), max_size=30))
def test_random_tags_never_raise_and_decide_only_if_well_formed(pieces: list[str]):
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
def test_text_within_a_stage_never_reverses_the_verdict(stage: Stage, noise: str):
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
def test_a_letter_reply_contains_nothing_else(text: str):
    if parse_answer(text).verdict is not Verdict.UNDECIDED:
        assert text.strip() in ("A", "B", "A.", "B.", "A. Yes", "B. No", "A. Yes.", "B. No.")


def test_the_protocols_plan_is_accepted():
    assert parse_plan(cot.PLAN).accepted
    assert parse_plan(cot.PLAN.replace("<Condition2>", "<Condition12>")).accepted, "a typo in the paper"
    assert parse_plan(cot.PLAN.replace("\n", " \r\n")).accepted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I would rather not.",
        cot.PLAN.replace("Step3", "Step5"),
        cot.PLAN.replace("voice-over from audio.", "voices from audio."),
        cot.PLAN[: cot.PLAN.index("Step4")],
        cot.PLAN + cot.PLAN,
        cot.PLAN + "Step 5: Publish it.",
        cot.PLAN + "  **step5** - publish it",
        cot.PLAN.replace("Step1", "Step１"),
        cot.PLAN.replace("Step1:", "Step 1:"),
    ],
)
def test_any_other_plan_is_rejected_with_a_reason(text: str):
    plan = parse_plan(text)
    assert not plan.accepted
    assert plan.reason
    assert plan.raw == text


STEPS = [line for line in cot.PLAN.splitlines() if line.startswith("Step")]


STRAY = st.sampled_from([*STEPS, "Step 5: Publish it.", "- step5", "STEP 2", "Step0: Hm."])


@given(
    st.lists(st.text("abcd<>/ \n.12", max_size=12), min_size=5, max_size=5), st.none() | STRAY, st.integers(0, 4)
)
def test_text_between_the_steps_is_ignored_but_a_further_step_is_rejected(
    between: list[str], stray: str | None, place: int
):
    gaps = [f"{gap}\n{stray}" if stray and number == place else gap for number, gap in enumerate(between)]
    plan = parse_plan("\n".join([gaps[0], *(line for pair in zip(STEPS, gaps[1:], strict=True) for line in pair)]))
    assert plan.accepted == (stray is None)
    assert (plan.reason == "") == plan.accepted


@given(st.permutations(STEPS), st.sets(st.integers(0, 3)), st.text(max_size=30))
def test_missing_or_reordered_steps_are_rejected(steps: list[str], left_out: set[int], more: str):
    said = [step for number, step in enumerate(steps) if number not in left_out]
    if said != STEPS:
        assert not parse_plan("\n".join([*said, more])).accepted


@pytest.mark.parametrize(
    ("text", "silent"),
    [
        ("The audio is silent.", True),
        ("The audio is not silent.", False),
        (" The audio is not silent\n", False),
        ("", None),
        ("Yes", None),
        ("The audio is silent. The audio is not silent.", None),
        ("The audio is not not silent.", None),
        ("The video is silent.", None),
    ],
)
def test_silence_is_one_of_two_sentences_or_undecided(text: str, silent: bool | None):
    answer = parse_silence(text)
    assert (answer.silent, answer.raw) == (silent, text)
    assert (answer.reason == "") == (silent is not None)
    if answer.decided_at is not None:
        assert "silent" in text[slice(*answer.decided_at)]
