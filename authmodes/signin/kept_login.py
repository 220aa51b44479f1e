"""Keeps a login that the session has and that a sign-in in the same browser does not replace.

In `jwt` mode a cookie opens only the admin, so on allauth's pages its user is anonymous. There
allauth signs a user in within the same session and overwrites what belongs to the other login.
"""

from typing import Any

from allauth.account.authentication import AUTHENTICATION_METHODS_SESSION_KEY
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

from ..registry import authentication_context
from ..sessions import rotation as session_rotation
from ..sessions import state as session_state
from ..sessions import store as session_store
from .allauth_internals import LOGIN_KEY

KEPT_KEY = "_authmodes_kept_login"
EXPIRY_KEY = "_session_expiry"
OVERWRITTEN = (
    *(AUTHENTICATION_METHODS_SESSION_KEY, EXPIRY_KEY),
    authentication_context.PROVIDER_SID_KEY,
    authentication_context.PROVIDER_IAT_KEY,
    authentication_context.PROVIDER_AUTH_TIME_KEY,
)
UNTOUCHED = (
    *(SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY),
    *(session_state.DATA_KEY, session_rotation.RETIRED_KEY),
)


def keep(request: HttpRequest) -> None:
    """Keep what a sign-in overwrites; called before its first stage."""
    session = request.session
    if SESSION_KEY not in session or request.user.is_authenticated or is_kept(session):
        return
    # As they were before this request, in which allauth has recorded how the user signs in.
    before = session_state.of(session).loaded_data or {}
    entries = {name: value for name, value in before.items() if name.startswith(OVERWRITTEN)}
    session[KEPT_KEY] = {"sid": session_state.sid_in(session), "entries": entries}


def is_kept(session: SessionBase) -> bool:
    """Whether the session has a login that a sign-in leaves as it is."""
    kept = session.get(KEPT_KEY)
    return kept is not None and kept["sid"] == session_state.sid_in(session)


def discard_sign_in(request: HttpRequest) -> None:
    """Discard the session of a sign-in that is refused, unless it has a login of its own."""
    if is_kept(request.session):
        request.session.pop(LOGIN_KEY, None)
    else:
        session_store.discard(request)


def restore(session: SessionBase) -> None:
    """Put back what was kept; called after each view, because allauth's form is the last to write.

    A sign-in that waits at a stage needs its entries, except for the expiry.
    """
    if KEPT_KEY not in session:
        return
    if not is_kept(session):
        # The admin's user has signed in there again.
        del session[KEPT_KEY]
        return
    entries: dict[str, Any] = session[KEPT_KEY]["entries"]
    if LOGIN_KEY in session:
        if session.get(EXPIRY_KEY) != entries.get(EXPIRY_KEY):
            session.set_expiry(None)
            session.update({EXPIRY_KEY: entries[EXPIRY_KEY]} if EXPIRY_KEY in entries else {})
        return
    for name in set(session.keys()).difference(UNTOUCHED):
        if name.startswith(session_store.AUTHENTICATION_KEYS):
            del session[name]
    session.update(entries)
    session.cycle_key()
