"""What a login under way shall become, carried from where it began to where it is done.

A social login leaves for the provider and may stop at a second factor; its intent travels
in allauth's own login state and, once the user is known, in the Django session.
"""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from django.http import HttpRequest

from . import client
from .conf import Mode, conf

SESSION_KEY = "_authmodes_intent"
STATE_KEY = "authmodes"


@dataclass(frozen=True)
class Intent:
    """The mode asked for and, for a browser login that ends in tokens, who will fetch them."""

    mode: str
    next: str = ""
    code_challenge: str = ""
    state: str = ""

    @property
    def is_handoff(self) -> bool:
        return bool(self.code_challenge)

    def to_state(self) -> dict[str, str]:
        return asdict(self)


def parse_mode(value: Any) -> str | None:
    """The mode a client named, the default if it named none, None if there is no such mode."""
    if value is None or value == "":
        return str(conf.DEFAULT_MODE)
    if value in (Mode.SESSION, Mode.JWT):
        return str(value)
    return None


def declare(request: HttpRequest, intent: Intent) -> None:
    """Say what the login in this request shall become; it outranks everything else."""
    request._authmodes_intent = intent  # type: ignore[attr-defined]


def declared(request: HttpRequest) -> Intent | None:
    return getattr(request, "_authmodes_intent", None)


def settle(request: HttpRequest, social_state: dict[str, Any] | None) -> None:
    """Fix the intent when a user has been recognised, before allauth's stages.

    Each login settles its own, so that an abandoned one leaves nothing behind for the next.
    """
    intent = (
        declared(request)
        or _from_headless(request, social_state)
        or _from_state(social_state)
        or _from_query(request)
    )
    request.session[SESSION_KEY] = intent.to_state()


def take(request: HttpRequest) -> Intent:
    """The settled intent, which is used up by this."""
    stored = request.session.pop(SESSION_KEY, None)
    return _from_dict(stored) or declared(request) or Intent(str(conf.DEFAULT_MODE))


def add_tokens(request: HttpRequest) -> None:
    """Say that the Django session of the login in this request gets tokens beside it."""
    request._authmodes_adds_tokens = True  # type: ignore[attr-defined]


def adds_tokens(request: HttpRequest) -> bool:
    return getattr(request, "_authmodes_adds_tokens", False)


def _from_headless(request: HttpRequest, social_state: dict[str, Any] | None) -> Intent | None:
    """An app wants tokens wherever they are on; the browser client lives by its cookie."""
    if client.is_app(request):
        default = Mode.JWT if conf.MODE.allows(Mode.JWT) else Mode.SESSION
    elif client.is_headless(request) or (social_state or {}).get("headless"):
        default = Mode.SESSION
    else:
        return None
    named = _named_in_json(request) or request.GET.get("mode") or str(default)
    # There is no such mode as "", so the login is refused in the end.
    return Intent(named if named in (Mode.SESSION, Mode.JWT) else "")


def _named_in_json(request: HttpRequest) -> Any:
    if request.content_type != "application/json":
        return None
    # Headless has parsed it already, and refused what is no object.
    return json.loads(request.body or "{}").get("mode")


def _from_state(social_state: dict[str, Any] | None) -> Intent | None:
    data = (social_state or {}).get("data")
    return _from_dict(data.get(STATE_KEY)) if isinstance(data, dict) else None


def _from_query(request: HttpRequest) -> Intent:
    named = request.POST.get("mode") or request.GET.get("mode")
    return Intent(parse_mode(named) or str(conf.DEFAULT_MODE))


def _from_dict(data: Any) -> Intent | None:
    """The intent in these data, which another version of us may have written.

    None without a mode, and for a handoff that does not say where to.
    """
    if not isinstance(data, dict) or "mode" not in data:
        return None
    known = {field.name: data[field.name] for field in fields(Intent) if field.name in data}
    intent = Intent(**known)
    return intent if intent.next or not intent.is_handoff else None
