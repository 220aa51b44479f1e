"""Reads and deletes Django sessions in the configured store, and marks those of apps."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import AnonymousUser
from django.contrib.messages.storage import default_storage
from django.contrib.sessions.backends import cache, cached_db, db
from django.contrib.sessions.backends.base import SessionBase
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import router, transaction
from django.http import HttpRequest
from django.utils import timezone

from .. import logs
from ..conf import conf
from ..models import write_database
from ..models.bulk import OneOf
from ..state import request_state
from . import BrowserKey, StoredKey
from . import state as session_state

# Marks the session of an app of allauth.headless, which no cookie opens.
APP_KEY = "_authmodes_app"
# Of Django, authmodes and allauth.
AUTHENTICATION_KEYS = (
    *("_auth", "_session_expiry", "_password_reset", "account_", "mfa."),
    "socialaccount_sociallogin",
)
PROBE = "authmodes.probe"
TOMBSTONE = "authmodes.ended."
TOMBSTONE_MARGIN = timedelta(minutes=1)


def engine() -> type[SessionBase]:
    return import_module(settings.SESSION_ENGINE).SessionStore


def key_in_cookie(request: HttpRequest) -> BrowserKey | None:
    """Return the session key that the browser sent; None for one that no store can hold."""
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    # PostgreSQL answers a query for a NUL with an error.
    return BrowserKey(key) if key and "\x00" not in key else None


def ensure_key(session: SessionBase) -> BrowserKey:
    """Return the session's key; a session that has none yet is saved to get one."""
    if session.session_key is None:
        session.create()
    key = session_state.key_of(session)
    assert key is not None
    return key


def stored_key(session_key: BrowserKey) -> StoredKey:
    """Return what the store, and therefore the row, keeps of a key: possibly only a digest."""
    digest = getattr(engine(), "digest_of", None)
    return StoredKey(digest(session_key) if digest else session_key)


def reserve_for_app(session: SessionBase) -> None:
    """Let only an app's session token open a session, and no cookie."""
    if not is_app_session(session):
        session[APP_KEY] = True


def is_app_session(session: SessionBase) -> bool:
    return APP_KEY in session


def discard(request: HttpRequest) -> None:
    """Leave no Django session behind, whatever is still put into it during this request.

    allauth's login form, for one, sets an expiry after the login; the middleware then
    flushes the session once more.
    """
    # On the session, not the request: a REST login has a session of its own to be discarded.
    reduce_to(request.session, {})


def reduce_to(session: SessionBase, remains: dict[str, Any]) -> None:
    """Keep only `remains` of a session, under a new key, whatever is added later."""
    session.flush()
    if remains:
        session.update(remains)
    session_state.of(session).remains = remains


def anonymous_data(session: SessionBase, user: Any) -> dict[str, Any]:
    """Return the data that are not authentication, such as a cart; none of a different user."""
    if session.get(SESSION_KEY) not in (None, user._meta.pk.value_to_string(user)):
        return {}
    return {
        name: value
        for name, value in session.items()
        # allauth leaves an empty dict of the flows that are under way.
        if value != {} and not name.startswith(AUTHENTICATION_KEYS)
    }


@contextmanager
def detached(request: Any) -> Iterator[None]:
    """Let allauth, or a receiver, work in a session that is discarded afterwards.

    A login for tokens neither sees nor changes the cookie login of the same browser, and its
    response sets no session cookie and no cookie of Django's messages.
    """
    state = request_state(request)
    replaced = {name: vars(request).get(name) for name in ("session", "user", "_messages")}
    browser_session = state.browser_session
    state.browser_session = browser_session or replaced["session"]
    request.session, request.user = engine()(), AnonymousUser()
    if replaced["_messages"] is not None:
        request._messages = default_storage(request)
    try:
        yield
    finally:
        if request.session.session_key:
            request.session.flush()
        state.browser_session = browser_session
        for name, value in replaced.items():
            if value is not None:
                setattr(request, name, value)
            else:
                vars(request).pop(name, None)


def suppress_cookie(request: HttpRequest) -> None:
    """Have Django neither save the session nor send or delete its cookie.

    The browser has received a newer one with a parallel response.
    """
    session: Any = request.session
    # This is what makes a session empty to Django.
    session._session_key, session._session_cache = None, {}
    session.modified = False
    request.COOKIES.pop(settings.SESSION_COOKIE_NAME, None)


