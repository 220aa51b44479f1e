"""Measures requests for the comparison page, as the server sees them.

Nothing is measured unless the request asks for it. What is kept names no user and no credential.
"""

import json
import os
import re
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.crypto import get_random_string

HEADER = "X-Measured"
# What a page on another origin tries, and where that origin is.
ATTEMPTS = ("read", "write", "bearer", "form", "link")
PLACES = ("site", "origin")
ATTEMPT = re.compile(rf"([A-Za-z0-9]{{22}})-({'|'.join(PLACES)})-({'|'.join(ATTEMPTS)})")
KEPT_SECONDS = 600
PROCESS = {"pid": os.getpid(), "started_at": timezone.now().isoformat()}


class MeasureMiddleware:
    """Stands first, so that it sees the requests that other middleware answers."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # A different origin cannot send this header without permission (CORS).
        if "X-Measure" in request.headers:
            return measured(request, self.get_response)
        response = self.get_response(request)
        if attempt := ATTEMPT.fullmatch(request.GET.get("attempt", "")):
            keep_attempt(*attempt.groups(), request, response)
        return response


def measured(
    request: HttpRequest, get_response: Callable[[HttpRequest], HttpResponse]
) -> HttpResponse:
    """Return the response, with the measurement in a header."""
    queries: list[str] = []

    def note(execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        queries.append(sql)  # with placeholders: no value gets out
        return execute(sql, *args)

    began = time.perf_counter()
    with connection.execute_wrapper(note):
        response = get_response(request)
    report = {
        "milliseconds": round((time.perf_counter() - began) * 1000, 2),
        "queries": queries,
        "request": sum(line_length(name, value) for name, value in request.headers.items()),
        "cookie": header_length(request, "Cookie"),
        "authorization": header_length(request, "Authorization"),
        "session_key": len(request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")),
        "process": PROCESS,
    }
    response[HEADER] = json.dumps(report)
    return response


def header_length(request: HttpRequest, name: str) -> int:
    """Return the bytes of a header on the wire (HTTP/1.1), or 0."""
    value = request.headers.get(name)
    return 0 if value is None else line_length(name, value)


def line_length(name: str, value: str) -> int:
    """Return the bytes of one line, with the colon, the space and the end of the line."""
    # WSGI servers add an empty length and a default type to a request without a body.
    return len(name) + len(value) + 4 if value and name != "Content-Type" else 0


def announce() -> str:
    """Return a nonce; attempts that name it are kept for some minutes."""
    nonce = get_random_string(22)
    cache.set(f"attempts.{nonce}", True, KEPT_SECONDS)
    return nonce


def keep_attempt(
    nonce: str, place: str, name: str, request: HttpRequest, response: HttpResponse
) -> None:
    """Keep what arrived from another origin, and the answer."""
    if not cache.get(f"attempts.{nonce}"):
        return
    seen = {
        "method": request.method,
        "status": response.status_code,
        "cookie": settings.SESSION_COOKIE_NAME in request.COOKIES,
        "token": "Authorization" in request.headers,
        "allowed": "Access-Control-Allow-Origin" in response,
    }
    cache.set(f"attempts.{nonce}.{place}-{name}", seen, KEPT_SECONDS)


def attempts(nonce: str) -> dict[str, dict[str, Any]]:
    """Return what was kept for this nonce, by place and attempt."""
    names = [f"{place}-{name}" for place in PLACES for name in ATTEMPTS]
    kept = {name: cache.get(f"attempts.{nonce}.{name}") for name in names}
    return {name: seen for name, seen in kept.items() if seen}
