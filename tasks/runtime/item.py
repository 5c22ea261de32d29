"""The state of one item of a run: its settings, its finished steps and reviews, and so the step that comes next.

The state is frozen. Each finished step gives a new one, and any worker can rebuild it from the ledger.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from db.read.review_state import Review
from db.schema.records import NO_RETRIES, DecisionRef, FinishedStep, ItemRetries, StepRef
from deepsound.canonical_json import Json
from deepsound.cot import Verdict
from deepsound.pipeline import Action, ChainState, Fallback, OutcomeKind, Round, Step, next_action
from deepsound.storage.location import Location
from deepsound.storage.protocol import Artifact
from tasks.runtime.run_settings import RunSettings
from tasks.runtime.time_range import TimeRange

PLAN = StepRef(Step.PLAN)


@dataclass(frozen=True, slots=True)
class Item:
    """One video, or a time range of it, in one run.

    `video_sha256` is None where the file could not be read when the run was registered. `part` is the time range
    that the item is; None means the whole video. `done` has the finished step of each step and round. `reviews`
    has people's verdicts by the judge step they are of. `retries` says which steps were taken back, and `deaths`
    how many workers vanished while they held the open step.
    """

    run_id: str
    id: int
    name: str
    source: Location
    video_sha256: str | None
    settings: RunSettings
    part: TimeRange | None = None
    done: Mapping[StepRef, FinishedStep] = field(default_factory=dict[StepRef, FinishedStep])
    reviews: Mapping[StepRef, Review] = field(default_factory=dict[StepRef, Review])
    retries: ItemRetries = NO_RETRIES
    deaths: int = 0

    def next_action(self) -> Action | None:
        """The step that the decision table asks for next; None once the item has ended."""
        verdicts = {at: review.verdict for at, review in self.reviews.items()}
        return next_action(self.settings.policy, chain_state(self.done, verdicts))

    def with_step(self, finished: FinishedStep) -> "Item":
        """The state once this step is finished as well."""
        return replace(self, done={**self.done, finished.at: finished})

    @property
    def outcome(self) -> OutcomeKind | None:
        """How the item ended; None while it is open."""
        published = [step for at, step in self.done.items() if at.step is Step.PUBLISH]
        return OutcomeKind(str(published[0].result["outcome"])) if published else None

    def artifact(self, at: StepRef, role: str) -> Artifact:
        """An output of a finished step. Raises KeyError where the step is not finished or has no such output."""
        return self.done[at].outputs[role]

    def coarse(self, round_number: int) -> Artifact:
        """The coarse audio of a round."""
        return self.artifact(StepRef(Step.GENERATE, round_number), "coarse")

    def decision(self, at: StepRef, key: str) -> DecisionRef:
        """The reference of a finished step's decision, as effects name it."""
        return next(decision.ref for decision in self.done[at].decisions if decision.key == key)

    def review(self, round_number: int) -> Review | None:
        """The review of a round's judgement, if there is one."""
        return self.reviews.get(StepRef(Step.JUDGE, round_number))

    def review_json(self, round_number: int) -> dict[str, Json]:
        """The review under the key `review`, for parameters and results of the steps that follow from it.

        Empty where the round's judgement has no review.
        """
        review = self.review(round_number)
        return {} if review is None else {"review": review.to_json()}


def chain_state(
    done: Mapping[StepRef, FinishedStep], verdicts: Mapping[StepRef, Verdict] | None = None
) -> ChainState:
    """The input of the decision table, read from the results of finished steps.

    `verdicts` has people's verdicts by the judge step they are of. Each replaces the judge's verdict.
    """
    plan, fell_back = done.get(PLAN), done.get(StepRef(Step.FALL_BACK))
    return ChainState(
        plan_accepted=None if plan is None else bool(plan.result["accepted"]),
        first=_round(done, verdicts or {}, 1),
        fell_back=None if fell_back is None else Fallback(str(fell_back.result["mode"])),
        second=_round(done, verdicts or {}, 2),
        published=any(at.step is Step.PUBLISH for at in done),
    )


def _round(done: Mapping[StepRef, FinishedStep], verdicts: Mapping[StepRef, Verdict], round_number: int) -> Round:
    state = Round(
        generated=StepRef(Step.GENERATE, round_number) in done,
        separated=StepRef(Step.SEPARATE, round_number) in done,
    )
    if judged := done.get(StepRef(Step.JUDGE, round_number)):
        heard = judged.result["voice_heard"]
        state = replace(
            state,
            verdict=Verdict(str(judged.result["verdict"])),
            voice_heard=None if heard is None else bool(heard),
        )
        if verdict := verdicts.get(judged.at):
            # A person who says no has listened to the sound, so it stays, also under --voice all.
            state = replace(state, verdict=verdict, voice_heard=verdict is Verdict.YES)
    if checked := done.get(StepRef(Step.CHECK_SILENCE, round_number)):
        state = replace(state, silent=bool(checked.result["silent"]))
    return state
