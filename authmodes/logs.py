"""Log records that have the same names and fields everywhere (docs/events.md)."""

import json
import logging
import re
from typing import Any

logger = logging.getLogger("authmodes")
PLAIN = re.compile(r"[\w.:/@+-]+")
VALUE_MAX_LENGTH = 500


def log(level: int, event: str, *, exception: Any = None, **fields: Any) -> None:
    """Log an event as `name field=value …`, and its fields as attributes of the record.

    Fields without a value are left out. A value that is not a number is a text, so that every
    formatter can write it; in the message, a text with a space or a newline is quoted.
    """
    if not logger.isEnabledFor(level):
        return
    known = {name: _plain(value) for name, value in fields.items() if value not in (None, "")}
    message = " ".join([event, *(f"{name}={_quoted(value)}" for name, value in known.items())])
    extra = {"event": event, **known}
    logger.log(level, "%s", message, exc_info=exception, extra=extra, stacklevel=2)


def _plain(value: Any) -> int | float | str:
    return value if type(value) in (int, float, bool) else str(value)[:VALUE_MAX_LENGTH]


def _quoted(value: int | float | str) -> str:
    text = str(value)
    return text if PLAIN.fullmatch(text) else json.dumps(text)
