"""Step 4: is anything left once the voice is gone? Always measured; the reasoner is asked where the run wants it.

What decides is the run's setting `silence`, and it is recorded beside what each of the two says. Where they
contradict one another, that is a decision of its own in the ledger, so that nobody has to compare.
"""

from collections.abc import Sequence
from pathlib import Path

from db.schema.records import Decision, StepRef
from deepsound import cot, silence
from deepsound.backends import load_reasoner
from deepsound.canonical_json import Json
from deepsound.errors import BadSettingsError
from deepsound.pipeline import Action, Step
from deepsound.reasoning.protocol import HearsSilence, Reasoner, Reply
from deepsound.reasoning.silence_vote import SilenceVote, silence_of, silence_votes
from deepsound.silence import Silence
from deepsound.storage.protocol import Artifact
from tasks.runtime.item import ItemInProgress
from tasks.runtime.run_settings import SilenceJudge
from tasks.steps.contract import StepInputs, StepOutput
from tasks.steps.judge import cost

VERSION = "2"

SILENT = "silent"
"""The key of the decision this step makes."""

MEASURED, HEARD = "silent-measured", "silent-heard"
"""The keys of the two it may rest on: the measurement, and what the reasoner says."""

CONTRADICTION = "contradiction"
"""The key of the decision that flags a reasoner and a measurement that disagree."""


def inputs(job: ItemInProgress, action: Action) -> StepInputs:
    """The background stem, the thresholds, and the reasoner if it is asked."""
    measured: dict[str, Json] = {"quiet_dbfs": silence.QUIET_DBFS, "quiet_share": silence.QUIET_SHARE}
    artifacts = {"background": _background(job, action)}
    if job.settings.silence is SilenceJudge.MEASURED:
        return StepInputs(backend="rms", version=VERSION, parameters=measured, artifacts=artifacts)
    reasoner = load_reasoner(job.settings.reasoner)
    return StepInputs(
        backend=reasoner.name,
        version=f"{VERSION}/{reasoner.version}/{cot.PARSER_VERSION}",
        models=reasoner.models,
        parameters={**measured, "prompt": cot.SILENCE_PROMPT, "decides": job.settings.silence},
        artifacts=artifacts,
    )


def execute(job: ItemInProgress, action: Action, scratch: Path) -> StepOutput:  # noqa: ARG001 - every step has it
    """Measure it, and ask."""
    with job.worker.store.local(_background(job, action).sha256) as background:
        measured = silence.measure_silence(background)
        if job.settings.silence is SilenceJudge.MEASURED:
            return StepOutput(
                result={"silent": measured.is_silent, "quiet_share": measured.quiet_share},
                decisions=[Decision(SILENT, _word(measured.is_silent))],
            )
        testimony = hearing(load_reasoner(job.settings.reasoner)).is_silent(background)
    answer, votes = silence_of(testimony), silence_votes(testimony)
    silent = decide(job.settings.silence, measured.is_silent, answer.silent)
    return StepOutput(
        result={
            "silent": silent,
            "quiet_share": measured.quiet_share,
            "measured": measured.is_silent,
            "heard": answer.silent,
            "reason": answer.reason,
            "parameters": dict(testimony.parameters),
            **cost(testimony),
            **({"votes": _votes(testimony, votes)} if votes else {}),
        },
        template=cot.SILENCE_PROMPT,
        prompt=testimony.prompt,
        raw=testimony.raw,
        parser_version=cot.PARSER_VERSION,
        decisions=[
            Decision(SILENT, _word(silent)),
            Decision(MEASURED, _word(measured.is_silent)),
            *_heard(measured, answer),
            *(decision for vote in votes for decision in _heard(measured, vote.answer, vote.reasoner)),
        ],
    )


def decide(judge: SilenceJudge, measured: bool, heard: bool | None) -> bool:
    """Whether it is silent. `heard`: what the reasoner says, None where its words can't be read."""
    return heard if judge is SilenceJudge.MODEL and heard is not None else measured


def hearing(reasoner: Reasoner) -> HearsSilence:
    """The reasoner as one that can be asked. Raises DeepSoundError (BAD_SETTINGS) where it can't."""
    if isinstance(reasoner, HearsSilence):
        return reasoner
    raise BadSettingsError(
        f"the reasoner {reasoner.name} can't be asked whether a sound is silent",
        where="--silence",
        remedy="choose --silence measured, or another reasoner",
    )


def _heard(measured: Silence, answer: cot.SilenceAnswer, voter: str | None = None) -> list[Decision]:
    """What is said of it, and whether that agrees with the measurement. `voter`: one of several reasoners."""
    by = "" if voter is None else f" by {voter}"
    word = "undecided" if answer.silent is None else _word(answer.silent)
    read = {"span": answer.decided_at, "parser_version": cot.PARSER_VERSION}
    heard = Decision(f"{HEARD}{by}", word, **read)
    if answer.silent in (None, measured.is_silent):
        return [heard]
    said = f"measured {_word(measured.is_silent)}, {voter or 'the reasoner'} says {word}"
    return [heard, Decision(f"{CONTRADICTION}{by}", said, **read)]


def _votes(testimony: Reply, votes: Sequence[SilenceVote]) -> list[Json]:
    """What each of several reasoners said; `raw` are the characters of the raw output that are its words."""
    return [
        {
            "reasoner": vote.reasoner,
            "heard": vote.answer.silent,
            "reason": vote.answer.reason,
            "raw": [member.start, member.start + len(member.testimony.raw)],
            **cost(member.testimony),
        }
        for vote, member in zip(votes, testimony.members, strict=True)
    ]


def _background(job: ItemInProgress, action: Action) -> Artifact:
    return job.made(StepRef(Step.SEPARATE, action.round), "background")


def _word(silent: bool) -> str:
    return "yes" if silent else "no"
