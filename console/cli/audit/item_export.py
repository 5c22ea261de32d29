"""All that the ledger holds on an item, as a tree for people and as JSON."""

import json
from collections.abc import Iterator, Sequence

from rich.text import Text
from rich.tree import Tree

from db.schema.tables import AttemptRow, DecisionRow, EffectRow, ItemRow, RetryRow, ReviewRow
from db.state.attempt_history import chain_links, replay_rows
from deepsound.canonical_json import Json
from deepsound.terminal_text import json_safe, terminal_safe
from tasks.runtime.deciding_judgement import DecidingJudgement, decision_json


def item_tree(item: ItemRow, decided: DecidingJudgement | None) -> Tree:
    """The steps done on an item in order, with those taken back marked; `decided`: the judgement that decided."""
    tree = Tree(_line(f"{item.output_name}  (item {item.id} of run {item.run_id})", "bold"))
    tree.add(_line(f"source {item.source}"))
    tree.add(_line(f"sha256 {item.video_sha256 or 'none: it could not be read'}"))
    tree.add(_line(f"settings {json.dumps(item.run.settings, ensure_ascii=False)}"))
    if item.overrides:
        tree.add(_line(f"its own {json.dumps(item.overrides, ensure_ascii=False)}"))
    tree.add(_line(_decision(decided), "bold"))
    standing = {attempt.id for attempt in replay_rows(item.attempts, item.retries).attempts}
    for link in chain_links(item.attempts, item.retries):
        if isinstance(link, RetryRow):
            tree.add(_taken_back(link))
        else:
            _add_attempt(tree, link, stands=link.id in standing)
    for review in item.reviews:
        tree.add(_line(_reviewed(review)))
    return tree


def _decision(decided: DecidingJudgement | None) -> str:
    if decided is None:
        return "verdict none: no judgement decided"
    sure = "" if decided.probability is None else f" (probability {decided.probability:.3f})"
    if decided.review is None:
        return f"verdict {decided.verdict}, by the judgement of round {decided.round}{sure}"
    judged = f"the judgement of round {decided.round}, which said {decided.judge_verdict}{sure}"
    return f"verdict {decided.verdict}, by review {decided.review.seq} of {judged}"


def _line(told: str, style: str = "") -> Text:
    return Text(terminal_safe(told), style)


def _quoted(words: str) -> str:
    """Words of several lines: what follows the first stands further in, so that none looks like a line of ours."""
    return "\n    ".join(map(terminal_safe, words.splitlines()))


def _reviewed(review: ReviewRow) -> str:
    when = f"{review.created_at:%Y-%m-%d %H:%M:%S} UTC"
    what = f"review {review.seq} of attempt {review.attempt_id} by {review.reviewer} at {when}"
    return f"{what}: {review.verdict}, {review.reason}"


def _taken_back(retry: RetryRow) -> Text:
    again = f", round {retry.round}" if retry.round > 1 else ""
    how = "to be really done again" if retry.recompute else "to be tried again"
    why = f": {retry.reason}" if retry.reason else ""
    who = f"by {retry.by} at {retry.at:%Y-%m-%d %H:%M:%S} UTC"
    said = terminal_safe(f"  taken back with all that followed, {how}, {who}{why}")
    return Text.assemble((retry.step, "bold"), again, (said, "yellow"))


def _add_attempt(tree: Tree, attempt: AttemptRow, *, stands: bool) -> None:
    took = (attempt.ended_at - attempt.started_at).total_seconds()
    again = f", round {attempt.round}" if attempt.round > 1 else ""
    tries = f", try {attempt.number}" if attempt.number > 1 else ""
    style = {"failed": "red", "reused": "cyan"}.get(attempt.status, "green")
    back = "" if stands else "  (taken back)"
    status = (attempt.status, style)
    heading = Text.assemble(
        (attempt.step, "bold"), again, tries, "  ", status, f"  {attempt.backend}  {took:.2f} s", (back, "yellow")
    )
    branch = tree.add(heading)
    for line in _facts(attempt):
        branch.add(_line(line))
    if attempt.prompt is not None:
        branch.add(Text(f"asked: {_quoted(attempt.prompt.body)}"))
    for line in _used(attempt):
        branch.add(_line(line))
    words = attempt.reused or attempt
    for thought in words.thoughts:
        branch.add(Text.assemble((thought.stage.upper(), "italic"), " ", _quoted(thought.text)))
    for decision in words.decisions:
        branch.add(_line(_decided(words, decision), "bold"))
    for effect in words.effects:
        branch.add(_line(_changed(effect)))


def _facts(attempt: AttemptRow) -> Iterator[str]:
    if attempt.reused_attempt_id is not None:
        yield f"stands on attempt {attempt.reused_attempt_id}, which has the same step key"
    if attempt.error_code is not None:
        yield f"{attempt.error_code}: {attempt.error_message}"
    yield f"attempt {attempt.id}, key {attempt.step_key}, hash {attempt.hash}"
    for used in attempt.models:
        yield f"model {used.model.name} {used.model.revision}, {used.model.licence}"


