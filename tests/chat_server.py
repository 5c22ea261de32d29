"""A server on loopback that speaks OpenAI's chat protocol over real HTTP, and misbehaves when told to.

Its model says what it is given to say; the last fault is a test's own: any function of the request handler.
"""

import json
import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from deepsound.cot import Stage, format_judgement

MODEL = "acme/Omni-7B"

YES = format_judgement(
    {
        Stage.SUMMARY: "I will see who is shown and hear who speaks.",
        Stage.CAPTION: "Nobody is in the picture – “ein Garten”. A man speaks.",
        Stage.REASONING: "There is the sound of people while there are none in the video.",
        Stage.CONCLUSION: "A",
    }
)

Fault = Callable[[BaseHTTPRequestHandler], None]


class FakeChatServer:
    """What it serves, says and was asked. `faults` befall the next requests, one each."""

    def __init__(self) -> None:
        self.models = [MODEL]
        self.says = YES
        self.message: dict[str, object] = {}
        self.finish_reason = "stop"
        self.chances: dict[str, float] | None = {"A": 0.6, " A": 0.2, "B": 0.2}
        self.seconds = 0.0
        self.faults: deque[Fault] = deque()
        self.requests: list[dict] = []
        self.authorizations: list[str | None] = []
        self.times: list[float] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def completion(self, request: dict) -> dict:
        """The answer to a request that nothing befalls."""
        message = self.message or {"role": "assistant", "content": self.says}
        choice: dict[str, object] = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        if self.chances is not None and request.get("logprobs"):
            choice["logprobs"] = {"content": [*spoken(self.says, self.chances), _token("<|im_end|>", {})]}
        usage = {"prompt_tokens": 3210, "completion_tokens": 99, "total_tokens": 3309}
        return {"id": "chat-1", "object": "chat.completion", "choices": [choice], "usage": usage}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server._note(self)
                known = {"object": "list", "data": [{"id": name, "object": "model"} for name in server.models]}
                server._answer(self, lambda: respond(self, json.dumps(known)))

            def do_POST(self) -> None:
                server._note(self)
                request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                server.requests.append(request)
                server._answer(self, lambda: respond(self, json.dumps(server.completion(request))))

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _note(self, handler: BaseHTTPRequestHandler) -> None:
        self.authorizations.append(handler.headers["authorization"])
        self.times.append(time.monotonic())

    def _answer(self, handler: BaseHTTPRequestHandler, well: Callable[[], None]) -> None:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            fault = self.faults.popleft() if self.faults else None
        time.sleep(self.seconds)
        # Before the answer: whoever gets it may ask again at once.
        with self._lock:
            self._at_once -= 1
        if fault:
            fault(handler)
        else:
            well()


@contextmanager
def chat_server() -> Iterator[FakeChatServer]:
    server = FakeChatServer()
    try:
        yield server
    finally:
        server.close()


def respond(
    handler: BaseHTTPRequestHandler, body: str | bytes, status: int = 200, headers: dict[str, str] | None = None
) -> None:
    data = body.encode() if isinstance(body, str) else body
    handler.send_response(status)
    for name, value in {"content-type": "application/json", **(headers or {})}.items():
        handler.send_header(name, value)
    handler.send_header("content-length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def status(code: int, words: str = "so it is", **headers: str) -> Fault:
    """An error in the protocol's form."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: respond(handler, json.dumps({"error": {"message": words}}), code, named)


def says(body: str | bytes) -> Fault:
    """200, and these bytes for a body."""
    return lambda handler: respond(handler, body)


def cut(handler: BaseHTTPRequestHandler) -> None:
    """The connection ends in the middle of the body."""
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"mess')
    handler.wfile.flush()
    handler.close_connection = True


def drip(handler: BaseHTTPRequestHandler) -> None:
    """A byte now and then, for two seconds: never silent for long, never done."""
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    try:
        for _ in range(40):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.05)
    except OSError:
        pass  # the client had enough, as it should
    handler.close_connection = True


def spoken(reply: str, chances: dict[str, float]) -> list[dict]:
    """The reply as tokens; the conclusion's letter is one of its own and has `chances` for alternatives."""
    pieces = re.findall(r"(?<=<CONCLUSION>) ?[AB](?= ?<)|<CONCLUSION>|\s*[^\s<]+|<|\s+", reply)
    assert "".join(pieces) == reply
    tokens: list[dict] = []
    for before, piece in zip(["", *pieces], pieces, strict=False):
        tokens += _in_bytes(piece, chances if before == "<CONCLUSION>" else {})
    return tokens


def _in_bytes(piece: str, chances: dict[str, float]) -> list[dict]:
    """One token, or one a byte where it is no ASCII, as byte-level vocabularies have it."""
    if piece.isascii():
        return [_token(piece, chances)]
    return [{**_token("�", {}), "bytes": [byte]} for byte in piece.encode()]


def _token(text: str, chances: dict[str, float]) -> dict:
    places = [
        {"token": other, "logprob": math.log(chance), "bytes": list(other.encode())}
        for other, chance in chances.items()
    ]
    return {"token": text, "logprob": -0.1, "bytes": list(text.encode()), "top_logprobs": places}
