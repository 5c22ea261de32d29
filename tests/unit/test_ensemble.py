"""Several reasoners as one: who decides, and that nothing any of them said is lost."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepsound.backends import load_reasoner, reasoners_named
from deepsound.cot import Judgement, ReplyForm, SilenceAnswer, Verdict
from deepsound.errors import DeepSoundError
from deepsound.media.audio import write_float_wav
from deepsound.media.decode import decode_video
from deepsound.media.observers import Footage
from deepsound.reasoning.ensemble import NO_BELOW, YES_ABOVE, Vote, combine_votes, votes
from deepsound.reasoning.protocol import MemberReply, Reply, SupportsConcurrency, SupportsSilenceCheck
from deepsound.reasoning.silence_vote import SilenceVote, combine_silence_votes, silence_answer_of, silence_votes
from tests.dummy_reasoner import CODE, HEARING
from tests.third_party_backends import install_plugin
from tests.voiced_clips import silent_clip

RATE = 48_000


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Footage, Path]:
    """A ball that bounces, looked at by all, and a hiss at -20 dBFS: nobody speaks."""
    folder = tmp_path_factory.mktemp("scene")
    hiss = np.random.default_rng(1).uniform(-0.1, 0.1, RATE).astype(np.float32)
    write_float_wav(folder / "hiss.wav", RATE, 1, [hiss[:, np.newaxis]])
    ball = silent_clip(folder / "ball.mp4")
    return decode_video(ball, load_reasoner("evidence").observers()), folder / "hiss.wav"


@pytest.fixture
def meters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_plugin(tmp_path, "deepsound.reasoners", "meter", CODE)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("meters")
@pytest.mark.parametrize(
    ("names", "verdict"),
    [
        ("evidence,meter:0", Verdict.NO),  # both say no
        ("meter:-60,meter:-50", Verdict.YES),  # both say yes
        ("evidence,meter:-60", Verdict.UNDECIDED),  # each is sure of the opposite
        ("evidence,meter:-22", Verdict.UNDECIDED),  # close, but not enough
        ("evidence,meter:-20.5", Verdict.NO),  # the meter hardly leans to yes
        ("meter:-90,meter:-19", Verdict.YES),  # the second one hardly leans to no
    ],
)
def test_agreement_decides_else_probabilities_far_enough_from_one_half(
    scene: tuple[Footage, Path], names: str, verdict: Verdict
):
    reply = load_reasoner(names).judge(*scene)
    judgement = combine_votes(votes(reply))
    assert judgement.verdict is verdict
    agreed = len({vote.judgement.verdict for vote in votes(reply)}) == 1
    assert (judgement.reason == "") == agreed
    assert reply.probability == pytest.approx(sum(v.probability or 0 for v in votes(reply)) / 2)


@pytest.mark.usefixtures("meters")
def test_every_word_of_each_is_kept_and_what_was_read_from_it_is_found_there(scene: tuple[Footage, Path]):
    together = load_reasoner("evidence, meter:-60")
    alone = [load_reasoner("evidence").judge(*scene), load_reasoner("meter:-60").judge(*scene)]
    reply = together.judge(*scene)
    assert reply.raw == f"[evidence]\n{alone[0].raw}\n\n[meter:-60]\n{alone[1].raw}"
    for member, single in zip(reply.members, alone, strict=True):
        assert reply.raw[member.start :].startswith(single.raw)
    for vote, letter in zip(votes(reply), "BA", strict=True):
        start, end = vote.judgement.decided_at or (0, 0)
        assert reply.raw[start:end] == letter
        for thought in vote.judgement.thoughts:
            assert reply.raw[thought.start : thought.end] == thought.text
    assert combine_votes(votes(reply)).thoughts == votes(reply)[0].judgement.thoughts, "those of the first"
    assert reply.frames == alone[0].frames
    assert reply.voice_heard, "one of them heard it"


@pytest.mark.usefixtures("meters")
def test_an_ensemble_is_known_by_its_members_versions_and_weights():
    evidence, together = load_reasoner("evidence"), load_reasoner("evidence,meter:-60")
    assert together is load_reasoner("evidence,meter:-60")
    assert together.name == "evidence,meter:-60"
    assert f"evidence={evidence.version}" in together.version
    assert "meter:-60=1" in together.version
    assert [model.name for model in together.models] == [model.name for model in evidence.models]
    assert [each.name for each in together.observers()] == [each.name for each in evidence.observers()]
    assert reasoners_named("served:http://gpu-7:8000#a, evidence") == ("served:http://gpu-7:8000#a", "evidence")


@pytest.mark.parametrize(
    ("names", "what"), [("evidence,evidence", "can't be two"), ("evidence,", "reasoner ''"), ("evidence,x", "'x'")]
)
def test_an_ensemble_of_what_is_not_there_is_one_clear_line(names: str, what: str):
    with pytest.raises(DeepSoundError, match=what):
        load_reasoner(names)


def cast(verdict: Verdict, probability: float | None) -> Vote:
    return Vote("one", Judgement("raw", verdict, ()), probability)


VOTES = st.builds(cast, st.sampled_from(Verdict), st.none() | st.floats(0.0, 1.0))


@given(st.lists(VOTES, min_size=2, max_size=3))
def test_it_never_decides_without_ground(each: list[Vote]):
    verdict = combine_votes(each).verdict
    said = {vote.judgement.verdict for vote in each}
    if verdict is Verdict.UNDECIDED:
        assert said == {Verdict.UNDECIDED} or len(said) > 1
        return
    assert verdict in said, "somebody came to it"
    if len(said) > 1:
        probabilities = [vote.probability for vote in each if vote.probability is not None]
        assert len(probabilities) == len(each)
        mean = sum(probabilities) / len(each)
        assert mean > YES_ABOVE - 1e-9 if verdict is Verdict.YES else mean < NO_BELOW + 1e-9


def test_words_that_cannot_be_read_leave_it_to_the_probability_and_without_one_to_a_person():
    hm = Reply("Hm.", "?", probability=0.9)
    yes = Reply("A", "?", probability=0.8, form=ReplyForm.LETTER)
    both = Reply("Hm. A", "?", members=(MemberReply("hm", hm, 0), MemberReply("yes", yes, 4)))
    assert combine_votes(votes(both)).verdict is Verdict.YES
    unsure = Reply("Hm. A", "?", members=(MemberReply("hm", Reply("Hm.", "?"), 0), MemberReply("yes", yes, 4)))
    assert combine_votes(votes(unsure)).verdict is Verdict.UNDECIDED
    assert votes(hm) == ()


# Silence


@pytest.fixture
def listening_meters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_plugin(tmp_path, "deepsound.reasoners", "listener", HEARING)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("listening_meters")
@pytest.mark.parametrize(
    ("names", "silent", "why"),
    [
        ("listener:-80,listener:-80.0", True, ""),
        ("listener:-90,listener:-90.0", False, ""),
        ("evidence,listener:-90", False, ""),  # evidence can't be asked
        ("listener:-90,listener:-80", None, "listener:-90 says not silent; listener:-80 says silent"),
        ("listener:-80,listener:-70", None, "listener:-80 says silent; listener:-70 says undecided"),
    ],
)
def test_agreement_alone_decides_about_silence(
    scene: tuple[Footage, Path], names: str, silent: bool | None, why: str
):
    together = load_reasoner(names)
    assert isinstance(together, SupportsSilenceCheck)
    reply = together.is_silent(scene[1])
    answer = silence_answer_of(reply)
    assert (answer.silent, answer.reason, answer.raw) == (silent, why, reply.raw)
    asked = len(reply.members)
    assert (reply.prompt_tokens, reply.reply_tokens) == (7 * asked, 5 * asked)
    for vote, member in zip(silence_votes(reply), reply.members, strict=True):
        assert reply.raw[member.start :].startswith(member.reply.raw), "every word of each is there"
        if vote.answer.decided_at is not None:
            assert "silent" in reply.raw[slice(*vote.answer.decided_at)]


@pytest.mark.usefixtures("meters")
def test_where_nobody_can_be_asked_about_silence_the_ensemble_can_t_either():
    assert not isinstance(load_reasoner("evidence,meter:-60"), SupportsSilenceCheck)


@given(st.lists(st.sampled_from([True, False, None]), min_size=2, max_size=4))
def test_silence_is_decided_by_all_or_left_open(said: list[bool | None]):
    answer = combine_silence_votes([SilenceVote("one", SilenceAnswer("raw", silent)) for silent in said])
    assert answer.silent == (said[0] if len(set(said)) == 1 else None)


@pytest.mark.usefixtures("meters")
def test_an_ensemble_answers_as_many_at_once_as_its_most_sociable_member(tmp_path: Path):
    alone: SupportsConcurrency = load_reasoner("evidence,meter:-60")  # type: ignore[assignment] - it does
    assert alone.concurrency == 1
    sociable = CODE.replace('version = "1"', 'version, concurrency = "1", 8')
    install_plugin(tmp_path, "deepsound.reasoners", "sociable", sociable)
    together: SupportsConcurrency = load_reasoner("evidence,sociable:-60")  # type: ignore[assignment] - it does
    assert together.concurrency == 8
