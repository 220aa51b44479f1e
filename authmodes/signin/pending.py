"""Refuses a login that waited for a stage or a code while its user's logins were ended.

Such a login has no row yet that could be ended, so it is validated once more when it is done.
"""

from datetime import datetime
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

from .. import policy
from ..exceptions import LoginOutdated
from ..registry import authentication_context, ending, validation
from ..sessions import state as session_state
from ..state import request_state
from . import allauth_internals

SESSION_KEY = "_authmodes_pending"


def store(request: HttpRequest, user: Any) -> None:
    """Keep the password hash and the latest ending, which `pop_and_validate` compares."""
    ended = ending.latest_revocation_of(user)
    began_at = _code_requested_at(request, user)
    if began_at is not None and ended is not None and policy.has_begun_by(began_at, ended):
        # Ended while the user looked for the code, and `pop_and_validate` must find it.
        is_begun, ended = False, None
    else:
        is_begun = True
    request.session[SESSION_KEY] = {
        "user": str(user.pk),
        "auth_hash": user.get_session_auth_hash(),
        "ended": _as_text(ended),
    }
    request_state(request).has_begun_login = is_begun


def user_id(session: SessionBase) -> str | None:
    """Return the id of the user whose login waits, as text; None if no login waits."""
    stored = session.get(SESSION_KEY)
    return stored["user"] if stored else None


def _code_requested_at(request: HttpRequest, user: Any) -> datetime | None:
    """Return when a login by a mailed code was requested; None for any other login.

    allauth recognises the user before it sends the code, but begins the login afterwards.
    """
    records = authentication_context.records_of(request, user)
    if not records or records[-1]["method"] != "code":
        return None
    login = allauth_internals.unstash_login(request, peek=True)
    return session_state.to_datetime(login.initiated_at) if login else None


def _as_text(moment: datetime | None) -> str:
    return moment.isoformat() if moment else ""


def renew(request: HttpRequest | None, user: Any) -> None:
    """Keep a pending login that has itself ended the others, by creating a passkey at a stage."""
    if request is None or not hasattr(request, "session"):
        return
    stored = request.session.get(SESSION_KEY)
    if stored and stored["user"] == str(user.pk):
        store(request, user)


def pop_and_validate(request: HttpRequest, user: Any) -> None:
    """Remove what `store` kept, and raise `LoginOutdated` if the login is out of date.

    It is if the password has changed or all logins of the user were ended since. A login that
    began in this request did not wait, and needs no query.
    """
    stored = request.session.pop(SESSION_KEY, None)
    if stored is None or stored["user"] != str(user.pk) or request_state(request).has_begun_login:
        return
    if not validation.matches_password(stored["auth_hash"], user):
        raise LoginOutdated
    # The mark of an ending expires; its absence does not mean that a new ending happened.
    if _as_text(ending.latest_revocation_of(user)) not in ("", stored["ended"]):
        raise LoginOutdated
