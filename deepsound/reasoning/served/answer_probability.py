"""The model's own probability of voice-over, from what the server tells of its tokens. Pure."""

import math
from collections.abc import Sequence

from deepsound import cot
from deepsound.reasoning.served.chat_messages import ReplyToken, TokenLogprob

_YES, _NO = b"A", b"B"


def answer_probability(raw: str, tokens: Sequence[ReplyToken]) -> float | None:
    """P(A) / (P(A) + P(B)) at the token that the verdict of `raw` was read from.

    None where no verdict can be read, where the tokens don't spell `raw`, where the answer is no token of its own,
    or where the server gives only one of the two letters: what it left out is not made up.
    """
    decided_at = cot.parse_judgement(raw).decided_at
    if decided_at is None:
        return None
    token = _token_at(raw, decided_at[0], tokens)
    if token is None or _letter(token) not in (_YES, _NO):
        return None
    yes, no = ([chance for chance in token.top_logprobs if _letter(chance) == letter] for letter in (_YES, _NO))
    if not yes or not no:
        return None
    for_yes, for_no = (sum(_probability(chance) for chance in chances) for chances in (yes, no))
    return for_yes / (for_yes + for_no) if for_yes + for_no > 0.0 else None


def _token_at(raw: str, place: int, tokens: Sequence[ReplyToken]) -> ReplyToken | None:
    """The token that spells the character at `place`.

    The tokens may hold more than the reply: thinking before it, a mark of its end after it.
    """
    spelled = b"".join(_bytes(token) for token in tokens)
    start = spelled.rfind(raw.encode())
    if start < 0:
        return None
    wanted = start + len(raw[:place].encode())
    end = 0
    for token in tokens:
        end += len(_bytes(token))
        if end > wanted:
            return token
    return None


def _bytes(chance: TokenLogprob) -> bytes:
    return chance.token.encode() if chance.bytes is None else bytes(chance.bytes)


def _letter(chance: TokenLogprob) -> bytes:
    return _bytes(chance).strip()


def _probability(chance: TokenLogprob) -> float:
    # Servers write -9999 or -inf for nothing at all; what is no number counts for nothing either.
    return math.exp(min(chance.logprob, 0.0)) if not math.isnan(chance.logprob) else 0.0
