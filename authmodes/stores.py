"""Django sessions as authmodes needs them: what is kept inside, and deleting them by key."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends import cached_db, db
from django.contrib.sessions.backends.base import SessionBase
from django.core.cache import caches
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from . import policy
from .conf import conf
from .models import LoginSession

logger = logging.getLogger("authmodes")

DATA_KEY = "_authmodes"


@dataclass(frozen=True)
class Memory:
    """What a request needs to know about its login session without asking for the row.

    `sid` identifies and is no credential; the times are the row's.
    """

    sid: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime


def remember(session: SessionBase, login_session: LoginSession) -> None:
    """Keep what later requests need inside the Django session."""
    session[DATA_KEY] = {
        "sid": str(login_session.sid),
        "created_at": login_session.created_at.timestamp(),
        "seen_at": login_session.last_seen_at.timestamp(),
        "expires_at": login_session.expires_at.timestamp(),
    }
    session._authmodes_key = session.session_key  # type: ignore[attr-defined]


def recall(session: SessionBase) -> Memory | None:
    """What the Django session remembers of its login session, if it has one."""
    data = session.get(DATA_KEY)
    if not data:
        return None
    times = {name: _moment(data[name]) for name in ("created_at", "seen_at", "expires_at")}
    return Memory(data["sid"], **times)


def current_sid(request: HttpRequest) -> str | None:
    """The login session that the request belongs to, once its credential was accepted."""
    if sid := getattr(request, "_authmodes_sid", None):
        return str(sid)
    memory = recall(request.session) if hasattr(request, "session") else None
    return memory.sid if memory else None


def touch_after() -> timedelta:
    """The touch interval in force."""
    return policy.touch_after(conf.TOUCH_INTERVAL, conf.IDLE_TIMEOUT)


def mark_seen(session: SessionBase) -> None:
    session[DATA_KEY] = {**session[DATA_KEY], "seen_at": timezone.now().timestamp()}


def discard(request: HttpRequest) -> None:
    """Leave no Django session behind, whatever is still put into it during this request.

    allauth's login form, for one, sets an expiry after the login; the middleware then
    discards the session once more.
    """
    request.session.flush()
    request._authmodes_discard = True  # type: ignore[attr-defined]


def is_discarded(request: HttpRequest) -> bool:
    return getattr(request, "_authmodes_discard", False)


def registered_key(session: SessionBase, otherwise: str | None) -> str | None:
    """The key under which this request registered the session; `otherwise` if it did not."""
    return getattr(session, "_authmodes_key", otherwise)


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, tz=UTC if settings.USE_TZ else None)


def ensure_key(session: SessionBase) -> str:
    """The session's key; a session that has none yet is saved to get one."""
    if session.session_key is None:
        session.create()
    assert session.session_key is not None
    return session.session_key


def engine() -> type[SessionBase]:
    return import_module(settings.SESSION_ENGINE).SessionStore


def delete(keys: list[str]) -> None:
    """Delete Django sessions from their store; never in the way of ending a login.

    A database store is part of the caller's transaction. Other stores follow once it is
    committed, and one that cannot be reached is logged: the row is the truth, and the
    throttled touch looks at it again.
    """
    if not keys:
        return
    store = engine()
    if issubclass(store, db.SessionStore):
        store.get_model_class().objects.filter(session_key__in=keys).delete()
    if not issubclass(store, db.SessionStore) or issubclass(store, cached_db.SessionStore):
        transaction.on_commit(lambda: _delete_outside_database(store, keys))


def _delete_outside_database(store: Any, keys: list[str]) -> None:
    try:
        if issubclass(store, cached_db.SessionStore):
            prefix = store.cache_key_prefix
            caches[settings.SESSION_CACHE_ALIAS].delete_many([prefix + key for key in keys])
            return
        for key in keys:
            store().delete(key)
    except Exception:
        # Whatever the cache client raises: the login has ended, only the mirror has not.
        # No traceback: a client may quote the key that it failed on.
        logger.error("Could not delete %d Django sessions from %s", len(keys), store.__module__)