def _used(attempt: AttemptRow) -> Iterator[str]:
    for link in (attempt.reused or attempt).artifacts:
        yield f"{link.direction} {link.role} {link.artifact_sha256} ({link.artifact.size} bytes)"


def _decided(attempt: AttemptRow, decision: DecisionRow) -> str:
    sure = "" if decision.confidence is None else f" (probability {decision.confidence:.3f})"
    read = ""
    if attempt.raw_output is not None and decision.span_start is not None and decision.span_end is not None:
        quoted = attempt.raw_output[decision.span_start : decision.span_end]
        shown = quoted if len(quoted) <= 40 else f"{quoted[:37]}…"
        read = f", read from characters {decision.span_start} to {decision.span_end}: {shown!r}"
    return f"decided {decision.key} = {decision.value}{sure}{read}"


def _changed(effect: EffectRow) -> str:
    measured = [
        _change("speech", effect.speech_seconds_before, effect.speech_seconds_after, "s"),
        _change("level there", effect.speech_level_before, effect.speech_level_after, "dBFS"),
        _change("loudness", effect.loudness_before, effect.loudness_after, "LUFS"),
    ]
    said = "; ".join(part for part in measured if part)
    where = f"{effect.start_seconds:.2f} to {effect.end_seconds:.2f} s"
    return f"{effect.operation} {where}" + (f": {said}" if said else "")


def _change(what: str, before: float | None, after: float | None, unit: str) -> str:
    if before is None and after is None:
        return ""
    shown = ["unmeasurable" if value is None else f"{value:.1f}" for value in (before, after)]
    return f"{what} {shown[0]} → {shown[1]} {unit}"


def item_json(item: ItemRow, decided: DecidingJudgement | None) -> Json:
    """The same as JSON."""
    standing = {attempt.id for attempt in replay_rows(item.attempts, item.retries).attempts}
    return {
        "item": item.id,
        "run": item.run_id,
        "name": item.output_name,
        "source": json_safe(item.source),
        "video_sha256": item.video_sha256,
        "settings": item.run.settings,
        "overrides": item.overrides,
        **decision_json(decided),
        "attempts": [{**_attempt_json(attempt), "stands": attempt.id in standing} for attempt in item.attempts],
        "retries": [{**_columns(retry, _RETRY_COLUMNS), "at": retry.at.isoformat()} for retry in item.retries],
        "reviews": [
            {**_columns(review, _REVIEW_COLUMNS), "created_at": review.created_at.isoformat()}
            for review in item.reviews
        ],
    }


def _attempt_json(attempt: AttemptRow) -> dict[str, Json]:
    words = attempt.reused or attempt
    return {
        **_columns(attempt, _ATTEMPT_COLUMNS),
        "started_at": attempt.started_at.isoformat(),
        "ended_at": attempt.ended_at.isoformat(),
        "prompt": attempt.prompt.body if attempt.prompt else None,
        "parameters": json.loads(attempt.parameters.body) if attempt.parameters else None,
        "frames": json.loads(words.frames.body) if words.frames else None,
        "raw_output": words.raw_output,
        "result": words.result,
        "models": [_columns(used.model, ("name", "revision", "licence", "files")) for used in attempt.models],
        "artifacts": [
            {"direction": link.direction, "role": link.role, "sha256": link.artifact_sha256}
            for link in words.artifacts
        ],
        "thoughts": [_columns(thought, _THOUGHT_COLUMNS) for thought in words.thoughts],
        "decisions": [_columns(decision, _DECISION_COLUMNS) for decision in words.decisions],
        "effects": [_columns(effect, _EFFECT_COLUMNS) for effect in words.effects],
    }


_ATTEMPT_COLUMNS = (
    *(
        "id",
        "seq",
        "step",
        "round",
        "number",
        "status",
        "reused_attempt_id",
        "outcome",
        "step_key",
        "step_version",
    ),
    *("backend", "seed", "parser_version", "probability", "host", "device", "prefect_flow_run_id"),
    *("prefect_task_run_id", "error_code", "error_message", "is_retryable", "previous_hash", "hash"),
)
_RETRY_COLUMNS = ("seq", "after", "step", "round", "recompute", "by", "reason", "previous_hash", "hash")
_REVIEW_COLUMNS = ("seq", "attempt_id", "reviewer", "verdict", "reason", "previous_hash", "hash")
_THOUGHT_COLUMNS = ("stage", "text", "span_start", "span_end")
_DECISION_COLUMNS = ("key", "value", "confidence", "span_start", "span_end", "parser_version")
_EFFECT_COLUMNS = (
    *("operation", "start_seconds", "end_seconds", "before_sha256", "after_sha256"),
    *("decision_attempt_id", "decision_position", "speech_seconds_before", "speech_seconds_after"),
    *("speech_level_before", "speech_level_after", "loudness_before", "loudness_after"),
)


def _columns(row: object, names: Sequence[str]) -> dict[str, Json]:
    return {name: getattr(row, name) for name in names}
