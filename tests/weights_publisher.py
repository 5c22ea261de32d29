"""A publisher of weights for tests: a real HTTP server with ranges, redirects and bad days, on loopback."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Publisher:
    """Serves `files` by path. `asked` are the requests so far: method, path, range, headers by small letters.

    `cuts` are bytes after which the next answers break off, `statuses` stand in for the next answers.
    `etags` go before the SHA-256 of the bytes; `redirects` lead from one path to an address.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.redirects: dict[str, str] = {}
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.knows_ranges = True
        self.shifts_ranges = False
        self.asked: list[tuple[str, str, str | None, dict[str, str]]] = []
        publisher = self

        class Handler(_Handler):
            served_by = publisher

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def release(self, repository: str, files: dict[str, bytes]) -> None:
        """Serve files as a repository of Hugging Face does."""
        siblings = [{"rfilename": name} for name in files]
        self.files[f"/api/models/{repository}"] = json.dumps({"id": repository, "siblings": siblings}).encode()
        for name, data in files.items():
            self.files[f"/{repository}/resolve/main/{name}"] = data

    def ranges(self) -> list[str | None]:
        return [asked for method, _, asked, _ in self.asked if method == "GET"]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    served_by: Publisher
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self, *, with_body: bool) -> None:
        publisher, path = self.served_by, self.path.partition("?")[0]
        publisher.asked.append(
            (
                self.command,
                path,
                self.headers["Range"],
                {name.lower(): value for name, value in self.headers.items()},
            )
        )
        if path in publisher.redirects:
            self._head(302, 0, {"Location": publisher.redirects[path]})
        elif with_body and publisher.statuses:
            self._head(publisher.statuses.pop(0), 0)
        elif path not in publisher.files:
            self._head(404, 0)
        else:
            self._file(path, with_body=with_body)

    def _file(self, path: str, *, with_body: bool) -> None:
        publisher, data = self.served_by, self.served_by.files[path]
        etag = publisher.etags.get(path) or hashlib.sha256(data).hexdigest()
        known = {"ETag": f'"{etag}"', "X-Repo-Commit": "0" * 40}
        start = self._start() if publisher.knows_ranges else 0
        if start >= len(data) > 0:
            self._head(416, 0, {"Content-Range": f"bytes */{len(data)}"})
            return
        if start:
            told = start + 1 if publisher.shifts_ranges else start
            known["Content-Range"] = f"bytes {told}-{len(data) - 1}/{len(data)}"
        self._head(206 if start else 200, len(data) - start, known)
        if not with_body:
            return
        body = data[start:]
        if publisher.cuts:
            body = body[: publisher.cuts.pop(0)]
            self.close_connection = True
        with suppress(ConnectionError):  # who asked may have gone
            self.wfile.write(body)

    def _start(self) -> int:
        asked = self.headers["Range"]
        return int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0

    def _head(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()


@contextmanager
def publishing() -> Iterator[Publisher]:
    """A publisher that is open."""
    publisher = Publisher()
    try:
        yield publisher
    finally:
        publisher.close()
