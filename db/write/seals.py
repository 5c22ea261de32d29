"""Seals a closed run: signs the Merkle root over its hash chains. Writes the table `seal`.

Each seal refers to the previous one in the whole ledger, so a deleted seal is missed.
"""

from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import exists, insert, select, text
from sqlalchemy.orm import Session

from db.read.hash_chains import event_chain, item_chains
from db.read.run_state import lock_run
from db.schema.column_types import stored
from db.schema.hashing import seal_hash
from db.schema.seal_format import ALGORITHM, SealContent, head_of, signed_bytes
from db.schema.tables import ItemRow, SealRow, WorkRow, row_values, table_of
from db.state.lease_queue import IS_OPEN

_LOCK = 0x7365616C73  # key of PostgreSQL's advisory lock: any number, the same in every release


def seal_run(session: Session, run_id: str, key: Ed25519PrivateKey) -> bool:
    """Seals a run. Returns False if it has open steps, or if its latest seal already covers all of it.

    Raises NoSuchRunError.
    """
    # Retries lock the run too, so no step opens before this transaction ends.
    run = lock_run(session, run_id)
    if _has_open_steps(session, run_id):
        return False
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    items = {chain.ordinal: head_of(chain.hashes) for chain in item_chains(session, run_id)}
    last = session.scalar(select(SealRow).order_by(SealRow.id.desc()).limit(1))
    previous = None if last is None else (last.run_id, seal_hash(row_values(last)))
    content = SealContent(head_of(event_chain(session, run)), items, previous)
    of_run = select(SealRow.merkle_root).where(SealRow.run_id == run_id).order_by(SealRow.id.desc()).limit(1)
    if session.scalar(of_run) == content.root:
        return False
    row = stored(
        table_of(SealRow),
        {
            "run_id": run_id,
            "created_at": datetime.now(UTC),
            "items": len(items),
            "merkle_root": content.root,
            "algorithm": ALGORITHM,
            "public_key": key.public_key().public_bytes_raw().hex(),
            "witness": content.to_text(),
        },
    )
    signature = key.sign(signed_bytes(seal_hash(row))).hex()
    session.execute(insert(table_of(SealRow)), {**row, "signature": signature})
    return True


def _has_open_steps(session: Session, run_id: str) -> bool:
    return bool(
        session.scalar(select(exists().where(ItemRow.run_id == run_id, WorkRow.item_id == ItemRow.id, IS_OPEN)))
    )
