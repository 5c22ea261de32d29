"""A gateway before a real S3 server that answers with faults, dawdles, cuts connections and goes away.

Server, store and client stay what they are; only what is between them behaves as networks and full disks do.
"""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.s3_servers import S3Server

_BLOCK = 1 << 14
_OF_ONE_CONNECTION = {"connection", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is answered in place of the server: a status with S3's word for it; status 0 cuts the connection.

    `every`: to every so many-th request only. `method`: to this kind only.
    """

    status: int
    code: str = ""
    every: int = 1
    method: str | None = None


class Gateway:
    """Passes what is asked of `server` on to a real one. `refusal` and `delay` (seconds before each block of a
    body) may be set at any time, `close` and `open` make it vanish and come back. `met` counts the requests that
    met each fault, `uploading` the paths whose bodies are on their way at this moment.
    """

    def __init__(self, behind: S3Server) -> None:
        self.behind = behind
        self.refusal: Refusal | None = None
        self.delay = 0.0
        self.met: Counter[str] = Counter()
        self.uploading: list[str] = []
        self._asked = 0
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self)
        self.server = S3Server("127.0.0.1", self._server.server_port, behind.access_key, behind.secret_key)
        self._serve()

    def close(self) -> None:
        """The server is gone: nothing answers there, and what was connected no longer is."""
        self._server.shutdown()
        self._server.server_close()
        self._server.drop_all()

    def open(self) -> None:
        """It is back."""
        self._server = _Server(("127.0.0.1", self.server.port), self)
        self._serve()

    def _serve(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def refused(self, method: str) -> Refusal | None:
        """The refusal that this request meets, if it does."""
        with self._lock:
            refusal, self._asked = self.refusal, self._asked + 1
            if refusal is None or refusal.method not in (None, method) or self._asked % refusal.every:
                return None
            self.met[f"answered {refusal.status}" if refusal.status else "cut"] += 1
            return refusal

    def dawdle(self) -> None:
        """Before each block."""
        if self.delay:
            with self._lock:
                self.met["delayed"] += 1
            time.sleep(self.delay)

    @contextmanager
    def upload(self, path: str) -> Iterator[None]:
        """A body on its way."""
        with self._lock:
            self.uploading.append(path)
        try:
            yield
        except OSError:
            with self._lock:
                self.met["broken off"] += 1
            raise
        finally:
            with self._lock:
                self.uploading.remove(path)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], gateway: Gateway) -> None:
        self.gateway = gateway
        self._connections: set = set()
        super().__init__(address, _Handler)

    def process_request(self, request, client_address) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address) -> None:
        """Of connections that break, which is what this gateway is for."""

    def drop_all(self) -> None:
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(2)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        gateway = self.server.gateway
        refusal = gateway.refused(self.command)
        if refusal is not None:
            self._refuse(refusal)
            return
        behind = http.client.HTTPConnection(gateway.behind.host, gateway.behind.port, timeout=60)
        try:
            self._ask(gateway, behind)
            self._answer(gateway, behind.getresponse())
        finally:
            behind.close()

    do_PUT = do_POST = do_HEAD = do_DELETE = do_GET  # noqa: N815 - the names http.server looks for

    def _ask(self, gateway: Gateway, behind: http.client.HTTPConnection) -> None:
        behind.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _OF_ONE_CONNECTION:
                behind.putheader(name, value)
        behind.endheaders()
        left = int(self.headers.get("Content-Length") or 0)
        if not left:
            gateway.dawdle()
            return
        with gateway.upload(self.path):
            while left:
                gateway.dawdle()
                block = self.rfile.read(min(left, _BLOCK))
                if not block:
                    raise ConnectionError("the client is gone")
                behind.send(block)
                left -= len(block)

    def _answer(self, gateway: Gateway, answer: http.client.HTTPResponse) -> None:
        body = answer.read()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in {*_OF_ONE_CONNECTION, "content-length"}:
                self.send_header(name, value)
        has_body = self.command != "HEAD"
        self.send_header("Content-Length", str(len(body)) if has_body else answer.getheader("Content-Length", "0"))
        self.end_headers()
        for start in range(0, len(body), _BLOCK):
            gateway.dawdle()
            self.wfile.write(body[start : start + _BLOCK])

    def _refuse(self, refusal: Refusal) -> None:
        self.close_connection = True
        if not refusal.status:
            return
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b"" if self.command == "HEAD" else f"<Error><Code>{refusal.code}</Code></Error>".encode()
        self.send_response_only(refusal.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: tests read `met`."""


@contextmanager
def gateway_before(behind: S3Server) -> Iterator[Gateway]:
    """A gateway to a server, for a `with` block."""
    gateway = Gateway(behind)
    try:
        yield gateway
    finally:
        gateway.close()
