"""Step 4: measures whether the background is silent; asks the reasoner as well where the run wants that.

The run's setting `silence` says which of the two decides. The ledger has both, and a flag where they disagree.
"""

from collections.abc import Sequence

from db.schema.records import Decision, StepRef
from deepsound import cot, silence
from deepsound.backends import load_reasoner
from deepsound.canonical_json import Json
from deepsound.errors import BadSettingsError
from deepsound.pipeline import Action, Step
from deepsound.reasoning.protocol import Reasoner, Reply, SupportsSilenceCheck
from deepsound.reasoning.silence_vote import SilenceVote, silence_answer_of, silence_votes
from deepsound.silence import Silence
from deepsound.storage.protocol import Artifact
from tasks.runtime.item import Item
from tasks.runtime.run_settings import SilenceJudge
from tasks.steps.contract import StepContext, StepInputs, StepOutput
from tasks.steps.judge import reply_cost

VERSION = "2"

SILENT = "silent"
"""The key of the decision this step makes."""

MEASURED, HEARD = "silent-measured", "silent-heard"
"""The keys of the two decisions it may rest on: the measurement, and the reasoner's answer."""

CONTRADICTION = "contradiction"
"""The key of the decision that flags a reasoner and a measurement that disagree."""


def inputs(item: Item, action: Action) -> StepInputs:
    """The background stem, the thresholds, and the reasoner where it is asked."""
    thresholds: dict[str, Json] = {"quiet_dbfs": silence.QUIET_DBFS, "quiet_share": silence.QUIET_SHARE}
    artifacts = {"background": _background(item, action)}
    if item.settings.silence is SilenceJudge.MEASURED:
        return StepInputs(backend="rms", version=VERSION, parameters=thresholds, artifacts=artifacts)
    reasoner = load_reasoner(item.settings.reasoner)
    return StepInputs(
        backend=reasoner.name,
        version=f"{VERSION}/{reasoner.version}/{cot.PARSER_VERSION}",
        models=reasoner.models,
        parameters={**thresholds, "prompt": cot.SILENCE_PROMPT, "decides": item.settings.silence},
        artifacts=artifacts,
    )


def execute(context: StepContext) -> StepOutput:
    """Measure the background stem, and ask the reasoner where the run wants that."""
    settings = context.item.settings
    with context.store.local(_background(context.item, context.action).sha256) as background:
        measured = silence.measure_silence(background)
        if settings.silence is SilenceJudge.MEASURED:
            return StepOutput(
                result={"silent": measured.is_silent, "quiet_share": measured.quiet_share},
                decisions=[Decision(SILENT, _yes_or_no(measured.is_silent))],
            )
        reply = as_silence_listener(load_reasoner(settings.reasoner)).is_silent(background)
    answer, votes = silence_answer_of(reply), silence_votes(reply)
    silent = decide(settings.silence, measured.is_silent, answer.silent)
    return StepOutput(
        result={
            "silent": silent,
            "quiet_share": measured.quiet_share,
            "measured": measured.is_silent,
            "heard": answer.silent,
            "reason": answer.reason,
            "parameters": dict(reply.parameters),
            **reply_cost(reply),
            **({"votes": _votes(reply, votes)} if votes else {}),
        },
        template=cot.SILENCE_PROMPT,
        prompt=reply.prompt,
        raw=reply.raw,
        parser_version=cot.PARSER_VERSION,
        decisions=[
            Decision(SILENT, _yes_or_no(silent)),
            Decision(MEASURED, _yes_or_no(measured.is_silent)),
            *_answer_decisions(measured, answer),
            *(decision for vote in votes for decision in _answer_decisions(measured, vote.answer, vote.reasoner)),
        ],
    )


def decide(judge: SilenceJudge, measured: bool, heard: bool | None) -> bool:
    """Whether the background counts as silent. `heard` is the reasoner's answer, None where it can't be parsed."""
    return heard if judge is SilenceJudge.MODEL and heard is not None else measured


def as_silence_listener(reasoner: Reasoner) -> SupportsSilenceCheck:
    """The reasoner, if it can judge silence. Raises DeepSoundError (BAD_SETTINGS) if it can't."""
    if isinstance(reasoner, SupportsSilenceCheck):
        return reasoner
    raise BadSettingsError(
        f"the reasoner {reasoner.name} can't be asked whether a sound is silent",
        where="--silence",
        remedy="choose --silence measured, or another reasoner",
    )


def _answer_decisions(measured: Silence, answer: cot.SilenceAnswer, voter: str | None = None) -> list[Decision]:
    """The answer, and a flag where it contradicts the measurement. `voter` names a reasoner of an ensemble."""
    by = "" if voter is None else f" by {voter}"
    word = "undecided" if answer.silent is None else _yes_or_no(answer.silent)
    heard = Decision(f"{HEARD}{by}", word, span=answer.decided_at, parser_version=cot.PARSER_VERSION)
    if answer.silent in (None, measured.is_silent):
        return [heard]
    contradiction = Decision(
        f"{CONTRADICTION}{by}",
        f"measured {_yes_or_no(measured.is_silent)}, {voter or 'the reasoner'} says {word}",
        span=answer.decided_at,
        parser_version=cot.PARSER_VERSION,
    )
    return [heard, contradiction]


def _votes(reply: Reply, votes: Sequence[SilenceVote]) -> list[Json]:
    """The answer of each reasoner of an ensemble. `raw` has the span of its reply within the raw output."""
    return [
        {
            "reasoner": vote.reasoner,
            "heard": vote.answer.silent,
            "reason": vote.answer.reason,
            "raw": [member.start, member.start + len(member.reply.raw)],
            **reply_cost(member.reply),
        }
        for vote, member in zip(votes, reply.members, strict=True)
    ]


def _background(item: Item, action: Action) -> Artifact:
    return item.artifact(StepRef(Step.SEPARATE, action.round), "background")


def _yes_or_no(silent: bool) -> str:
    return "yes" if silent else "no"
