"""Django sessions in their store, whatever the engine: keys, successors, deletion."""

import logging
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from importlib import import_module
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends import cache, cached_db, db
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import router, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac

from . import memory, policy
from .conf import conf

logger = logging.getLogger("authmodes")

SUCCESSOR_KEY = "_authmodes_successor"
RETIRED_KEY = "_authmodes_retired"
APP_KEY = "_authmodes_app"
TOMBSTONE = "authmodes.ended."
TOMBSTONE_MARGIN = timedelta(minutes=1)


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
    request.session._authmodes_discard = True  # type: ignore[attr-defined]


def is_discarded(request: HttpRequest) -> bool:
    return getattr(request.session, "_authmodes_discard", False)


def reserve_for_app(session: SessionBase) -> None:
    """Have a session no longer be reached by a cookie, but by an app's session token alone."""
    if not is_of_app(session):
        session[APP_KEY] = True


def is_of_app(session: SessionBase) -> bool:
    return APP_KEY in session


# -- successors ----------------------------------------------------------------------------


def next_key(session_key: str) -> tuple[str, str]:
    """A successor's key, and the nonce that leads to it.

    The new key is a function of the old one, a nonce and SECRET_KEY, so what is left under
    the old key leads its holder to the successor and nobody who only reads the store.
    """
    nonce = secrets.token_hex(16)
    return _successor_key(session_key, nonce), nonce


def copy_to(session: SessionBase, key: str) -> SessionBase:
    """Save a copy of a session under a new key."""
    copy = engine()(key)
    # Else the first access would ask the store for a session that is not there yet.
    copy.clear()
    copy.update(dict(session.items()))
    copy.save(must_create=True)
    return copy


def retire(session_key: str, nonce: str) -> None:
    """Leave under a key no more than the way to its successor, for the time of the grace."""
    retired = engine()(session_key)
    retired.clear()
    retired[SUCCESSOR_KEY] = {"nonce": nonce, "at": timezone.now().timestamp()}
    # As a date: the file engine would take seconds for a length that never passes.
    retired.set_expiry(policy.SESSION_KEY_GRACE)
    retired.save()


def note_retired(session: SessionBase, session_key: str) -> list[str]:
    """Have a session remember a key it had; return those whose grace is over, as stored.

    Else a login would leave one dead session behind with each rotation.
    """
    now = timezone.now().timestamp()
    known = [*session.get(RETIRED_KEY, []), [stored_key(session_key), now]]
    over = [key for key, at in known if now - at > policy.SESSION_KEY_GRACE.total_seconds()]
    session[RETIRED_KEY] = [[key, at] for key, at in known if key not in over]
    return over


def is_retired(session: SessionBase) -> bool:
    return SUCCESSOR_KEY in session


def lead_on(session: SessionBase) -> None:
    """Have a session that turns out to be retired go on as its successor.

    When it is loaded, because not only `request.user` reads a session: the CSRF check and
    a shopping cart do as well, and what they write must not end up under the old key.
    """
    session.load = partial(_load_live, session, session.load)  # type: ignore[method-assign]
    session.aload = partial(_aload_live, session, session.aload)  # type: ignore[method-assign]
    # With CSRF_USE_SESSIONS, Django's CSRF middleware has loaded it before ours.
    loaded = getattr(session, "_session_cache", None)
    if loaded is not None and (SUCCESSOR_KEY in loaded or APP_KEY in loaded):
        del session._session_cache  # type: ignore[attr-defined]
    elif loaded is not None:
        _arrive(session, loaded)


