"""Session key rotation: a retired key leads to its successor for a short grace."""

import secrets
from copy import copy
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.utils import timezone
from django.utils.crypto import salted_hmac

from .. import policy
from ..conf import conf
from . import state as session_state
from .store import APP_KEY, engine, stored_key

if TYPE_CHECKING:
    # Mixed in before the store of whatever engine is configured.
    Base = SessionBase
else:
    Base = object
SUCCESSOR_KEY = "_authmodes_successor"
RETIRED_KEY = "_authmodes_retired"


def derive_successor(session_key: str) -> tuple[str, str]:
    """A successor's key, and the nonce that leads to it.

    The new key is a function of the old one, a nonce and SECRET_KEY, so what is left under
    the old key leads its holder to the successor and nobody who only reads the store.
    """
    nonce = secrets.token_hex(16)
    return _successor_key(session_key, nonce), nonce


def copy_to(session: SessionBase, key: str) -> SessionBase:
    """Save a copy of a session under a new key."""
    # Not one made anew: an engine may have been given more than a key.
    copied = copy(session)
    copied._session_key, copied._session_cache = key, dict(session.items())  # type: ignore[attr-defined]
    copied.save(must_create=True)
    return copied


def retire(session_key: str, nonce: str) -> None:
    """Leave under a key no more than the way to its successor, for the time of the grace."""
    retired = engine()(session_key)
    retired.clear()
    retired[SUCCESSOR_KEY] = {"nonce": nonce, "at": timezone.now().timestamp()}
    # As a date: the file engine would take seconds for a length that never passes.
    retired.set_expiry(policy.SESSION_KEY_GRACE)
    retired.save()


def add_retired_key(session: SessionBase, session_key: str) -> list[str]:
    """Have a session remember a key it had; return those whose grace is over, as stored.

    Else a login would leave one dead session behind with each rotation.
    """
    now = timezone.now().timestamp()
    mine = stored_key(session_key)
    # A rotation that failed may have noted it before; it is in use until this one succeeds.
    known = [entry for entry in session.get(RETIRED_KEY, []) if entry[0] != mine] + [[mine, now]]
    over = [key for key, at in known if now - at > policy.SESSION_KEY_GRACE.total_seconds()]
    session[RETIRED_KEY] = [[key, at] for key, at in known if key not in over]
    return over


def is_retired(session: SessionBase) -> bool:
    return SUCCESSOR_KEY in session


class RotationMixin(Base):
    """An engine's session that goes on as its successor if it turns out to be retired.

    When it is loaded, because not only `request.user` reads a session: the CSRF check and
    a shopping cart do as well, and what they write must not end up under the old key.
    """

    def load(self) -> dict[str, Any]:
        return _follow_on_load(self, super().load())

    async def aload(self) -> dict[str, Any]:
        return await sync_to_async(_follow_on_load)(self, await super().aload())


def follow_if_loaded(session: SessionBase) -> None:
    """Have a session that was loaded before it was followed be followed all the same.

    With CSRF_USE_SESSIONS, Django's CSRF middleware has loaded it before ours.
    """
    loaded = getattr(session, "_session_cache", None)
    if loaded is not None and (SUCCESSOR_KEY in loaded or APP_KEY in loaded):
        del session._session_cache  # type: ignore[attr-defined]
    elif loaded is not None:
        _follow_on_load(session, loaded)


def _follow_on_load(session: SessionBase, data: dict[str, Any]) -> dict[str, Any]:
    if SUCCESSOR_KEY in data:
        live = find_successor(engine()(session.session_key))
        data = dict(live.items()) if live else {}
        switch_key(session, live.session_key if live else None)
        session_state.of(session).used_retired_key = live is not None
    if APP_KEY in data:
        # An app holds no cookies, so whoever sends its key as one has read the store.
        session._session_key, data = None, {}
    known = session_state.of(session)
    known.is_loaded, known.loaded_key = True, session.session_key
    # A copy, because a login during the request changes the data.
    known.loaded_data = {**data}
    return data


def switch_key(session: SessionBase, key: str | None) -> None:
    """Have the session of a request go on under another key."""
    session._session_key = key
    known = session_state.of(session)
    known.is_loaded, known.loaded_key = True, key


def reload_latest(session: SessionBase) -> bool:
    """Load what parallel requests have saved since; return whether one rotated the key.

    What this request itself has written wins. Raises `UpdateError` if the session is gone.
    """
    live = find_successor(engine()(session.session_key))
    data = dict(live.items()) if live else {}
    if live is None or SESSION_KEY not in data:
        raise UpdateError
    if session.modified:
        ours = {name: data[name] for name in (session_state.DATA_KEY, RETIRED_KEY) if name in data}
        data = {**dict(session.items()), **ours}
    session._session_cache = data  # type: ignore[attr-defined]
    if live.session_key == session.session_key:
        return False
    switch_key(session, live.session_key)
    session_state.of(session).used_retired_key = True
    return True


def is_loaded(session: SessionBase) -> bool:
    """Whether the store was asked for it and has answered."""
    return session_state.of(session).is_loaded


def used_retired_key(session: SessionBase) -> bool:
    """Whether the request came by a key that was rotated a moment ago."""
    return session_state.of(session).used_retired_key


def may_be_rotated_in_parallel(session: SessionBase) -> bool:
    """Whether a parallel request may rotate the key that this session was loaded by."""
    if not is_loaded(session) or session.session_key is None:
        return False
    rotates = conf.ROTATE_SESSION_AFTER is not None or used_retired_key(session)
    return rotates and loaded_key(session, None) == session.session_key


def loaded_key(session: SessionBase, cookie: str | None) -> str | None:
    """The key that the request came by, or was led on to; None if it led nowhere."""
    known = session_state.of(session)
    return known.loaded_key if known.is_loaded else cookie


def loaded_login(session: SessionBase) -> tuple[str | None, str]:
    """The login session that the request came with, and the hash of the password then."""
    data = session_state.of(session).loaded_data or {}
    return session_state.sid_in(data), data.get(HASH_SESSION_KEY, "")


def as_loaded(session: SessionBase) -> SessionBase:
    """The session as it was when it was loaded; itself if it was made since."""
    data = session_state.of(session).loaded_data
    if data is None:
        return session
    before = engine()()
    before._session_cache = data  # type: ignore[attr-defined]
    return before


def find_successor(session: SessionBase) -> SessionBase | None:
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
