"""What one process needs to work on a run: the ledger, the store, the run's settings, a scratch folder."""

import hashlib
import importlib.metadata
import platform
import socket
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from db.schema.database import Ledger, check_ledger, open_ledger
from db.schema.records import CodeVersion, Environment, ExecutionContext
from deepsound.storage.protocol import ArtifactStore
from deepsound.storage.store_urls import open_store
from tasks.runtime.footage_cache import FootageCache
from tasks.runtime.stores import StoreUrls

_OF_NOTHING: Final = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Worker:
    """One process at work: shared by all its threads, and by every run it works on."""

    ledger: Ledger
    store: ArtifactStore
    execution_context: ExecutionContext
    footage: FootageCache


def check_access(worker: Worker) -> None:
    """Raise DeepSoundError (LEDGER_*, STORE_*) where ledger or store is away, or does not let this machine in."""
    with worker.ledger.read() as session:
        session.connection()
    worker.store.has(_OF_NOTHING)


@cache
def open_worker(place: StoreUrls) -> Worker:
    """The worker of this process for a place; opened once. Raises DeepSoundError."""
    return Worker(open_ledger(place.db), open_store(place.store), execution_context(), FootageCache())


def open_existing_worker(place: StoreUrls) -> Worker:
    """The same for what starts nothing new: raises DeepSoundError (BAD_SETTINGS) where there is no ledger yet."""
    check_ledger(place.db)
    return open_worker(place)


@cache
def execution_context() -> ExecutionContext:
    """This process: host, device, program and packages."""
    packages = {dist.name: dist.version for dist in importlib.metadata.distributions()}
    environment = Environment(platform.python_version(), platform.platform(), packages)
    return ExecutionContext(socket.gethostname(), _device(), _code_version(), environment)


def _device() -> str:
    """What models run on. Importing torch takes seconds, so it is asked only where a backend has loaded it."""
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else "cpu"


def _code_version() -> CodeVersion:
    """The installed release; revision and changes too where the program runs from its own repository."""
    release = importlib.metadata.version("deepsound")
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return CodeVersion(release, None, is_modified=False)
    return CodeVersion(
        release, _git(root, "rev-parse", "HEAD"), is_modified=bool(_git(root, "status", "--porcelain", "-uno"))
    )


def _git(root: Path, *arguments: str) -> str | None:
    try:
        asked = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None  # No git here, or a repository of another user: the release number has to do.
    return asked.stdout.strip()
