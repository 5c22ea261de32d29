"""docs/reference/ledger.md tells auditors the truth."""

import re
from pathlib import Path

from sqlalchemy import text

from db.schema.database import Ledger
from db.schema.tables import Base
from tests.ledger_samples import a_run, begin, dub

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "ledger.md").read_text()


def test_every_table_is_listed_with_all_its_columns() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", PAGE, re.MULTILINE)
    listed = {table: re.findall(r"`(\w+)`", columns) for table, columns in rows}
    assert listed == {
        table.name: [column.name for column in table.columns] for table in Base.metadata.sorted_tables
    }


def test_the_queries_it_gives_answer(ledger: Ledger) -> None:
    run_id, (item_id,) = begin(ledger, a_run("reel.mp4"))
    dub(ledger, item_id)
    why, weights, failed = re.findall(r"```sql\n(.+?);\n```", PAGE, re.DOTALL)
    with ledger.read() as session:
        removed = session.execute(text(why.replace("= 17", f"= {item_id}"))).all()
        assert [(row.operation, row.value, row.words) for row in removed] == [("remove_voice", "yes", "A")] * 2
        assert session.execute(text(weights)).all() == [(run_id, "reel.mp4")]
        assert session.execute(text(failed.replace("…", run_id))).all() == []
