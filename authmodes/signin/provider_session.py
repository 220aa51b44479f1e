"""Limits the size and the time of HTTP calls to a provider.

The timeout of `requests` applies to each read only. It also reads bodies of any length, and
follows redirects: after a 307 of a token endpoint it would send the client's secret to a
different host.
"""

import time
from collections.abc import Callable
from functools import partial
from io import BytesIO
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import requests
from urllib3.exceptions import HTTPError

MAX_LENGTH = 512 * 1024
MAX_SECONDS = 10


def bound(session: requests.Session) -> requests.Session:
    """Limit every call of a session of allauth's adapter, unless it is limited already."""
    if getattr(session.request, "func", None) is not _bounded:
        # allauth sets its timeout in the same way.
        session.request = partial(_bounded, session.request)  # type: ignore[method-assign]
    return session


def _bounded(send: Callable[..., requests.Response], *args: Any, **options: Any) -> Any:
    """Send a request and read the response. Raises `RequestException`.

    This runs in a thread, because nothing else limits the time that the headers of a response
    take.
    """
    outcome: SimpleQueue[requests.Response | Exception] = SimpleQueue()
    ends_at = time.monotonic() + MAX_SECONDS

    def run() -> None:
        try:
            response = send(*args, **{**options, "allow_redirects": False, "stream": True})
            outcome.put(_read(response, ends_at))
        except Exception as error:
            outcome.put(error)

    Thread(target=run, daemon=True).start()
    try:
        found = outcome.get(timeout=MAX_SECONDS)
    except Empty:
        raise requests.Timeout("The response takes too long.") from None
    if isinstance(found, Exception):
        raise found
    return found


def _read(response: requests.Response, ends_at: float) -> requests.Response:
    body = bytearray()
    with response:
        if 300 <= response.status_code < 400:
            raise requests.TooManyRedirects("A redirect is not followed.")
        # `read1` returns what has arrived. Without it, read one byte at a time.
        one = getattr(response.raw, "read1", None)
        read, size = (one, 65_536) if one else (response.raw.read, 1)
        try:
            while chunk := read(size, decode_content=True):
                body += chunk
                if len(body) > MAX_LENGTH:
                    raise requests.ConnectionError("The response is too long.")
                if time.monotonic() > ends_at:
                    raise requests.Timeout("The response takes too long.")
        except HTTPError as error:
            raise requests.ConnectionError(error) from error
    # What `content`, `text` and `json()` read.
    response.raw = BytesIO(bytes(body))
    return response
