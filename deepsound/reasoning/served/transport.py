"""One request over HTTP and its answer: bounded in number, time and size, asked again where that may help."""

import random
import ssl
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache

import httpx
from pydantic import SecretStr

from deepsound.errors import DeepSoundError, ModelFailedError, ServerUnavailableError, TimedOutError

CONCURRENT_REQUESTS = 4
"""Requests one process has under way at once, whichever reasoners they are for."""

MAX_RESPONSE_BYTES = 32 << 20
"""Bytes. A reply of 2048 tokens with 20 alternatives each is about 4 MB."""

_TOO_MANY_REQUESTS = 429
_SERVER_ERRORS = 500

# Held while waiting too, so that a server that asks for patience gets it from the whole process.
_slots = threading.BoundedSemaphore(CONCURRENT_REQUESTS)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to wait, in seconds, and how often to ask.

    `connect`: for a connection. `answer`: for the whole of one answer. Between two of the `attempts` lies a
    random time up to `pause`, doubled with each, at most `longest_pause` (full jitter); on top of what the server
    asks for, if that is no more than `longest_pause`.
    """

    connect: float = 10.0
    answer: float = 300.0
    attempts: int = 5
    pause: float = 1.0
    longest_pause: float = 60.0


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A status below 500 other than 429, and the body."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class _TransientFailure:
    """What may pass by itself, and the seconds the server asks to be left alone for."""

    what: str
    wait: float = 0.0


class Transport:
    """Requests to one server. Any number of threads may use it."""

    def __init__(self, url: str, key: SecretStr | None, patience: RetryPolicy) -> None:
        self._url = url
        self._patience = patience
        self._http = httpx.Client(
            headers={"authorization": f"Bearer {key.get_secret_value()}"} if key else {},
            verify=_certificates(),
            timeout=httpx.Timeout(patience.answer, connect=patience.connect, pool=None),
        )

    def ask(self, path: str, body: bytes | None = None) -> HttpResponse:
        """GET `path` below the root, or POST `body`, which is JSON.

        Raises ServerUnavailableError once every attempt met a failing, busy or absent server,
        TimedOutError, ModelFailedError for an answer that is too large or garbled.
        """
        with _slots:
            attempt = 1
            while isinstance(outcome := self._once(path, body), _TransientFailure):
                if attempt == self._patience.attempts or outcome.wait > self._patience.longest_pause:
                    raise self._unavailable(outcome, attempt)
                time.sleep(outcome.wait + self._jitter(attempt))
                attempt += 1
            return outcome

    def _once(self, path: str, body: bytes | None) -> HttpResponse | _TransientFailure:
        """One attempt. Asking again after a time limit would only add to the load, so that is final."""
        method = "GET" if body is None else "POST"
        headers = {} if body is None else {"content-type": "application/json"}
        try:
            with self._http.stream(method, self._url + path, content=body, headers=headers) as response:
                answer = HttpResponse(response.status_code, self._read(response))
        except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
            raise self._too_slow() from error
        except httpx.TransportError as error:
            return _TransientFailure(f"no answer: {str(error) or type(error).__name__}")
        except httpx.DecodingError as error:
            raise self._garbled("its answer can't be unpacked") from error
        if answer.status == _TOO_MANY_REQUESTS or answer.status >= _SERVER_ERRORS:
            return _TransientFailure(f"the server answers {answer.status}", _retry_after(response))
        return answer

    def _read(self, response: httpx.Response) -> bytes:
        end = time.monotonic() + self._patience.answer
        held = bytearray()
        for piece in response.iter_bytes():
            held += piece
            if len(held) > MAX_RESPONSE_BYTES:
                raise self._garbled(f"its answer is longer than {MAX_RESPONSE_BYTES >> 20} MiB")
            if time.monotonic() > end:
                raise self._too_slow()
        return bytes(held)

    def _jitter(self, attempt: int) -> float:
        ceiling = min(self._patience.pause * 2 ** (attempt - 1), self._patience.longest_pause)
        return random.uniform(0.0, ceiling)  # noqa: S311 - spreads load, keeps no secret

    def _unavailable(self, trouble: _TransientFailure, attempts: int) -> DeepSoundError:
        return ServerUnavailableError(
            f"{trouble.what} (asked {attempts} times)",
            where=self._url,
            remedy="check that the server runs and is not overloaded, then run again",
        )

    def _too_slow(self) -> DeepSoundError:
        return TimedOutError(
            f"no whole answer within {self._patience.answer:g} s",
            where=self._url,
            remedy="check the server's load, or let fewer workers ask it",
        )

    def _garbled(self, what: str) -> DeepSoundError:
        return ModelFailedError(what, where=self._url, remedy="check that this is the model's server")


@cache
def _certificates() -> ssl.SSLContext:
    # Reading them takes longer than a request does.
    return httpx.create_ssl_context()


def _retry_after(response: httpx.Response) -> float:
    """Seconds of the Retry-After header, which holds seconds or a date (RFC 9110, section 10.2.3); else 0."""
    said = response.headers.get("retry-after", "").strip()
    if said.isascii() and said.isdigit():
        return float(said)
    try:
        until = parsedate_to_datetime(said)
    except ValueError:
        return 0.0
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max((until - datetime.now(UTC)).total_seconds(), 0.0)