def find_missing(stored_keys: Collection[StoredKey]) -> set[StoredKey]:
    """Return the stored keys without a Django session.

    If the store cannot be reached, return none.
    """
    store = engine()
    if issubclass(store, db.SessionStore):
        model = store.get_model_class()
        unexpired = model.objects.using(router.db_for_write(model)).filter(
            OneOf("session_key", stored_keys), expire_date__gt=timezone.now()
        )
        return set(stored_keys).difference(unexpired.values_list("session_key", flat=True))
    try:
        if _is_cached(store):
            _probe()
        return {key for key in stored_keys if not store().exists(key)}
    except Exception:
        # Whatever the cache client raises, and without a trace: it may quote the key.
        logs.log(logging.ERROR, "session_store_unavailable", engine=store.__module__)
        return set()


def delete_now(keys: Collection[StoredKey]) -> None:
    """Delete Django sessions at once."""
    if _delete_from_database(keys):
        _delete_outside_database(keys)


def delete(ended: Mapping[str, StoredKey]) -> None:
    """Delete the Django sessions of login sessions, given by sid and stored key.

    A database store is part of the caller's transaction. Other stores follow once it is
    committed, and one that cannot be reached is logged: the row is the truth, and the
    throttled touch reads it again. Tombstones are set before the commit, because a process that
    is killed right after it would set none.
    """
    keys = list(ended.values())
    if keys and _delete_from_database(keys) and set_tombstones(keys):
        transaction.on_commit(lambda: _delete_outside_database(keys), using=write_database())


def is_outside_database() -> bool:
    """Whether sessions are, also, in a store that no transaction of the database contains."""
    store = engine()
    return not issubclass(store, db.SessionStore) or _is_cached(store)


def load(session: Any, load_by_engine: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Load a session as its engine does, and look for its tombstone in the same call of a cache."""
    if not loads_from_cache(load_by_engine):
        return load_by_engine()
    entry, tombstone = session.cache_key, _tombstone(session.session_key)
    try:
        # The entry first: a cache that reads one after the other must not miss a new tombstone.
        found = session._cache.get_many([entry, tombstone])
    except Exception:
        found = {}
    if entry not in found:
        return load_by_engine()
    session_state.of(session).has_tombstone = tombstone in found
    return found[entry]


def loads_from_cache(load_by_engine: Any) -> bool:
    """Whether an engine's method is Django's own, which reads the cache and nothing else first."""
    django = (cache.SessionStore.load, cached_db.SessionStore.load)
    return getattr(load_by_engine, "__func__", None) in django


def has_tombstone(session: SessionBase) -> bool:
    """Whether the login of a session was about to end, or to change its key, a moment ago.

    The row knows whether that was committed. A save that was under way when the session was
    deleted puts it back into the cache.
    """
    known, key = session_state.of(session), session_state.key_of(session)
    if known.has_tombstone is None:
        is_cached = key is not None and _is_cached(session.__class__)
        known.has_tombstone = is_cached and _cache().get(_tombstone(key)) is not None
    return known.has_tombstone


def _tombstone(session_key: Any) -> str:
    return TOMBSTONE + stored_key(session_key)


def _delete_from_database(keys: Collection[StoredKey]) -> bool:
    """Delete sessions from a database store; return whether there is a store outside it too."""
    store = engine()
    if not issubclass(store, db.SessionStore):
        return True
    store.get_model_class().objects.filter(OneOf("session_key", keys)).delete()
    return is_outside_database()


def set_tombstones(keys: Collection[StoredKey]) -> bool:
    """Mark sessions as ended if the store is a cache; return False if it is unavailable."""
    if _is_cached(engine()):
        try:
            # Until the touch looks at the row itself; first, or a save might slip between.
            seconds = (conf.TOUCH_INTERVAL + TOMBSTONE_MARGIN).total_seconds()
            _cache().set_many({TOMBSTONE + key: 1 for key in keys}, seconds)
        except Exception:
            _log_failure(len(keys))
            return False
    return True


def _delete_outside_database(keys: Collection[StoredKey]) -> None:
    store: Any = engine()
    try:
        if _is_cached(store):
            _cache().delete_many([store.cache_key_prefix + key for key in keys])
        else:
            for key in keys:
                store().delete(key)
    except Exception:
        _log_failure(len(keys))


def _log_failure(count: int) -> None:
    # No traceback: a client may quote the key that it failed on.
    fields = {"count": count, "engine": engine().__module__}
    logs.log(logging.ERROR, "sessions_not_deleted", **fields)


def _is_cached(store: type[SessionBase]) -> bool:
    return issubclass(store, (cache.SessionStore, cached_db.SessionStore))


def _cache() -> BaseCache:
    return caches[settings.SESSION_CACHE_ALIAS]


def _probe() -> None:
    """Raise `ConnectionError` if the cache stores nothing.

    Some clients hide an outage and return None.
    """
    _cache().set(PROBE, 1, TOMBSTONE_MARGIN.total_seconds())
    if _cache().get(PROBE) is None:
        raise ConnectionError
