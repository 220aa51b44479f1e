"""Deletes Django sessions from their store, and tells which are gone."""

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends import cache, cached_db, db
from django.contrib.sessions.backends.base import SessionBase
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import router, transaction
from django.utils import timezone

from ..conf import conf
from .keys import engine

logger = logging.getLogger("authmodes")

TOMBSTONE = "authmodes.ended."
PROBE = "authmodes.probe"
TOMBSTONE_MARGIN = timedelta(minutes=1)


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
        if _is_cached(store):
            _probe()
        return {key for key in stored_keys if not store().exists(key)}
    except Exception:
        # Whatever the cache client raises, and without a trace: it may quote the key.
        logger.error("Could not look for Django sessions in %s", store.__module__)
        return set()


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


def _probe() -> None:
    """Raise if the cache keeps nothing: clients may hide that it is away, as if it were empty."""
    _cache().set(PROBE, 1, TOMBSTONE_MARGIN.total_seconds())
    if _cache().get(PROBE) is None:
        raise ConnectionError


def _tombstone_seconds() -> float:
    return (conf.TOUCH_INTERVAL + TOMBSTONE_MARGIN).total_seconds()
