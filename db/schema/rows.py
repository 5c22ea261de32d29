"""Converts an attempt's record to table rows. Pure: `db.write.attempts` adds what only the database knows."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache

from db.schema import tables
from db.schema.column_types import Values, storable, storable_json, stored
from db.schema.hashing import content_sha256, document_sha256
from db.schema.records import (
    AttemptRecord,
    CodeVersion,
    Decision,
    Direction,
    Effect,
    Environment,
    StepRef,
)
from db.schema.tables import Base, table_of
from deepsound.canonical_json import Json, canonical_json
from deepsound.cot import Thought
from deepsound.models.identity import ModelIdentity

RowsByTable = dict[type[Base], list[Values]]


def shared_rows(record: AttemptRecord) -> RowsByTable:
    """Returns rows that attempts share, and that may exist already."""
    artifacts = {artifact.sha256: artifact for artifact in [*record.inputs.values(), *record.outputs.values()]}
    return {
        tables.DocumentRow: [
            {"sha256": document_sha256(body), "body": body} for body in _documents(record).values()
        ],
        tables.CodeVersionRow: [code_version_row(record.execution_context.code)],
        tables.EnvironmentRow: [_environment_row(record.execution_context.environment)],
        tables.ModelRow: [_model_row(model) for model in record.models],
        tables.ArtifactRow: [asdict(artifact) for artifact in artifacts.values()],
    }


def owned_rows(record: AttemptRecord) -> RowsByTable:
    """Returns rows that belong to this attempt alone, without its id."""
    rows: RowsByTable = {
        tables.ThoughtRow: [_thought_row(place, thought) for place, thought in enumerate(record.thoughts)],
        tables.DecisionRow: [_decision_row(place, decision) for place, decision in enumerate(record.decisions)],
        tables.EffectRow: [_effect_row(place, effect) for place, effect in enumerate(record.effects)],
        tables.AttemptArtifactRow: _artifact_links(record),
        tables.AttemptModelRow: [
            {"model_sha256": sha256} for sha256 in sorted({_model_row(m)["sha256"] for m in record.models})
        ],
    }
    return {kind: [_stored(kind, row) for row in of_kind] for kind, of_kind in rows.items() if of_kind}


def attempt_row(record: AttemptRecord) -> Values:
    """Returns the attempt's columns, without its place in the hash chain."""
    followed_by, failure, context = record.followed_by, record.failure, record.execution_context
    next_step = followed_by if isinstance(followed_by, StepRef) else None
    row: Values = {
        "item_id": record.item_id,
        "step": record.at.step,
        "round": record.at.round,
        "status": record.status,
        "next_step": next_step and next_step.step,
        "next_round": next_step and next_step.round,
        "outcome": None if isinstance(followed_by, StepRef) else followed_by,
        "host": context.host,
        "device": context.device,
        "code_version_sha256": code_version_row(context.code)["sha256"],
        "environment_sha256": _environment_row(context.environment)["sha256"],
        "error_code": failure and failure.code,
        "error_message": failure and str(failure),
        "is_retryable": failure and failure.is_retryable,
        **{f"{name}_sha256": document_sha256(body) for name, body in _documents(record).items()},
        **{name: getattr(record, name) for name in _SAME_NAME},
    }
    return _stored(tables.AttemptRow, row)


_SAME_NAME = (
    "reused_attempt_id",
    "step_key",
    "step_version",
    "backend",
    "seed",
    "raw_output",
    "parser_version",
    "result",
    "probability",
    "started_at",
    "ended_at",
    "prefect_flow_run_id",
    "prefect_task_run_id",
)


def code_version_row(code: CodeVersion) -> Values:
    """Returns a code version, keyed by the hash of its content."""
    return _by_content(tables.CodeVersionRow, asdict(code))


@lru_cache(maxsize=4)  # Hashes hundreds of packages, the same for every attempt of a process.
def _environment_row(environment: Environment) -> Values:
    columns = {"python": environment.python, "platform": environment.platform}
    return _by_content(tables.EnvironmentRow, {**columns, "packages": environment.packages})


def _model_row(model: ModelIdentity) -> Values:
    columns = {"name": model.name, "revision": model.revision, "licence": model.licence}
    return _by_content(tables.ModelRow, {**columns, "files": model.files})


def _by_content(kind: type[Base], values: Values) -> Values:
    row = _stored(kind, values)
    return {"sha256": content_sha256(row), **row}


def _documents(record: AttemptRecord) -> Mapping[str, str]:
    frames: list[Json] = [(frame.time, frame.sha256) for frame in record.frames]
    bodies = {
        "parameters": canonical_json(storable_json(record.parameters)) if record.parameters else None,
        "template": record.template,
        "prompt": record.prompt,
        "frames": canonical_json(frames) if frames else None,
    }
    return {name: storable(body) for name, body in bodies.items() if body is not None}


def _thought_row(position: int, thought: Thought) -> Values:
    span = {"span_start": thought.start, "span_end": thought.end}
    return {"position": position, "stage": thought.stage, "text": thought.text, **span}


def _decision_row(position: int, decision: Decision) -> Values:
    start, end = decision.span or (None, None)
    return {
        "position": position,
        "key": decision.key,
        "value": decision.value,
        "confidence": decision.confidence,
        "span_start": start,
        "span_end": end,
        "parser_version": decision.parser_version,
    }


def _effect_row(position: int, effect: Effect) -> Values:
    cause = effect.decision
    return {
        "position": position,
        "decision_attempt_id": cause and cause.attempt_id,
        "decision_position": None if cause is None else cause.position,
        "operation": effect.operation,
        "start_seconds": effect.span.start,
        "end_seconds": effect.span.end,
        "before_sha256": effect.before_sha256,
        "after_sha256": effect.after_sha256,
        "speech_seconds_before": effect.speech_seconds.before,
        "speech_seconds_after": effect.speech_seconds.after,
        "speech_level_before": effect.speech_level.before,
        "speech_level_after": effect.speech_level.after,
        "loudness_before": effect.loudness.before,
        "loudness_after": effect.loudness.after,
    }


def _artifact_links(record: AttemptRecord) -> list[Values]:
    parts = ((Direction.INPUT, record.inputs), (Direction.OUTPUT, record.outputs))
    return [
        {"direction": direction, "role": role, "artifact_sha256": artifact.sha256}
        for direction, by_role in parts
        for role, artifact in by_role.items()
    ]


def _stored(kind: type[Base], values: Values) -> Values:
    return stored(table_of(kind), values)
