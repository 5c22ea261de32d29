"""Ensembles: how votes decide, and that every reply is kept in full."""

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
    """Decoded footage of a bouncing ball, and noise at -20 dBFS: nobody speaks."""
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
        ("evidence,meter:-60", Verdict.UNDECIDED),  # each is certain of the opposite
        ("evidence,meter:-22", Verdict.UNDECIDED),  # close to agreement, but inside the undecided range
        ("evidence,meter:-20.5", Verdict.NO),  # the meter barely says yes
        ("meter:-90,meter:-19", Verdict.YES),  # the second one barely says no
    ],
)
def test_agreement_decides_and_otherwise_a_mean_probability_far_from_one_half(
    scene: tuple[Footage, Path], names: str, verdict: Verdict
):
    reply = load_reasoner(names).judge(*scene)
    judgement = combine_votes(votes(reply))
    assert judgement.verdict is verdict
    agreed = len({vote.judgement.verdict for vote in votes(reply)}) == 1
    assert (judgement.reason == "") == agreed
    assert reply.probability == pytest.approx(sum(v.probability or 0 for v in votes(reply)) / 2)


@pytest.mark.usefixtures("meters")
def test_every_reply_is_kept_in_full_and_character_ranges_point_into_it(scene: tuple[Footage, Path]):
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
    assert combine_votes(votes(reply)).thoughts == votes(reply)[0].judgement.thoughts, (
        "thoughts come from the first member"
    )
    assert reply.frames == alone[0].frames
    assert reply.voice_heard, "one member heard a voice"


@pytest.mark.usefixtures("meters")
def test_name_version_and_weights_of_an_ensemble_are_those_of_its_members():
    evidence, together = load_reasoner("evidence"), load_reasoner("evidence,meter:-60")
    assert together is load_reasoner("evidence,meter:-60")
    assert together.name == "evidence,meter:-60"
    assert f"evidence={evidence.version}" in together.version
    assert "meter:-60=1" in together.version
    assert [model.name for model in together.models] == [model.name for model in evidence.models]
    assert [observer.name for observer in together.observers()] == [
        observer.name for observer in evidence.observers()
    ]
    assert reasoners_named("served:http://gpu-7:8000#a, evidence") == ("served:http://gpu-7:8000#a", "evidence")


@pytest.mark.parametrize(
    ("names", "what"), [("evidence,evidence", "named twice"), ("evidence,", "reasoner ''"), ("evidence,x", "'x'")]
)
def test_an_invalid_ensemble_is_rejected_with_a_clear_error(names: str, what: str):
    with pytest.raises(DeepSoundError, match=what):
        load_reasoner(names)


def vote_for(verdict: Verdict, probability: float | None) -> Vote:
    return Vote("one", Judgement("raw", verdict, ()), probability)


VOTES = st.builds(vote_for, st.sampled_from(Verdict), st.none() | st.floats(0.0, 1.0))


@given(st.lists(VOTES, min_size=2, max_size=3))
def test_a_verdict_needs_agreement_or_a_mean_probability_outside_the_undecided_range(cast: list[Vote]):
    verdict = combine_votes(cast).verdict
    verdicts = {vote.judgement.verdict for vote in cast}
    if verdict is Verdict.UNDECIDED:
        assert verdicts == {Verdict.UNDECIDED} or len(verdicts) > 1
        return
    assert verdict in verdicts, "at least one vote is for it"
    if len(verdicts) > 1:
        probabilities = [vote.probability for vote in cast if vote.probability is not None]
        assert len(probabilities) == len(cast)
        mean = sum(probabilities) / len(cast)
        assert mean > YES_ABOVE - 1e-9 if verdict is Verdict.YES else mean < NO_BELOW + 1e-9


def test_an_unparsable_reply_counts_by_its_probability_and_is_undecided_without_one():
    hm = Reply("Hm.", "?", probability=0.9)
    yes = Reply("A", "?", probability=0.8, form=ReplyForm.LETTER)
    both = Reply("Hm. A", "?", members=(MemberReply("hm", hm, 0), MemberReply("yes", yes, 4)))
    assert combine_votes(votes(both)).verdict is Verdict.YES
    unsure = Reply("Hm. A", "?", members=(MemberReply("hm", Reply("Hm.", "?"), 0), MemberReply("yes", yes, 4)))
    assert combine_votes(votes(unsure)).verdict is Verdict.UNDECIDED
    assert votes(hm) == ()


# Silence


@pytest.fixture
def silence_meters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_plugin(tmp_path, "deepsound.reasoners", "listener", HEARING)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("silence_meters")
@pytest.mark.parametrize(
    ("names", "silent", "why"),
    [
        ("listener:-80,listener:-80.0", True, ""),
        ("listener:-90,listener:-90.0", False, ""),
        ("evidence,listener:-90", False, ""),  # evidence can't check for silence
        ("listener:-90,listener:-80", None, "listener:-90 says not silent; listener:-80 says silent"),
        ("listener:-80,listener:-70", None, "listener:-80 says silent; listener:-70 says undecided"),
    ],
)
def test_silence_is_decided_by_agreement_alone(
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
        assert reply.raw[member.start :].startswith(member.reply.raw), "every reply is there in full"
        if vote.answer.decided_at is not None:
            assert "silent" in reply.raw[slice(*vote.answer.decided_at)]


@pytest.mark.usefixtures("meters")
def test_an_ensemble_without_a_silence_checker_can_not_check_for_silence():
    assert not isinstance(load_reasoner("evidence,meter:-60"), SupportsSilenceCheck)


@given(st.lists(st.sampled_from([True, False, None]), min_size=2, max_size=4))
def test_silence_is_undecided_unless_all_answers_agree(answers: list[bool | None]):
    answer = combine_silence_votes([SilenceVote("one", SilenceAnswer("raw", silent)) for silent in answers])
    assert answer.silent == (answers[0] if len(set(answers)) == 1 else None)


@pytest.mark.usefixtures("meters")
def test_an_ensemble_has_the_concurrency_of_its_most_concurrent_member(tmp_path: Path):
    alone: SupportsConcurrency = load_reasoner("evidence,meter:-60")  # type: ignore[assignment] - it does
    assert alone.concurrency == 1
    concurrent = CODE.replace('version = "1"', 'version, concurrency = "1", 8')
    install_plugin(tmp_path, "deepsound.reasoners", "concurrent_meter", concurrent)
    together: SupportsConcurrency = load_reasoner("evidence,concurrent_meter:-60")  # type: ignore[assignment] - it does
    assert together.concurrency == 8
