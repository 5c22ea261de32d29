"""Combines the answers of several reasoners to the silence question: they agree, or the answer is undecided.

These answers have no probability that could decide between them. The measurement, which always exists, decides
instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deepsound import cot
from deepsound.cot import SilenceAnswer
from deepsound.reasoning.protocol import Reply


@dataclass(frozen=True, slots=True)
class SilenceVote:
    """The answer of one member; its character range refers to the ensemble's raw output."""

    reasoner: str
    answer: SilenceAnswer


def silence_answer_of(reply: Reply) -> SilenceAnswer:
    """The silence answer of a reply, whether of one reasoner or of an ensemble."""
    cast = silence_votes(reply)
    return combine_silence_votes(cast) if cast else cot.parse_silence(reply.raw)


def silence_votes(reply: Reply) -> tuple[SilenceVote, ...]:
    """The vote of each member; empty for the reply of a single reasoner."""
    return tuple(
        SilenceVote(member.reasoner, _shifted(cot.parse_silence(member.reply.raw), member.start, reply.raw))
        for member in reply.members
    )


def combine_silence_votes(cast: Sequence[SilenceVote]) -> SilenceAnswer:
    """The common answer, as in the first vote; else undecided, with each member's answer as reason."""
    first, answers = cast[0].answer, {vote.answer.silent for vote in cast}
    if len(answers) == 1 and None not in answers:
        return first
    summary = "; ".join(f"{vote.reasoner} says {_word(vote.answer.silent)}" for vote in cast)
    return SilenceAnswer(first.raw, None, summary)


def _shifted(answer: SilenceAnswer, by: int, raw: str) -> SilenceAnswer:
    at = answer.decided_at
    return replace(answer, raw=raw, decided_at=None if at is None else (at[0] + by, at[1] + by))


def _word(silent: bool | None) -> str:
    return "undecided" if silent is None else "silent" if silent else "not silent"