def _load_live(session: SessionBase, load: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    return _arrive(session, load())


async def _aload_live(
    session: SessionBase, aload: Callable[[], Awaitable[dict[str, Any]]]
) -> dict[str, Any]:
    return await sync_to_async(_arrive)(session, await aload())


def _arrive(session: SessionBase, data: dict[str, Any]) -> dict[str, Any]:
    if SUCCESSOR_KEY in data:
        live = successor_of(engine()(session.session_key))
        data = dict(live.items()) if live else {}
        move(session, live.session_key if live else None)
        session._authmodes_late = live is not None  # type: ignore[attr-defined]
    if APP_KEY in data:
        # An app holds no cookies, so whoever sends its key as one has read the store.
        session._session_key, data = None, {}
    session._authmodes_came_by = session.session_key  # type: ignore[attr-defined]
    return data


def move(session: SessionBase, key: str | None) -> None:
    """Have the session of a request go on under another key."""
    session._session_key = key
    session._authmodes_came_by = key  # type: ignore[attr-defined]


def catch_up(session: SessionBase) -> bool:
    """Load what parallel requests have saved since; return whether one rotated the key.

    What this request itself has written wins. Raises `UpdateError` if the session is gone.
    """
    live = successor_of(engine()(session.session_key))
    data = dict(live.items()) if live else {}
    if live is None or SESSION_KEY not in data:
        raise UpdateError
    if session.modified:
        ours = {name: data[name] for name in (memory.DATA_KEY, RETIRED_KEY) if name in data}
        data = {**dict(session.items()), **ours}
    session._session_cache = data  # type: ignore[attr-defined]
    if live.session_key == session.session_key:
        return False
    move(session, live.session_key)
    session._authmodes_late = True  # type: ignore[attr-defined]
    return True


def is_loaded(session: SessionBase) -> bool:
    """Whether the store was asked for it and has answered."""
    return hasattr(session, "_authmodes_came_by")


def is_late(session: SessionBase) -> bool:
    """Whether the request came by a key that was rotated a moment ago."""
    return getattr(session, "_authmodes_late", False)


def may_be_overtaken(session: SessionBase) -> bool:
    """Whether a parallel request may rotate the key that this session was loaded by."""
    if not is_loaded(session) or session.session_key is None:
        return False
    rotates = conf.ROTATE_SESSION_AFTER is not None or is_late(session)
    return rotates and came_by(session, None) == session.session_key


def came_by(session: SessionBase, cookie: str | None) -> str | None:
    """The key that the request came by, or was led on to; None if it led nowhere."""
    return getattr(session, "_authmodes_came_by", cookie)


def successor_of(session: SessionBase) -> SessionBase | None:
    """The session that a retired one leads to, None after the grace."""
    while is_retired(session):
        way = session[SUCCESSOR_KEY]
        age = timezone.now().timestamp() - way["at"]
        if session.session_key is None or age > policy.SESSION_KEY_GRACE.total_seconds():
            return None
        session = engine()(_successor_key(session.session_key, way["nonce"]))
    return session


def _successor_key(session_key: str, nonce: str) -> str:
    mac = salted_hmac("authmodes.stores.successor", session_key + nonce, algorithm="sha256")
    # As long as the column of django_session is wide.
    return mac.hexdigest()[:40]


def gone(stored_keys: Collection[str]) -> set[str]:
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
        return {key for key in stored_keys if not store().exists(key)}
    except Exception:
        # Whatever the cache client raises, and without a trace: it may quote the key.
        logger.error("Could not look for Django sessions in %s", store.__module__)
        return set()


# -- what Django does with it ---------------------------------------------------------------


def settle(session: SessionBase) -> None:
    """Note that the request has saved its session; Django's own save has nothing to add."""
    session.modified = False
    session._authmodes_settled = True  # type: ignore[attr-defined]


def is_settled(session: SessionBase) -> bool:
    return not session.modified and getattr(session, "_authmodes_settled", False)


def withdraw(request: HttpRequest) -> None:
    """Have Django neither save the session nor send or take away its cookie.

    The browser has got another one from a parallel answer.
    """
    request.session.is_empty = lambda: True  # type: ignore[method-assign]
    request.COOKIES.pop(settings.SESSION_COOKIE_NAME, None)


# -- deletion ------------------------------------------------------------------------------


def drop(keys: Sequence[str]) -> None:
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
        _complain(store, len(doomed))
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
        _complain(store, len(keys))


def _complain(store: Any, count: int) -> None:
    # No traceback: a client may quote the key that it failed on.
    logger.error("Could not delete %d Django sessions from %s", count, store.__module__)


def _is_cached(store: type[SessionBase]) -> bool:
    return issubclass(store, (cache.SessionStore, cached_db.SessionStore))


def _cache() -> BaseCache:
    return caches[settings.SESSION_CACHE_ALIAS]


def _tombstone_seconds() -> float:
    return (conf.TOUCH_INTERVAL + TOMBSTONE_MARGIN).total_seconds()
