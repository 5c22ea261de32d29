"""Connects a command to Prefect's server. Only commands that start flows there need it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import httpx

from deepsound.errors import PrefectNotStartedError, ServerUnavailableError
from flows.prefect_server import check_server, configured_server, use_server

Result = TypeVar("Result")


def reach_server() -> None:
    """Point Prefect at the configured server. Raises DeepSoundError (ENGINE_NOT_STARTED)."""
    api_url = configured_server()
    if api_url is None:
        raise PrefectNotStartedError(
            "no Prefect server is configured; workers are reached through one",
            where="PREFECT_API_URL",
            remedy="start one with `prefect server start` and set PREFECT_API_URL, or use `deepsound dub`",
        )
    check_server(api_url)
    use_server(api_url, private=False)


def ask(request: Coroutine[Any, Any, Result]) -> Result:
    """Await a request to the server. Raises DeepSoundError (SERVER_UNAVAILABLE)."""
    # Imported here because Prefect takes seconds to import; whoever has a request has imported it already.
    from prefect.exceptions import PrefectException

    try:
        return asyncio.run(request)
    except (httpx.HTTPError, PrefectException) as error:
        raise ServerUnavailableError(
            f"the Prefect server refused a request: {str(error).partition(chr(10))[0]}",
            where=configured_server() or "",
            remedy="see its log; once it works, `deepsound run sweep` restarts the flows of every open run",
        ) from error
