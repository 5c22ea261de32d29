"""Step 4: is anything left once the voice is gone? Always measured; the reasoner is asked where the run wants it.

What decides is the run's setting `silence`, and it is recorded beside what each of the two says. Where they
contradict one another, that is a decision of its own in the ledger, so that nobody has to compare.
"""

from pathlib import Path

from db.records import Decision, StepRef
from deepsound import cot, silence
from deepsound.artifacts.protocol import Artifact
from deepsound.backends import load_reasoner
from deepsound.canonical import Json
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.pipeline import Action, Step
from deepsound.reasoning.protocol import HearsSilence, Reasoner
from deepsound.silence import Silence
from tasks.job import Job
from tasks.judge import cost
from tasks.settings import SilenceJudge
from tasks.step import StepInputs, StepOutput

VERSION = "2"

SILENT = "silent"
"""The key of the decision this step makes."""

MEASURED, HEARD = "silent-measured", "silent-heard"
"""The keys of the two it may rest on: the measurement, and what the reasoner says."""

CONTRADICTION = "contradiction"
"""The key of the decision that flags a reasoner and a measurement that disagree."""


def inputs(job: Job, action: Action) -> StepInputs:
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


def execute(job: Job, action: Action, scratch: Path) -> StepOutput:  # noqa: ARG001 - every step has it
    """Measure it, and ask."""
    with job.worker.store.local(_background(job, action).sha256) as background:
        measured = silence.measure_silence(background)
        if job.settings.silence is SilenceJudge.MEASURED:
            return StepOutput(
                result={"silent": measured.is_silent, "quiet_share": measured.quiet_share},
                decisions=[Decision(SILENT, _word(measured.is_silent))],
            )
        testimony = hearing(load_reasoner(job.settings.reasoner)).is_silent(background)
    answer = cot.parse_silence(testimony.raw)
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
        },
        template=cot.SILENCE_PROMPT,
        prompt=testimony.prompt,
        raw=testimony.raw,
        parser_version=cot.PARSER_VERSION,
        decisions=[Decision(SILENT, _word(silent)), *_grounds(measured, answer)],
    )


def decide(judge: SilenceJudge, measured: bool, heard: bool | None) -> bool:
    """Whether it is silent. `heard`: what the reasoner says, None where its words can't be read."""
    return heard if judge is SilenceJudge.MODEL and heard is not None else measured


def hearing(reasoner: Reasoner) -> HearsSilence:
    """The reasoner as one that can be asked. Raises DeepSoundError (BAD_SETTINGS) where it can't."""
    if isinstance(reasoner, HearsSilence):
        return reasoner
    raise DeepSoundError(
        ErrorCode.BAD_SETTINGS,
        f"the reasoner {reasoner.name} can't be asked whether a sound is silent",
        where="--silence",
        remedy="choose --silence measured, or another reasoner",
    )


def _grounds(measured: Silence, answer: cot.SilenceAnswer) -> list[Decision]:
    """What the decision rests on, and whether that agrees."""
    heard = "undecided" if answer.silent is None else _word(answer.silent)
    grounds = [
        Decision(MEASURED, _word(measured.is_silent)),
        Decision(HEARD, heard, span=answer.decided_at, parser_version=cot.PARSER_VERSION),
    ]
    if answer.silent in (None, measured.is_silent):
        return grounds
    said = f"measured {_word(measured.is_silent)}, the reasoner says {heard}"
    return [*grounds, Decision(CONTRADICTION, said, span=answer.decided_at, parser_version=cot.PARSER_VERSION)]


def _background(job: Job, action: Action) -> Artifact:
    return job.made(StepRef(Step.SEPARATE, action.round), "background")


def _word(silent: bool) -> str:
    return "yes" if silent else "no"
