"""All tables of the ledger, by theme in `shared_tables`, `run_tables`, `item_tables` and `attempt_tables`.

docs/reference/ledger.md describes them for auditors. Triggers of the migrations keep every table append-only
except `work`, and the columns `seen_at` and `ended_at` of `worker_session`. Import row classes from here:
relationships between tables resolve only once all of them are loaded.
"""

from db.schema.attempt_tables import (
    AttemptArtifactRow,
    AttemptModelRow,
    AttemptRow,
    DecisionRow,
    EffectRow,
    ThoughtRow,
)
from db.schema.item_tables import ItemRow, RetryRow, ReviewRow, WorkRow
from db.schema.run_tables import RunEventRow, RunRow, SealRow, WorkerSessionRow
from db.schema.shared_tables import (
    ArtifactRow,
    CodeVersionRow,
    DocumentRow,
    EnvironmentRow,
    ExpiryRow,
    ModelRow,
    VideoRow,
)
from db.schema.table_base import Base, row_values, table_of

__all__ = [
    "ArtifactRow",
    "AttemptArtifactRow",
    "AttemptModelRow",
    "AttemptRow",
    "Base",
    "CodeVersionRow",
    "DecisionRow",
    "DocumentRow",
    "EffectRow",
    "EnvironmentRow",
    "ExpiryRow",
    "ItemRow",
    "ModelRow",
    "RetryRow",
    "ReviewRow",
    "RunEventRow",
    "RunRow",
    "SealRow",
    "ThoughtRow",
    "VideoRow",
    "WorkRow",
    "WorkerSessionRow",
    "row_values",
    "table_of",
]
