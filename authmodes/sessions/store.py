"""Django sessions in their store, whatever the engine: keys, deletion, apps."""

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends import cache, cached_db, db
from django.contrib.sessions.backends.base import SessionBase
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import router, transaction
from django.http import HttpRequest
from django.utils import timezone

from ..conf import conf
from . import state as session_state

# Marks the session of an app of allauth.headless, which no cookie opens.
APP_KEY = "_authmodes_app"
logger = logging.getLogger("authmodes")
TOMBSTONE = "authmodes.ended."
PROBE = "authmodes.probe"
TOMBSTONE_MARGIN = timedelta(minutes=1)


def key_in_cookie(request: HttpRequest) -> str | None:
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
    session_state.of(request.session).is_discarded = True


def is_discarded(request: HttpRequest) -> bool:
    return session_state.of(request.session).is_discarded


def reserve_for_app(session: SessionBase) -> None:
    """Have a session no longer be reached by a cookie, but by an app's session token alone."""
    if not is_app_session(session):
        session[APP_KEY] = True


def is_app_session(session: SessionBase) -> bool:
    return APP_KEY in session


def mark_saved(session: SessionBase) -> None:
    """Note that the request has saved its session; Django's own save has nothing to add."""
    session.modified = False
    session_state.of(session).is_saved = True


def is_saved(session: SessionBase) -> bool:
    return not session.modified and session_state.of(session).is_saved


def suppress_cookie(request: HttpRequest) -> None:
    """Have Django neither save the session nor send or take away its cookie.

    The browser has got another one from a parallel answer.
    """
    session = request.session
    # Which is what makes a session empty to Django.
    session._session_key, session._session_cache = None, {}  # type: ignore[attr-defined]
    session.modified = False
    request.COOKIES.pop(settings.SESSION_COOKIE_NAME, None)


def find_missing(stored_keys: Collection[str]) -> set[str]:
    """Those of the stored keys that lead to no Django session any more.

    A store that cannot be reached tells nothing, and so none is gone.
    """
    store = engine()
    if issubclass(store, db.SessionStore):
        model = store.get_model_class()
        alive = model.objects.using(router.db_for_write(model)).filter(
            session_key__in=stored_keys, expire_date__gt=timezone.now()
        )
        return set(stored_keys).difference(alive.values_list("session_key", flat=True))
    try:
        if _is_cached(store):
            _probe()
        return {key for key in stored_keys if not store().exists(key)}
    except Exception:
        # Whatever the cache client raises, and without a trace: it may quote the key.
        logger.error("Could not look for Django sessions in %s", store.__module__)
        return set()


def delete_now(keys: Sequence[str]) -> None:
    """Delete Django sessions, given by stored key, at once."""
    store = engine()
    if issubclass(store, db.SessionStore):
        store.get_model_class().objects.filter(session_key__in=keys).delete()
    if not issubclass(store, db.SessionStore) or _is_cached(store):
        _drop_outside_database(store, keys)


def delete(doomed: Mapping[str, str]) -> None:
    """Delete the Django sessions of login sessions, given by sid and stored key.

    A database store is part of the caller's transaction. Other stores follow once it is
    committed, and one that cannot be reached is logged: the row is the truth, and the
    throttled touch looks at it again.
    """
    if not doomed:
        return
    store = engine()
    if issubclass(store, db.SessionStore):
        store.get_model_class().objects.filter(session_key__in=doomed.values()).delete()
    if not issubclass(store, db.SessionStore) or _is_cached(store):
        transaction.on_commit(lambda: _delete_outside_database(store, doomed))


def has_tombstone(session: SessionBase, sid: str) -> bool:
    """Whether a login ended lately, as far as a cached store can tell without the row.

    A save that was under way when the session was deleted puts it back into the cache.
    """
    return _is_cached(type(session)) and _cache().get(TOMBSTONE + sid) is not None


def _delete_outside_database(store: Any, doomed: Mapping[str, str]) -> None:
    try:
        if _is_cached(store):
            # Until the touch looks at the row itself; first, or a save might slip between.
            _cache().set_many({TOMBSTONE + sid: 1 for sid in doomed}, _tombstone_seconds())
    except Exception:
        # Whatever the cache client raises: the login has ended, only the mirror has not.
        _log_failure(store, len(doomed))
    else:
        _drop_outside_database(store, list(doomed.values()))


def _drop_outside_database(store: Any, keys: Sequence[str]) -> None:
    try:
        if _is_cached(store):
            _cache().delete_many([store.cache_key_prefix + key for key in keys])
            return
        for key in keys:
            store().delete(key)
    except Exception:
        _log_failure(store, len(keys))


def _log_failure(store: Any, count: int) -> None:
    # No traceback: a client may quote the key that it failed on.
    logger.error("Could not delete %d Django sessions from %s", count, store.__module__)


def _is_cached(store: type[SessionBase]) -> bool:
    return issubclass(store, (cache.SessionStore, cached_db.SessionStore))


def _cache() -> BaseCache:
    return caches[settings.SESSION_CACHE_ALIAS]


def _probe() -> None:
    """Raise if the cache keeps nothing: clients may hide that it is away, as if it were empty."""
    _cache().set(PROBE, 1, TOMBSTONE_MARGIN.total_seconds())
    if _cache().get(PROBE) is None:
        raise ConnectionError


def _tombstone_seconds() -> float:
    return (conf.TOUCH_INTERVAL + TOMBSTONE_MARGIN).total_seconds()
