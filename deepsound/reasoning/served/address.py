"""Where the server is, which of its models is meant, and the key it may want: checked before anything starts."""

import os
import re
from dataclasses import dataclass

import httpx
from pydantic import SecretStr

from deepsound.errors import BadSettingsError, DeepSoundError

KEY_VARIABLE = "DEEPSOUND_SERVED_API_KEY"
"""The environment variable that holds the server's key; there is no other way to give it."""

_VERSION = "/v1"
_LAST_PORT = 65535
_LABEL = "[a-z0-9_-]{1,63}"
_HOST = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}\.?|[0-9a-f.:]+:[0-9a-f.:]+|::[0-9a-f.:]*")
_BEARER = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750, section 2.1


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The protocol's root, such as `http://gpu-7:8000/v1`, without a slash at its end; the model, if named."""

    url: str
    model: str | None


def parse_address(text: str) -> ServerAddress:
    """Read `<url>` or `<url>#<model>`; a URL without a path means the usual `/v1`.

    Raises BadSettingsError, also for a URL that holds a secret: it would end up in the ledger.
    """
    location, _, model = text.partition("#")
    try:
        url = httpx.URL(location)
    except httpx.InvalidURL as error:
        raise _bad("that is no URL") from error
    if url.userinfo or url.query:
        raise _bad("the URL holds a password or a query", f"keep the key in {KEY_VARIABLE} and out of the URL")
    if (
        url.scheme not in ("http", "https")
        or not _HOST.fullmatch(url.raw_host.decode())
        or (url.port or 0) > _LAST_PORT
    ):
        raise _bad("the URL names no http or https server")
    return ServerAddress(str(url.copy_with(path=url.path.rstrip("/") or _VERSION)), model or None)


def read_api_key() -> SecretStr | None:
    """The key of the environment; None where it is unset or empty. Raises BadSettingsError."""
    key = os.environ.get(KEY_VARIABLE, "")
    if not key:
        return None
    if not _BEARER.fullmatch(key):
        raise BadSettingsError(
            "holds characters that no key has",
            where=KEY_VARIABLE,
            remedy="set it to the key alone, without quotes or blanks",
        )
    return SecretStr(key)


def _bad(
    what: str, remedy: str = "name it as served:http://host:port or served:http://host:port#model"
) -> DeepSoundError:
    return BadSettingsError(what, where="reasoner 'served'", remedy=remedy)
