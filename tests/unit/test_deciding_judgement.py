"""Every reader names the same deciding judgement, at every ending of the decision table.

Items with scripted step results go through the real runner, ledger, reviews and delivery. The readers are
`dub --json`, the summary table, the sidecar, the HTML report, `audit show` as text and as JSON, and the publish
step's result in the ledger.
"""

import json
import re
from dataclasses import dataclass
from html import unescape
from typing import Any, NamedTuple

import pytest
from rich.console import Console
from typer.testing import CliRunner

from console.cli.app import app
from console.cli.audit.item_export import item_tree
from console.cli.run_summary import as_json, summary_table
from console.cli.settings import settings_from
from db.read.evidence import item_evidence
from db.schema.item_tables import ItemRow
from db.schema.run_records import NewItem, NewRun
from db.write.reviews import NewReview
from db.write.runs import register_run
from deepsound.canonical_json import sha256_bytes
from deepsound.pipeline import Action, Fallback, Policy, Step, VoicePolicy
from tasks.operations.item_loading import load_items
from tasks.operations.item_review import review_item
from tasks.operations.run_activity import unfinished_items
from tasks.operations.run_results import read_results
from tasks.report.build import write_report
from tasks.runtime.deciding_judgement import load_deciding_judgements
from tasks.runtime.item import Item
from tasks.runtime.worker import Worker
from tasks.steps import publish
from tasks.steps.contract import MadeFile, StepContext, StepInputs, StepOutput
from tasks.steps.recording import LAST_TRY
from tasks.steps.registry import StepFunctions
from tasks.steps.runner import run_step
from tests.archive_setup import Archive
from tests.decision_paths import Path, Script, every_path
from tests.ledger_samples import CODE, a_video

PROBABILITY = {1: 0.81, 2: 0.23}
REVIEWER = "kim@desk"
COARSE = b"the coarse audio"


class Decision(NamedTuple):
    """What a reader says of an item."""

    verdict: str | None
    probability: float | None
    round: int | None
    judge_verdict: str | None
    review: str | None


@dataclass(frozen=True)
class ScriptedSteps:
    """Step functions that find what the script of their item says, by the item's name."""

    scripts: dict[str, Script]

    def inputs(self, item: Item, action: Action) -> StepInputs:
        reviews = [review.seq for review in item.reviews.values()]
        parameters = {"item": item.name, "step": action.step, "round": action.round, "reviews": reviews}
        return StepInputs(backend="script", version="1", parameters=parameters)

    def execute(self, context: StepContext) -> StepOutput:
        action, script = context.action, self.scripts[context.item.name]
        found = script.rounds[action.round - 1]
        match action.step:
            case Step.PLAN:
                return StepOutput({"accepted": script.plan_accepted})
            case Step.GENERATE:
                (context.scratch / "coarse.wav").write_bytes(COARSE)
                return StepOutput({}, files={"coarse": MadeFile(context.scratch / "coarse.wav", "audio/wav")})
            case Step.JUDGE:
                result = {"verdict": found.verdict, "voice_heard": found.voice_heard, "voices": []}
                return StepOutput(result, probability=PROBABILITY[action.round])
            case Step.SEPARATE:
                return StepOutput({})
            case Step.CHECK_SILENCE:
                return StepOutput({"silent": found.silent})
            case Step.FALL_BACK:
                return StepOutput({"mode": context.item.settings.fallback})
            case Step.PUBLISH:
                assert action.ending is not None
                return StepOutput(publish.result_without_sound(context.item, action.ending))


def dub_scripted(archive: Archive, policy: Policy, paths: dict[str, tuple[Script, Path]]) -> str:
    """A run of all scripts that is driven to its end, reviewed, and driven to its end again."""
    worker = archive.worker
    settings = settings_from(out=str(archive.out), fallback=policy.fallback, voice=policy.voice).run
    new_items = [NewItem(f"/archive/{name}.mp4", name, a_video(name)) for name in paths]
    with worker.ledger.write() as session:
        run = register_run(session, NewRun("scripted", settings.to_json(), new_items, CODE))
    for item in drive(worker, run):
        script, path = paths[item.name]
        if path.reviewed_round is not None:
            assert script.review is not None
            review_item(worker, item.id, NewReview(REVIEWER, script.review, "listened to it"))
    drive(worker, run)
    return run


def drive(worker: Worker, run: str) -> list[Item]:
    items = load_items(worker, run, unfinished_items(worker, run))
    for item in items:
        state = item
        while (action := state.next_action()) is not None:
            state = run_step(worker, state, action, LAST_TRY)
    return items


def expected(script: Script, path: Path) -> Decision:
    """The decision that the table's ending names."""
    number = path.ending.deciding_round
    if number is None:
        return Decision(None, None, None, None, None)
    judged = str(script.rounds[number - 1].verdict)
    review = str(script.review) if path.reviewed_round == number else None
    return Decision(review or judged, PROBABILITY[number], number, judged, review)


def from_json(told: dict[str, Any]) -> Decision:
    review = None if told["review"] is None else told["review"]["verdict"]
    return Decision(told["verdict"], told["probability"], told["deciding_round"], told["judge_verdict"], review)


