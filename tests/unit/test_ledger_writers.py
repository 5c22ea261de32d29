"""Only `db.write` inserts rows, one module for each table; the lease queue alone changes `work`."""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, event

from db.read.review_state import find_judgement
from db.schema.database import Ledger
from db.schema.run_records import EventKind
from db.schema.tables import Base
from db.write.expiry import record_expiry
from db.write.retries import retry_items
from db.write.reviews import NewReview, record_review
from db.write.run_events import record_event
from db.write.seals import seal_run
from db.write.worker_sessions import begin_worker_session, end_worker_session, record_heartbeat
from deepsound.cot import Verdict
from deepsound.pipeline import Step
from tests.ledger_samples import EXECUTION_CONTEXT, OWNER, SEPARATE_STEP, a_run, begin, bytes_of, dub

ROOT = Path(__file__).parents[2]
ROOMS = ("console", "flows", "tasks", "db")
WRITERS = {"insert", "update", "delete", "merge"}
"""SQLAlchemy's constructors of statements that change rows."""
SESSION_WRITERS = {"add", "add_all", "merge", "delete", "bulk_save_objects", "bulk_insert_mappings"}
"""Methods of a session that change rows."""
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def may_write(module: Path) -> bool:
    return module.parts[:2] == ("db", "write") or module == Path("db/state/lease_queue.py")


def writing_calls(module: Path) -> Iterator[str]:
    """Calls in a module that build or execute statements that change rows."""
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy")
        for alias in node.names
        if alias.name in WRITERS
    }
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in imported:
                yield f"{module}:{node.lineno}: {name}"
            case ast.Call(func=ast.Attribute(value=ast.Name(id="session"), attr=name)) if name in SESSION_WRITERS:
                yield f"{module}:{node.lineno}: session.{name}"
            case ast.Call(func=ast.Attribute(attr="insert" | "update" as name)) if "table_of" in ast.unparse(node):
                yield f"{module}:{node.lineno}: {name}"
            case ast.Call(func=ast.Name(id="text"), args=[ast.Constant(value=str(sql))]) if re.match(
                r"\s*(INSERT|UPDATE|DELETE)", sql, re.IGNORECASE
            ):
                yield f"{module}:{node.lineno}: {sql}"
            case _:
                pass


def modules() -> list[Path]:
    found = [path.relative_to(ROOT) for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    return [path for path in found if "migrations" not in path.parts]


def test_only_db_write_and_the_lease_queue_change_rows() -> None:
    assert [call for module in modules() if not may_write(module) for call in writing_calls(module)] == []


def test_the_search_for_writing_calls_finds_those_of_db_write() -> None:
    silent = {"__init__.py"}
    writers = [module for module in modules() if may_write(module) and module.name not in silent]
    assert [str(module) for module in writers if not [*writing_calls(module)]] == []


@contextmanager
def writers_by_table() -> Iterator[dict[str, set[str]]]:
    """Inside, every statement that changes rows is noted: the table, and the module of `db` that executed it."""
    noted: dict[str, set[str]] = defaultdict(set)

    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        if changed := re.match(r"(?:INSERT INTO|UPDATE|DELETE FROM) (\w+)", statement):
            noted[changed[1]].add(calling_module())

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield noted
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def calling_module() -> str:
    frame = sys._getframe()
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        if name.startswith("db."):
            return name
        frame = frame.f_back
    return "elsewhere"


def test_every_table_has_one_writing_module(ledger: Ledger) -> None:
    with writers_by_table() as writers:
        run_id, (item_id,) = begin(ledger, a_run("a.mp4"))
        with ledger.write() as session:
            worker = begin_worker_session(session, run_id, OWNER, EXECUTION_CONTEXT, None)
        dub(ledger, item_id)
        with ledger.write() as session:
            record_heartbeat(session, worker, OWNER)
            end_worker_session(session, worker, OWNER)
            assert seal_run(session, run_id, KEY)
            record_event(session, run_id, EventKind.PAUSED, by="kim@desk")
            review = NewReview("kim@desk", Verdict.YES, "a man speaks, unseen")
            record_review(session, find_judgement(session, item_id), review, SEPARATE_STEP)
            retry_items(session, run_id, step=Step.JUDGE, by="kim@desk")
            record_expiry(session, [bytes_of(f"item {item_id} coarse").sha256], "older than 30 days")
    assert writers.keys() == {table.name for table in Base.metadata.sorted_tables}
    assert {table: modules for table, modules in writers.items() if len(modules) > 1} == {}
    assert writers.pop("work") == {"db.state.lease_queue"}
    assert {module.rpartition(".")[0] for modules in writers.values() for module in modules} == {"db.write"}
