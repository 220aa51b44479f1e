"""A Django session and its key, whatever the engine; and what becomes of it with the answer."""

from importlib import import_module

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

from .. import state

# Marks the session of an app of allauth.headless, which no cookie opens.
APP_KEY = "_authmodes_app"


def cookie_key(request: HttpRequest) -> str | None:
    """The session key that the browser sent."""
    return request.COOKIES.get(settings.SESSION_COOKIE_NAME)


def engine() -> type[SessionBase]:
    return import_module(settings.SESSION_ENGINE).SessionStore


def ensure_key(session: SessionBase) -> str:
    """The session's key; a session that has none yet is saved to get one."""
    if session.session_key is None:
        session.create()
    assert session.session_key is not None
    return session.session_key


def stored_key(session_key: str) -> str:
    """What the store, and so the row, keeps of a key: the engine may keep a digest only."""
    digest = getattr(engine(), "digest_of", None)
    return str(digest(session_key)) if digest else session_key


def discard(request: HttpRequest) -> None:
    """Leave no Django session behind, whatever is still put into it during this request.

    allauth's login form, for one, sets an expiry after the login; the middleware then
    discards the session once more.
    """
    request.session.flush()
    # On the session, not the request: a REST login has a session of its own to be discarded.
    state.of_session(request.session).is_discarded = True


def is_discarded(request: HttpRequest) -> bool:
    return state.of_session(request.session).is_discarded


def reserve_for_app(session: SessionBase) -> None:
    """Have a session no longer be reached by a cookie, but by an app's session token alone."""
    if not is_of_app(session):
        session[APP_KEY] = True


def is_of_app(session: SessionBase) -> bool:
    return APP_KEY in session


def settle(session: SessionBase) -> None:
    """Note that the request has saved its session; Django's own save has nothing to add."""
    session.modified = False
    state.of_session(session).is_settled = True


def is_settled(session: SessionBase) -> bool:
    return not session.modified and state.of_session(session).is_settled


def withdraw(request: HttpRequest) -> None:
    """Have Django neither save the session nor send or take away its cookie.

    The browser has got another one from a parallel answer.
    """
    session = request.session
    # Which is what makes a session empty to Django.
    session._session_key, session._session_cache = None, {}  # type: ignore[attr-defined]
    session.modified = False
    request.COOKIES.pop(settings.SESSION_COOKIE_NAME, None)
