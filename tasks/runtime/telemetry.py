"""What a worker tells while it works: a log line an attempt, as JSON where asked, and metrics for Prometheus.

`DEEPSOUND_LOG=json` writes JSON lines to stderr; `DEEPSOUND_METRICS_PORT` serves metrics on that port or, since
workers of a machine share it, on the first free one behind it. Both are for workers; commands talk to people.
"""

import logging
import os
from functools import cache
from typing import Any

from db.schema.records import AttemptRecord
from deepsound.errors import BadSettingsError, DeepSoundError
from tasks.runtime.item import Item

log = logging.getLogger("deepsound.attempts")

_PORTS = 32
_OWN_LOGGERS = ("console", "flows", "tasks", "db", "deepsound")


def set_up_telemetry() -> None:
    """Before the first step of a worker. Raises DeepSoundError (BAD_SETTINGS)."""
    _set_up_logging()
    _metrics()


def log_attempt(item: Item, record: AttemptRecord, attempt_id: int) -> None:
    """Log and count an attempt that is in the ledger."""
    seconds = (record.ended_at - record.started_at).total_seconds()
    about = {
        "run": item.run_id,
        "item": item.id,
        "video": item.video_sha256,
        "step": record.at.step.value,
        "round": record.at.round,
        "attempt": attempt_id,
        "status": record.status.value,
        "error": None if record.failure is None else record.failure.code.value,
        "seconds": round(seconds, 3),
        "backend": record.backend,
    }
    log.info("%s of %s: %s", record.at.step, item.name, record.status, extra=about)
    if (metrics := _metrics()) is not None:
        metrics.count(about, seconds)


@cache
def _set_up_logging() -> None:
    if os.environ.get("DEEPSOUND_LOG") != "json":
        return
    from pythonjsonlogger.json import JsonFormatter

    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    for name in _OWN_LOGGERS:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False


class _Metrics:
    """What Prometheus scrapes; label values are names of ours, never of files."""

    def __init__(self, port: int) -> None:
        from prometheus_client import Counter, Histogram

        self._attempts = Counter("deepsound_attempts", "Attempts by their end", ["step", "status", "error"])
        self._seconds = Histogram(
            "deepsound_step_seconds",
            "How long steps that were done took",
            ["step", "backend"],
            buckets=(0.05, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600),
        )
        self.port = _serve(port)

    def count(self, about: dict[str, Any], seconds: float) -> None:
        self._attempts.labels(about["step"], about["status"], about["error"] or "").inc()
        if about["status"] == "done":
            self._seconds.labels(about["step"], about["backend"]).observe(seconds)


@cache
def _metrics() -> _Metrics | None:
    asked = os.environ.get("DEEPSOUND_METRICS_PORT")
    if not asked:
        return None
    if not asked.isdecimal() or not 0 < int(asked) < 65536 - _PORTS:
        raise _unusable(f"{asked!r} is no port", "give a number such as 9400")
    try:
        return _Metrics(int(asked))
    except ImportError as error:
        raise _unusable("the package prometheus-client is missing", "pip install 'deepsound[metrics]'") from error


def _serve(port: int) -> int:
    from prometheus_client import start_http_server

    for candidate in range(port, port + _PORTS):
        try:
            start_http_server(candidate, addr=os.environ.get("DEEPSOUND_METRICS_ADDRESS", "127.0.0.1"))
        except OSError:
            continue  # Another worker of this machine has it.
        return candidate
    raise _unusable(f"ports {port} to {port + _PORTS - 1} are all taken", "choose another range")


def _unusable(what: str, remedy: str) -> DeepSoundError:
    return BadSettingsError(what, where="DEEPSOUND_METRICS_PORT", remedy=remedy)
