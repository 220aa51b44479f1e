"""The log: one JSON object on each line, with the id of the request and without a credential."""

import json
import logging
import re
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest, HttpResponse

request_id: ContextVar[str] = ContextVar("request_id", default="")
logger = logging.getLogger("example_project.requests")

# As nginx makes it: `$request_id`.
REQUEST_ID = re.compile(r"[0-9a-f]{32}")
# The keys in the links of mails, queries with codes, and anything that looks like a JWT.
CREDENTIAL = re.compile(
    r"(/accounts/(?:confirm-email|password/reset/key)/)[^/\s]+"
    r"|(\?)[\w.~-]+=[^\s\"'<>]*"
    r"|()\bey[\w-]{8,}(?:\.[\w-]*){2,}"
)
STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
# Their extra fields are names and numbers (docs/events.md); others may pass whole requests.
OURS = ("authmodes", "example_project")


class JsonFormatter(logging.Formatter):
    """Write a record as a JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if current := request_id.get():
            line["request_id"] = current
        if record.name.startswith(OURS):
            extra = {key: value for key, value in vars(record).items() if key not in STANDARD}
            line |= {
                key: redact(value) if isinstance(value, str) else value
                for key, value in extra.items()
            }
        if record.exc_info:
            line["traceback"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


def redact(text: str) -> str:
    """Replace what may be a credential."""
    return CREDENTIAL.sub(lambda match: f"{match[1] or match[2] or ''}[redacted]", text)


class RequestLogMiddleware:
    """Log each request by the pattern of its URL, because the path itself may contain a key."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID", "")
        current = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        token = request_id.set(current)
        try:
            began = time.perf_counter()
            response = self.get_response(request)
            self.log(request, response, time.perf_counter() - began)
        finally:
            request_id.reset(token)
        response.headers["X-Request-ID"] = current
        return response

    def log(self, request: HttpRequest, response: HttpResponse, seconds: float) -> None:
        match = request.resolver_match
        if match is None or (match.route == "health/" and response.status_code == 200):
            # A static file or an unknown address, which nginx logs, or the probe.
            return
        fields = {
            "event": "request",
            "method": request.method,
            "route": match.route,
            "status": response.status_code,
            "ms": round(seconds * 1000),
        }
        message = "request %(method)s %(route)s %(status)s"
        logger.info(message, fields, extra=fields)


# Of Django and of gunicorn, which log to the same stream.
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "example_project.deploy.logs.JsonFormatter"}},
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "json",
            "stream": "ext://sys.stdout",
        }
    },
    "root": {"level": "WARNING", "handlers": ["console"]},
    "loggers": {
        "authmodes": {"level": "INFO"},
        "example_project": {"level": "INFO"},
        "django": {"level": "WARNING", "handlers": [], "propagate": True},
        # The line of the request has the status of a refusal.
        "django.request": {"level": "ERROR"},
        "gunicorn.error": {"level": "INFO", "handlers": [], "propagate": True},
        "gunicorn.http": {"level": "ERROR"},
        "gunicorn.access": {"level": "WARNING", "handlers": [], "propagate": True},
    },
}
