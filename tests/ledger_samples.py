"""Runs and attempts for ledger tests: what a dubbing of an item writes, with everything that can belong to it."""

import multiprocessing
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select

from db.read.queries import item_history
from db.schema.database import Ledger
from db.schema.records import (
    AttemptRecord,
    Change,
    CodeVersion,
    Decision,
    DecisionRef,
    Effect,
    Environment,
    ExecutionContext,
    StepRef,
)
from db.schema.run_records import NewItem, NewRun, VideoFile
from db.schema.tables import ItemRow
from db.state.lease_queue import claim
from db.write.attempts import record_attempt
from db.write.runs import register_run
from deepsound.canonical_json import sha256_bytes
from deepsound.cot import (
    JUDGE_PROMPT,
    PARSER_VERSION,
    PLAN,
    PLAN_PROMPT,
    Stage,
    format_judgement,
    parse_judgement,
)
from deepsound.models.identity import ModelIdentity, ShownFrame
from deepsound.pipeline import OutcomeKind, Step
from deepsound.spans import Span
from deepsound.storage.protocol import Artifact

PROCESSES = multiprocessing.get_context("forkserver")
"""Other processes, forked from one that has imported this module and started no thread."""
PROCESSES.set_forkserver_preload([__name__])

OWNER = "worker-1:4711:1"
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
CODE = CodeVersion("0.1.0", "f44cd72", is_modified=False)
PACKAGES = {f"package-{number}": f"1.{number}" for number in range(150)}
EXECUTION_CONTEXT = ExecutionContext("worker-1", "cpu", CODE, Environment("3.11.7", "Linux-6.1-x86_64", PACKAGES))
SETTINGS = {"generator": "foley", "reasoner": "evidence", "fallback": "neg", "seed": 7}
VAD = ModelIdentity("silero-vad", "6.2.3", "MIT", {"silero_vad.jit": sha256_bytes(b"vad")})

PLAN_STEP = StepRef(Step.PLAN)
GENERATE_STEP = StepRef(Step.GENERATE)
JUDGE_STEP = StepRef(Step.JUDGE)
SEPARATE_STEP = StepRef(Step.SEPARATE)
CHECK_STEP = StepRef(Step.CHECK_SILENCE)
PUBLISH_STEP = StepRef(Step.PUBLISH)

REPLY = format_judgement(
    {
        Stage.SUMMARY: "I will determine whether there are people in the video and sound of people in the audio.",
        Stage.CAPTION: "No people in 20 frames. Speech from 1.2 to 4.9 s and from 6.0 to 9.5 s, confidence 0.97.",
        Stage.REASONING: "There is the sound of people and nobody in the picture: I detect a voice-over.",
        Stage.CONCLUSION: "A",
    }
)


def bytes_of(name: str, media_type: str = "audio/wav") -> Artifact:
    """An artifact as a store would name it."""
    return Artifact(sha256_bytes(name.encode()), 1_764_044, media_type)


def a_video(name: str) -> VideoFile:
    """A readable source."""
    probe = {"container": "mov,mp4", "width": 1280, "height": 720, "frames": 251, "duration": 10.04}
    return VideoFile(sha256_bytes(name.encode()), 5_000_000, "video/mp4", probe)


def a_run(*sources: str) -> NewRun:
    """A run over some readable files."""
    return NewRun("reels", SETTINGS, [NewItem(source, source, a_video(source)) for source in sources], CODE)


def begin(ledger: Ledger, run: NewRun) -> tuple[str, Sequence[int]]:
    """A registered run, and its items' ids."""
    with ledger.write() as session:
        run_id = register_run(session, run)
        items = session.scalars(select(ItemRow.id).where(ItemRow.run_id == run_id).order_by(ItemRow.ordinal)).all()
    return run_id, items


def attempt(item_id: int, at: StepRef, followed_by: StepRef | OutcomeKind, **more: Any) -> AttemptRecord:
    """An attempt with nothing but what every attempt has."""
    plain: dict[str, Any] = {
        "step_key": sha256_bytes(f"{item_id} {at}".encode()),
        "step_version": "1",
        "backend": "foley",
        "started_at": NOON,
        "ended_at": NOON + timedelta(seconds=1.25),
        "execution_context": EXECUTION_CONTEXT,
    }
    return AttemptRecord(item_id=item_id, at=at, followed_by=followed_by, **(plain | more))


def write(ledger: Ledger, record: AttemptRecord, owner: str = OWNER) -> int:
    """Claim a step and record its attempt, as a worker does."""
    with ledger.write() as session:
        assert claim(session, record.item_id, record.at, owner, 60)
    with ledger.write() as session:
        return record_attempt(session, record, owner)


