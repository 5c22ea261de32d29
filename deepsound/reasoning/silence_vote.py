"""What several reasoners say about silence: they agree, or say nothing together.

No probability comes with those answers that could decide between them. Then the measurement does, which is there
in any case.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deepsound import cot
from deepsound.cot import SilenceAnswer
from deepsound.reasoning.protocol import Reply


@dataclass(frozen=True, slots=True)
class SilenceVote:
    """What one of several said; its position is that of the ensemble's raw output."""

    reasoner: str
    answer: SilenceAnswer


def silence_answer_of(reply: Reply) -> SilenceAnswer:
    """What a reply comes to, of one reasoner or of several."""
    said = silence_votes(reply)
    return combine_silence_votes(said) if said else cot.parse_silence(reply.raw)


def silence_votes(reply: Reply) -> tuple[SilenceVote, ...]:
    """What each member said; none where a single reasoner testified."""
    return tuple(
        SilenceVote(member.reasoner, _moved(cot.parse_silence(member.reply.raw), member.start, reply.raw))
        for member in reply.members
    )


def combine_silence_votes(cast: Sequence[SilenceVote]) -> SilenceAnswer:
    """The answer that all gave, read from the first; else undecided, with what each said as the reason."""
    first, answers = cast[0].answer, {vote.answer.silent for vote in cast}
    if len(answers) == 1 and None not in answers:
        return first
    said = "; ".join(f"{vote.reasoner} says {_word(vote.answer.silent)}" for vote in cast)
    return SilenceAnswer(first.raw, None, said)


def _moved(answer: SilenceAnswer, by: int, raw: str) -> SilenceAnswer:
    at = answer.decided_at
    return replace(answer, raw=raw, decided_at=None if at is None else (at[0] + by, at[1] + by))


def _word(silent: bool | None) -> str:
    return "undecided" if silent is None else "silent" if silent else "not silent"
