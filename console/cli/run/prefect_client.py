"""The way from a command to Prefect's server, which only a command that starts something there needs."""

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
            "no Prefect server is configured, and workers are found through one",
            where="PREFECT_API_URL",
            remedy="start one with `prefect server start` and set PREFECT_API_URL, or use `deepsound dub`",
        )
    check_server(api_url)
    use_server(api_url, private=False)


def ask(work: Coroutine[Any, Any, Result]) -> Result:
    """Run what talks to the server, to its end. Raises DeepSoundError (SERVER_UNAVAILABLE)."""
    # Whoever has work for it has imported it already.
    from prefect.exceptions import PrefectException

    try:
        return asyncio.run(work)
    except (httpx.HTTPError, PrefectException) as error:
        raise ServerUnavailableError(
            f"the Prefect server does not do what it is asked: {str(error).partition(chr(10))[0]}",
            where=configured_server() or "",
            remedy="see its log; once it is well, `deepsound run sweep` has every open run followed",
        ) from error
