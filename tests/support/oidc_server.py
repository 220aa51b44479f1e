"""Serves a fake OpenID Connect provider over real HTTP."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Slowly:
    """A body, or a header before it, that arrives by one byte in a tenth of a second."""

    text: str
    headers: bool = False


@dataclass(frozen=True)
class Call:
    """One request to the provider."""

    path: str
    query: dict[str, str]
    form: dict[str, str]
    headers: Mapping[str, str]


class Provider(Protocol):
    def answer(self, call: Call) -> tuple[int, Any]:
        """The status, and the body or, for a redirect, the address."""

    def close(self) -> None: ...


P = TypeVar("P", bound=Provider)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    provider: Provider

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client may close the connection before it has read the response."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        form = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        call = Call(address.path, _first(address.query), _first(form), self.headers)
        status, answer = self.server.provider.answer(call)
        self.send_response(status)
        self.send_header("content-type", "application/json")
        if isinstance(answer, Slowly):
            self._send_slowly(status, answer)
            return
        if status in (302, 307):
            self.send_header("location", answer)
            answer = ""
        text = answer if isinstance(answer, str) else json.dumps(answer)
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def _send_slowly(self, status: int, answer: Slowly) -> None:
        if status == 307:
            self.send_header("location", answer.text)
        if answer.headers:
            self.flush_headers()
        else:
            self.end_headers()
        for character in answer.text:
            self.wfile.write(b"x: y\r\n" if answer.headers else character.encode())
            self.wfile.flush()
            time.sleep(0.1)

    do_POST = do_GET

    def log_message(self, *args: Any) -> None:
        pass


def _first(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text).items()}


@contextmanager
def serve(make: Callable[[str], P]) -> Iterator[P]:
    """Run the provider that `make` returns for its URL, on a free port."""
    server = Server(("127.0.0.1", 0), Handler)
    provider = make(f"http://127.0.0.1:{server.server_port}")
    server.provider = provider
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield provider
    finally:
        provider.close()
        server.shutdown()
        thread.join()
        server.server_close()
