"""What a login under way shall become, carried from where it began to where it is done.

A social login leaves for the provider and may stop at a second factor; its intent travels
in allauth's own login state and, once the user is known, in the Django session.
"""

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest
from django.urls import Resolver404, resolve

from .. import request_client
from ..conf import Mode, conf
from ..state import request_state

SESSION_KEY = "_authmodes_intent"
STATE_KEY = "authmodes"


@dataclass(frozen=True)
class AuthorizationRequest:
    """The mode asked for and, for a browser login that ends in tokens, who will fetch them."""

    mode: str
    next: str = ""
    code_challenge: str = ""
    state: str = ""
    # Staff on their way to the admin, which is opened by a cookie whatever the mode.
    to_admin: bool = False
    # Of a provider's ID token that a REST call gave back when it left the login at a stage:
    # an `id_tokens.Receipt`. Whoever finishes it on a page uses the token up.
    receipt: dict[str, Any] | None = None

    @property
    def is_handoff(self) -> bool:
        return bool(self.code_challenge)

    def to_state(self) -> dict[str, Any]:
        return asdict(self)


def parse_mode(value: Any) -> str | None:
    """The mode a client named, the default if it named none, None if there is no such mode."""
    if value is None or value == "":
        return str(conf.DEFAULT_MODE)
    if value in (Mode.SESSION, Mode.JWT):
        return str(value)
    return None


def declare(request: HttpRequest, intent: AuthorizationRequest) -> None:
    """Say what the login in this request shall become; it outranks everything else."""
    request_state(request).authorization_request = intent


def declared(request: HttpRequest) -> AuthorizationRequest | None:
    return request_state(request).authorization_request


def determine(request: HttpRequest, social_state: dict[str, Any] | None) -> None:
    """Fix the intent when a user has been recognised, before allauth's stages.

    Each login settles its own, so that an abandoned one leaves nothing behind for the next.
    """
    began = _from_state(social_state)
    intent = (
        declared(request)
        or _from_headless(request, social_state)
        or began
        or _for_admin(request, social_state)
        or _from_query(request)
    )
    if began is not None:
        # A sign-up may go on at headless' door.
        intent = replace(intent, receipt=began.receipt)
    request.session[SESSION_KEY] = intent.to_state()


def pop(request: HttpRequest) -> AuthorizationRequest:
    """The settled intent, which is used up by this."""
    stored = request.session.pop(SESSION_KEY, None)
    return _from_dict(stored) or declared(request) or AuthorizationRequest(str(conf.DEFAULT_MODE))


def add_tokens(request: HttpRequest) -> None:
    """Say that the Django session of the login in this request gets tokens beside it."""
    request_state(request).adds_tokens = True


def adds_tokens(request: HttpRequest) -> bool:
    return request_state(request).adds_tokens


def _from_headless(
    request: HttpRequest, social_state: dict[str, Any] | None
) -> AuthorizationRequest | None:
    """An app wants tokens wherever they are on; the browser client lives by its cookie."""
    if request_client.is_app_client(request):
        default = Mode.JWT if conf.MODE.allows(Mode.JWT) else Mode.SESSION
    elif request_client.is_headless(request) or (social_state or {}).get("headless"):
        default = Mode.SESSION
    else:
        return None
    named = _named_in_json(request) or request.GET.get("mode") or str(default)
    # There is no such mode as "", so the login is refused in the end.
    return AuthorizationRequest(named if named in (Mode.SESSION, Mode.JWT) else "")


def _named_in_json(request: HttpRequest) -> Any:
    if request.content_type != "application/json":
        return None
    # Headless has parsed it already, and refused what is no object.
    return json.loads(request.body or "{}").get("mode")


def _from_state(social_state: dict[str, Any] | None) -> AuthorizationRequest | None:
    data = (social_state or {}).get("data")
    return _from_dict(data.get(STATE_KEY)) if isinstance(data, dict) else None


def _for_admin(
    request: HttpRequest, social_state: dict[str, Any] | None
) -> AuthorizationRequest | None:
    """A sign-in on allauth's pages that `secure_admin_login` has sent there."""
    named = request.POST.get(REDIRECT_FIELD_NAME) or request.GET.get(REDIRECT_FIELD_NAME)
    next_url = (social_state or {}).get("next") or named or ""
    return AuthorizationRequest(Mode.SESSION, to_admin=True) if _leads_to_admin(next_url) else None


def _leads_to_admin(url: str) -> bool:
    # Who is sent to another host, or nowhere, is not sent to the admin.
    if not url.startswith("/") or url.startswith("//"):
        return False
    try:
        return "admin" in resolve(url.partition("?")[0]).app_names
    except Resolver404:
        return False


def _from_query(request: HttpRequest) -> AuthorizationRequest:
    named = request.POST.get("mode") or request.GET.get("mode")
    return AuthorizationRequest(parse_mode(named) or str(conf.DEFAULT_MODE))


def _from_dict(data: Any) -> AuthorizationRequest | None:
    """The intent in these data, which another version of us may have written.

    None without a mode, and for a handoff that does not say where to.
    """
    if not isinstance(data, dict) or "mode" not in data:
        return None
    known = {
        field.name: data[field.name] for field in fields(AuthorizationRequest) if field.name in data
    }
    intent = AuthorizationRequest(**known)
    return intent if intent.next or not intent.is_handoff else None