def as_table_cell(decision: Decision) -> str:
    if decision.review is None:
        return decision.verdict or "–"
    return f"{decision.verdict} (review; judge: {decision.judge_verdict})"


def as_tree_line(decision: Decision) -> str:
    judgement = f"the judgement of round {decision.round}"
    probability = f"(probability {decision.probability or 0:.3f})"
    if decision.round is None:
        return "verdict none: no judgement decided"
    if decision.review is None:
        return f"verdict {decision.verdict}, by {judgement} {probability}"
    said = f"which said {decision.judge_verdict} {probability}"
    return f"verdict {decision.verdict}, by review 1 of {judgement}, {said}"


def as_report_header(decision: Decision) -> str:
    if decision.round is None:
        return ""
    by = f" by review of {REVIEWER} (judge: {decision.judge_verdict})" if decision.review else ""
    again = ", round 2" if decision.round == 2 else ""
    return f"voice-over: {decision.verdict}{by}, probability {decision.probability:.3f}{again}"


def report_headers(page: str) -> dict[str, str]:
    """What the report says of the voice-over of each item it shows in detail, by name."""
    headers = {}
    for header in re.findall(r'<header class="item">(.*?)</header>', page, re.DOTALL):
        words = " ".join(unescape(re.sub(r"<[^>]+>", "", header)).split())
        name, _, rest = words.partition(" ")
        found = re.search(r"voice-over: .*", rest)
        headers[name] = re.sub(r"\s+,", ",", found[0]) if found else ""
    return headers


def report_decided(page: str) -> dict[str, list[str]]:
    """The steps of each item that the report marks as the judgement that decided, by name."""
    marked = {}
    for article in page.split("<article>")[1:]:
        if (name := re.search(r"<h2>(.*?)</h2>", article)) is not None:
            rows = re.findall(r"<tr>\n<td>(.*?)</td>(.*?)</tr>", article, re.DOTALL)
            marked[name[1]] = [step for step, rest in rows if "this judgement decided" in rest]
    return marked


def tree_text(row: ItemRow, worker: Worker) -> str:
    with worker.ledger.read() as session:
        decided = load_deciding_judgements(session, [row.id])[row.id]
    console = Console(width=1000)
    with console.capture() as captured:
        console.print(item_tree(row, decided))
    return captured.get()


@pytest.mark.parametrize("voice", VoicePolicy)
@pytest.mark.parametrize("fallback", Fallback)
def test_all_readers_agree_with_the_decision_table(
    quiet_archive: Archive, monkeypatch: pytest.MonkeyPatch, fallback: Fallback, voice: VoicePolicy
):
    archive, policy = quiet_archive, Policy(fallback, voice)
    paths = {f"item-{number}": path for number, path in enumerate(every_path(policy).items())}
    steps = ScriptedSteps({name: script for name, (script, _) in paths.items()})
    monkeypatch.setattr(
        "tasks.steps.runner.STEPS", dict.fromkeys(Step, StepFunctions(steps.inputs, steps.execute))
    )
    run = dub_scripted(archive, policy, paths)
    truth = {name: expected(*path) for name, path in paths.items()}

    results = read_results(archive.worker, run)
    assert [result.error for result in results] == [None] * len(truth)
    names = [result.name for result in results]
    told = json.loads(json.dumps(as_json(run, results)))["items"]
    assert dict(zip(names, map(from_json, told), strict=True)) == truth, "dub --json"
    cells = dict(zip(names, summary_table(results).columns[2].cells, strict=True))
    assert cells == {name: as_table_cell(decision) for name, decision in truth.items()}, "the table"

    sidecars = {name: json.loads((archive.out / f"{name}.json").read_text(encoding="utf-8")) for name in names}
    assert {name: from_json(sidecar) for name, sidecar in sidecars.items()} == truth, "sidecars"
    judged = {name: (sidecar["judgement"] or {}).get("verdict") for name, sidecar in sidecars.items()}
    assert judged == {name: decision.judge_verdict for name, decision in truth.items()}, "sidecars"

    done = CliRunner().invoke(app, ["audit", "show", run, "--json", "--db", archive.place.db])
    shown = {item["name"]: item for item in json.loads(done.stdout)["items"]}
    assert {name: from_json(item) for name, item in shown.items()} == truth, "audit show --json"
    published = {name: item["attempts"][-1]["result"]["deciding_round"] for name, item in shown.items()}
    assert published == {name: decision.round for name, decision in truth.items()}, "the ledger"
    with archive.worker.ledger.read() as session:
        rows = item_evidence(session, [result.item for result in results])
    for row in rows:
        assert as_tree_line(truth[row.output_name]) in tree_text(row, archive.worker), "audit show"

    archive.worker.store.delete(sha256_bytes(COARSE))  # It is no sound, so no picture can be drawn of it.
    write_report(archive.worker, [run], archive.folder / "report.html", folder=archive.folder)
    page = (archive.folder / "report.html").read_text(encoding="utf-8")
    assert report_headers(page) == {name: as_report_header(decision) for name, decision in truth.items()}, "report"
    marks = {None: [], 1: ["judge"], 2: ["judge, round 2"]}
    assert report_decided(page) == {name: marks[decision.round] for name, decision in truth.items()}, "report"
