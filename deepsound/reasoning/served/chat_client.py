"""A server that speaks OpenAI's chat protocol: what it serves, and what its model says."""

import json
from typing import TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from deepsound.canonical_json import Json
from deepsound.errors import BadSettingsError, DeepSoundError, ModelFailedError
from deepsound.reasoning.served.address import KEY_VARIABLE
from deepsound.reasoning.served.chat_messages import Completion, ErrorBody, ServedModels
from deepsound.reasoning.served.transport import HttpResponse, RetryPolicy, Transport

TEMPERATURE = 0
MAX_NEW_TOKENS = 2048
ALTERNATIVES = 20
"""Tokens whose probability is asked for at each place; servers give no more."""

_OK, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 200, 401, 403, 404
_BAD_REQUESTS = (400, 422)
_LONGEST_QUOTE = 300
_LISTED = 5

_Read = TypeVar("_Read", bound=BaseModel)


class ChatClient:
    """The chat protocol at `url`. Any number of threads may use it.

    Every method may raise what `Transport.ask` raises, BadSettingsError where the address, the key or the model's
    name is wrong, and ModelFailedError where the server turns a request down or does not speak the protocol.
    """

    def __init__(self, url: str, key: SecretStr | None, patience: RetryPolicy) -> None:
        self._url = url
        self._key = key.get_secret_value if key else None
        self._transport = Transport(url, key, patience)
        self._gives_logprobs = True

    def only_model(self) -> str:
        """The name of the one model served."""
        names = [model.id for model in self._read(ServedModels, self._transport.ask("/models")).data]
        if len(names) == 1:
            return names[0]
        listed = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
        raise BadSettingsError(
            f"the server has {len(names)} models ({listed})" if names else "the server has no model",
            where=self._url,
            remedy=f"name one of them: served:{self._url}#<model>",
        )

    def complete(self, model: str, content: list[Json]) -> Completion:
        """What `model` says to one message of `content` parts, greedily; with logprobs if the server has them."""
        request: dict[str, Json] = {
            "model": model,
            "messages": [{"role": "user", "content": content}],
            "temperature": TEMPERATURE,
            "max_tokens": MAX_NEW_TOKENS,
        }
        if self._gives_logprobs:
            answer = self._post({**request, "logprobs": True, "top_logprobs": ALTERNATIVES})
            if answer.status not in _BAD_REQUESTS or b"logprobs" not in answer.body:
                return self._read(Completion, answer)
            self._gives_logprobs = False
        return self._read(Completion, self._post(request))

    def _post(self, request: dict[str, Json]) -> HttpResponse:
        return self._transport.ask("/chat/completions", json.dumps(request).encode())

    def _read(self, kind: type[_Read], answer: HttpResponse) -> _Read:
        if answer.status != _OK:
            raise self._turned_down(answer)
        try:
            read = kind.model_validate_json(answer.body)
        except ValidationError as error:
            raise self._failed(f"its answer is none of the chat protocol ({_first_fault(error)})") from error
        if self._holds_key(read.model_dump_json()):
            raise self._failed("its answer repeats the key, so it is not kept")
        return read

    def _turned_down(self, answer: HttpResponse) -> DeepSoundError:
        if answer.status in (_UNAUTHORIZED, _FORBIDDEN):
            what = f"the server wants {'another' if self._key else 'a'} key (it answers {answer.status})"
            remedy = f"set {KEY_VARIABLE} to a valid one"
            return BadSettingsError(what, where=self._url, remedy=remedy)
        what = f"the server answers {answer.status}{self._quote(answer.body)}"
        if answer.status == _NOT_FOUND or answer.status < _BAD_REQUESTS[0]:
            remedy = "check the URL (its path often ends in /v1) and the model's name"
            return BadSettingsError(what, where=self._url, remedy=remedy)
        return self._failed(what)

    def _quote(self, body: bytes) -> str:
        """The server's own words on one line; none where they hold the key."""
        try:
            said = ErrorBody.model_validate_json(body).error.message
        except ValidationError:
            said = body.decode("utf-8", "replace")
        line = " ".join("".join(letter if letter.isprintable() else " " for letter in said).split())
        return f": {line[:_LONGEST_QUOTE]}" if line and not self._holds_key(said) else ""

    def _holds_key(self, text: str) -> bool:
        return self._key is not None and self._key() in text

    def _failed(self, what: str) -> DeepSoundError:
        remedy = "check that the model served takes pictures and sound, and the server's log"
        return ModelFailedError(what, where=self._url, remedy=remedy)


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(step) for step in fault["loc"])
    return f"{place}: {fault['msg']}" if place else fault["msg"]
