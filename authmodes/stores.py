"""Django sessions in their store, whatever the engine: keys, successors, deletion."""

import logging
import secrets
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends import cached_db, db
from django.contrib.sessions.backends.base import SessionBase
from django.core.cache import caches
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac

from . import policy

logger = logging.getLogger("authmodes")

SUCCESSOR_KEY = "_authmodes_successor"


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
    request._authmodes_discard = True  # type: ignore[attr-defined]


def is_discarded(request: HttpRequest) -> bool:
    return getattr(request, "_authmodes_discard", False)


# -- successors ----------------------------------------------------------------------------


def copy_to_successor(session: SessionBase) -> tuple[SessionBase, str]:
    """Save a copy under a new key; return it and the nonce that leads to it.

    The new key is a function of the old one, a nonce and SECRET_KEY, so what is left under
    the old key leads its holder to the successor and nobody who only reads the store.
    """
    assert session.session_key is not None
    nonce = secrets.token_hex(16)
    successor = engine()(_successor_key(session.session_key, nonce))
    # Else the first access would ask the store for a session that is not there yet.
    successor.clear()
    successor.update(dict(session.items()))
    successor.save(must_create=True)
    return successor, nonce


def retire(session_key: str, nonce: str) -> None:
    """Leave under a key no more than the way to its successor, for the time of the grace."""
    retired = engine()(session_key)
    retired.clear()
    retired[SUCCESSOR_KEY] = {"nonce": nonce, "at": timezone.now().timestamp()}
    retired.set_expiry(int(policy.SESSION_KEY_GRACE.total_seconds()))
    retired.save()


def is_retired(session: SessionBase) -> bool:
    return SUCCESSOR_KEY in session


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


# -- deletion ------------------------------------------------------------------------------


def delete(stored_keys: list[str]) -> None:
    """Delete Django sessions from their store; never in the way of ending a login.

    A database store is part of the caller's transaction. Other stores follow once it is
    committed, and one that cannot be reached is logged: the row is the truth, and the
    throttled touch looks at it again.
    """
    if not stored_keys:
        return
    store = engine()
    if issubclass(store, db.SessionStore):
        store.get_model_class().objects.filter(session_key__in=stored_keys).delete()
    if not issubclass(store, db.SessionStore) or issubclass(store, cached_db.SessionStore):
        transaction.on_commit(lambda: _delete_outside_database(store, stored_keys))


def _delete_outside_database(store: Any, stored_keys: list[str]) -> None:
    try:
        if issubclass(store, cached_db.SessionStore):
            prefix = store.cache_key_prefix
            caches[settings.SESSION_CACHE_ALIAS].delete_many([prefix + key for key in stored_keys])
            return
        for key in stored_keys:
            store().delete(key)
    except Exception:
        # Whatever the cache client raises: the login has ended, only the mirror has not.
        # No traceback: a client may quote the key that it failed on.
        logger.error(
            "Could not delete %d Django sessions from %s", len(stored_keys), store.__module__
        )
