"""Starts logins in which one user acts in another user's name, and the return from them.

The packages for it call Django's `login()`, which does not say who acts.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.http import HttpRequest

from ..conf import Mode
from ..models import LoginSession
from ..sessions import state as session_state
from ..state import request_state
from . import starting

# Whether a request's view impersonates or returns; `contrib.hijack` adds its own.
finders: list[Callable[[HttpRequest], bool]] = []


def login_to_leave(request: HttpRequest) -> LoginSession | None:
    """Return the login that a `login()` replaces by an impersonation, or the other way round.

    None for any other `login()`.
    """
    state = request_state(request)
    if not state.impersonates and not any(find(request) for find in finders):
        return None
    # Validated when the view asked who may impersonate. `login()` has flushed its session.
    _resolved, user = state.validated_user
    sid = session_state.sid_in(session_state.of(request.session).loaded_data or {})
    if sid is None or user is None or not user.is_authenticated:
        return None
    return LoginSession.objects.select_related("user", "acting_user").filter(sid=sid).first()


def start(request: HttpRequest, user: Any, left: LoginSession) -> LoginSession:
    """Start the login that follows one that is left.

    It ends no later than that one, and its user has not authenticated: neither an impersonation
    nor the return from it counts as a recent sign-in.
    """
    acting_user = left.acting_user or left.user
    return starting.start(
        *(request, user, Mode.SESSION),
        authentication_context=replace(left.authentication_context, authenticated_at=None),
        not_after=left.expires_at,
        acting_user=None if acting_user == user else acting_user,
    )
