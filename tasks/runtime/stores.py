"""Where this process keeps its books: the ledger's database and the artifact store."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from deepsound.user_dirs import data_folder, state_folder


@dataclass(frozen=True, slots=True)
class StoreUrls:
    """Database URL of the ledger, and URL or path of the artifact store. Either may hold a password."""

    db: str
    store: str


def default_store_urls() -> StoreUrls:
    """From DEEPSOUND_DB and DEEPSOUND_STORE, else under the user's own state and data folders (XDG)."""
    return StoreUrls(
        db=os.environ.get("DEEPSOUND_DB") or f"sqlite:///{state_folder() / 'ledger.sqlite3'}",
        store=os.environ.get("DEEPSOUND_STORE") or str(data_folder() / "store"),
    )


_place: ContextVar[StoreUrls | None] = ContextVar("place", default=None)


@contextmanager
def using_stores(place: StoreUrls) -> Generator[None]:
    """Flows started inside the block, in this process, keep their books there."""
    token = _place.set(place)
    try:
        yield
    finally:
        _place.reset(token)


def current_store_urls() -> StoreUrls:
    """Where books are kept here and now: a worker process on another machine has only its environment."""
    return _place.get() or default_store_urls()
