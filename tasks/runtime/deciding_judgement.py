"""Reads which judgement decided how an item ended. Every result, sidecar, report and audit asks this module."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from db.read.queries import item_histories
from db.read.review_state import Review, current_reviews
from db.schema.records import FinishedStep, StepRef
from deepsound.canonical_json import Json
from deepsound.cot import Verdict
from deepsound.pipeline import Step

DECIDING_ROUND = "deciding_round"
"""Key of a publish step's result: the round whose judgement decided, None where no judgement did."""


@dataclass(frozen=True, slots=True)
class DecidingJudgement:
    """The finished judge step that decided, and the review of it, whose verdict replaces the judge's."""

    judgement: FinishedStep
    review: Review | None

    @property
    def round(self) -> int:
        """The round that was judged."""
        return self.judgement.at.round

    @property
    def verdict(self) -> Verdict:
        """The verdict that counts: the reviewer's, else the judge's."""
        return self.judge_verdict if self.review is None else self.review.verdict

    @property
    def judge_verdict(self) -> Verdict:
        """The judge's own verdict."""
        return Verdict(str(self.judgement.result["verdict"]))

    @property
    def probability(self) -> float | None:
        """The judge's probability of voice-over; None where the reasoner gave none."""
        return self.judgement.probability

    def __str__(self) -> str:
        """The verdict, with the judge's own beside a reviewer's."""
        return self.verdict if self.review is None else f"{self.verdict} (review; judge: {self.judge_verdict})"


def deciding_judgement(
    done: Mapping[StepRef, FinishedStep], reviews: Mapping[StepRef, Review]
) -> DecidingJudgement | None:
    """The judgement that decided; of an open or failed item the latest one. None where no judgement decided.

    `done` has the item's finished steps, `reviews` the reviews by the judge step they are of.
    """
    judgement = done.get(StepRef(Step.JUDGE, _deciding_round(done)))
    return None if judgement is None else DecidingJudgement(judgement, reviews.get(judgement.at))


def load_deciding_judgements(session: Session, item_ids: Sequence[int]) -> dict[int, DecidingJudgement | None]:
    """The judgement that decided each of these items."""
    histories, reviews = item_histories(session, item_ids), current_reviews(session, item_ids)
    return {
        item_id: deciding_judgement({step.at: step for step in histories[item_id]}, reviews.get(item_id, {}))
        for item_id in item_ids
    }


def _deciding_round(done: Mapping[StepRef, FinishedStep]) -> int:
    """The round that the publish step recorded, else that of the latest judgement; 0 where there is none."""
    published = next((step.result for at, step in done.items() if at.step is Step.PUBLISH), {})
    if DECIDING_ROUND in published:
        return int(str(published[DECIDING_ROUND] or 0))
    # The item is open, has failed, or was published by version 1 of the step, which recorded no round.
    return max((at.round for at in done if at.step is Step.JUDGE), default=0)


def decision_json(decided: DecidingJudgement | None) -> dict[str, Json]:
    """The decision for `dub --json`, the sidecar and `audit show --json`, under the same keys in each."""
    if decided is None:
        return {
            "verdict": None,
            "probability": None,
            "judge_verdict": None,
            "deciding_round": None,
            "review": None,
        }
    return {
        "verdict": decided.verdict,
        "probability": decided.probability,
        "judge_verdict": decided.judge_verdict,
        "deciding_round": decided.round,
        "review": None if decided.review is None else decided.review.to_json(),
    }
