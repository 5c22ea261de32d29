"""URLs of the ledger and the artifact store. A run does not freeze them: processes may reach both differently."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from pydantic import BaseModel, Field

from deepsound.user_dirs import data_folder, state_folder
from tasks.runtime.setting_traits import variable_of


class StoreUrls(BaseModel, frozen=True, extra="forbid"):
    """The settings of a process rather than of a run. Either URL may hold a password."""

    db: str = Field(
        default_factory=lambda: f"sqlite:///{state_folder() / 'ledger.sqlite3'}",
        description="URL of the ledger's database: sqlite:///FILE or postgresql://USER@HOST/NAME.",
    )
    store: str = Field(
        default_factory=lambda: str(data_folder() / "store"),
        description="Artifact store: a folder, or s3://bucket/prefix.",
    )


def environment_store_urls() -> StoreUrls:
    """From DEEPSOUND_DB and DEEPSOUND_STORE, else under the user's own state and data folders (XDG)."""
    variables = {name: os.environ.get(variable_of(name)) for name in StoreUrls.model_fields}
    return StoreUrls(**{name: url for name, url in variables.items() if url})


_current: ContextVar[StoreUrls | None] = ContextVar("current_store_urls", default=None)


@contextmanager
def using_stores(stores: StoreUrls) -> Generator[None]:
    """Flows that this process starts inside the block use these stores."""
    token = _current.set(stores)
    try:
        yield
    finally:
        _current.reset(token)


def current_store_urls() -> StoreUrls:
    """The stores of the surrounding `using_stores`; without one, as on a worker, those of the environment."""
    return _current.get() or environment_store_urls()
