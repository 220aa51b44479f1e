"""Django's sessions below our logins, and many requests at once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.db import connections

BACKEND = "django.contrib.auth.backends.ModelBackend"


def session_without_row(user: Any, expires: Any = None, **data: Any) -> str:
    """A Django session as `login()` left it before authmodes was installed; its key."""
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session["_auth_user_backend"] = BACKEND
    session["_auth_user_hash"] = user.get_session_auth_hash()
    session.update(data)
    if expires is not None:
        session.set_expiry(expires)
    session.save()
    return session.session_key


def sent_key(response: Any) -> str | None:
    """The session id that an answer sends, None if it sends none."""
    return response.cookies["sessionid"].value if "sessionid" in response.cookies else None


def at_once(count: int, act: Callable[[int], Any]) -> list[Any]:
    """Call `act` with 0 to `count - 1`, in as many threads, at the same moment."""
    barrier = threading.Barrier(count)

    def run(number: int) -> Any:
        barrier.wait(timeout=60)
        try:
            return act(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))