def dub(ledger: Ledger, item_id: int, owner: str = OWNER) -> None:
    """Everything a voice-over item goes through, from plan to publish, as rich as it really is."""
    for at in (PLAN_STEP, GENERATE_STEP, JUDGE_STEP, SEPARATE_STEP, CHECK_STEP, PUBLISH_STEP):
        write(ledger, record_of(ledger, item_id, at), owner)


def record_of(ledger: Ledger, item_id: int, at: StepRef) -> AttemptRecord:
    """What a step of that item writes; the steps before it must have been written."""
    match at.step:
        case Step.PLAN:
            return _plan(item_id)
        case Step.GENERATE:
            made = {"coarse": _coarse(item_id)}
            return attempt(item_id, at, JUDGE_STEP, seed=7, outputs=made, result={"samples": 44100})
        case Step.JUDGE:
            return _judge(item_id)
        case Step.SEPARATE:
            with ledger.read() as session:
                judged = next(step for step in item_history(session, item_id) if step.at == JUDGE_STEP)
            return _separate(item_id, judged.decisions[0].ref)
        case Step.CHECK_SILENCE:
            return _check(item_id)
        case _:
            return _publish(item_id)


def _coarse(item_id: int) -> Artifact:
    return bytes_of(f"item {item_id} coarse")


def _background(item_id: int) -> Artifact:
    return bytes_of(f"item {item_id} background")


def _check(item_id: int) -> AttemptRecord:
    return attempt(
        item_id,
        CHECK_STEP,
        PUBLISH_STEP,
        backend="levels",
        raw_output="12.5 % of 400 frames are below -50 dB",
        result={"silent": False},
        decisions=[Decision("silent", "no", 1.0, (0, 6), "1")],
        inputs={"background": _background(item_id)},
    )


def _publish(item_id: int) -> AttemptRecord:
    outputs = {
        "video": bytes_of(f"item {item_id} mp4", "video/mp4"),
        "sidecar": bytes_of(f"item {item_id} json", "application/json"),
    }
    result = {"outcome": "done", "why": "the voice was removed"}
    return attempt(item_id, PUBLISH_STEP, OutcomeKind.DONE, backend="mux", outputs=outputs, result=result)


def _plan(item_id: int) -> AttemptRecord:
    observations = bytes_of(f"item {item_id} observations", "application/x-npz")
    return attempt(
        item_id,
        PLAN_STEP,
        GENERATE_STEP,
        backend="evidence",
        template=PLAN_PROMPT,
        prompt=PLAN_PROMPT,
        raw_output=PLAN,
        parser_version=PARSER_VERSION,
        result={"accepted": True},
        decisions=[Decision("plan", "accepted", span=(0, len(PLAN)), parser_version=PARSER_VERSION)],
        outputs={"observations": observations},
    )


def _judge(item_id: int) -> AttemptRecord:
    judgement = parse_judgement(REPLY)
    frames = [ShownFrame(number / 2, sha256_bytes(f"{item_id} {number}".encode())) for number in range(20)]
    return attempt(
        item_id,
        JUDGE_STEP,
        SEPARATE_STEP,
        backend="evidence",
        parameters={"speech_threshold": 0.5, "person_threshold": 0.35, "frames_per_second": 2.0},
        template=JUDGE_PROMPT,
        prompt=JUDGE_PROMPT,
        frames=frames,
        raw_output=REPLY,
        parser_version=PARSER_VERSION,
        result={
            "verdict": "yes",
            "voices": [{"start": 1.2, "end": 4.9, "person_visible": False, "confidence": 0.97}],
        },
        probability=0.97,
        models=[VAD],
        thoughts=judgement.thoughts,
        decisions=[Decision("voice_over", "yes", 0.97, judgement.decided_at, PARSER_VERSION)],
        inputs={"coarse": _coarse(item_id)},
    )


def _separate(item_id: int, because: DecisionRef) -> AttemptRecord:
    coarse, background = _coarse(item_id), _background(item_id)
    effects = [
        Effect(
            operation="remove_voice",
            span=span,
            before_sha256=coarse.sha256,
            after_sha256=background.sha256,
            decision=because,
            speech_seconds=Change(span.duration, 0.0),
            speech_level=Change(-21.5, float("-inf")),
            loudness=Change(-19.0, -31.2),
        )
        for span in (Span(1.2, 4.9), Span(6.0, 9.5))
    ]
    return attempt(
        item_id,
        SEPARATE_STEP,
        CHECK_STEP,
        backend="mix-minus",
        models=[VAD],
        result={"touched": [[1.2, 4.9], [6.0, 9.5]]},
        effects=effects,
        inputs={"coarse": coarse},
        outputs={"voice": bytes_of(f"item {item_id} voice"), "background": background},
    )
