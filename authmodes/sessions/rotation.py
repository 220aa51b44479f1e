"""Session key rotation: during a short grace, a retired key still identifies its session."""

import secrets
import time
from copy import copy
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.utils.crypto import salted_hmac

from .. import policy
from ..conf import RequestSettings
from . import BrowserKey
from . import state as session_state
from . import store as session_store
from .store import APP_KEY, delete_now, engine, stored_key

if TYPE_CHECKING:
    # Mixed in before the store of whatever engine is configured.
    Base = SessionBase
else:
    Base = object
SUCCESSOR_KEY = "_authmodes_successor"
RETIRED_KEY = "_authmodes_retired"


class RotationMixin(Base):
    """An engine's session that continues as its successor if its key has been retired.

    When it is loaded, because not only `request.user` reads a session: the CSRF check and
    a shopping cart do as well, and what they write must not end up under the old key.
    """

    def load(self) -> dict[str, Any]:
        return follow_rotation_on_load(self, session_store.load(self, super().load))

    async def aload(self) -> dict[str, Any]:
        if session_store.loads_from_cache(super().load):
            return await sync_to_async(self.load)()
        return await sync_to_async(follow_rotation_on_load)(self, await super().aload())


def follow_rotation_on_load(session: SessionBase, data: dict[str, Any]) -> dict[str, Any]:
    """Return the data to use: those of the successor, and none of an app's session."""
    known = session_state.of(session)
    if SUCCESSOR_KEY in data:
        latest = find_successor(engine()(session.session_key))
        data = dict(latest.items()) if latest else {}
        switch_key(session, latest.session_key if latest else None)
        known.used_retired_key = latest is not None
    if APP_KEY in data:
        # An app holds no cookies, so a request that sends its key as one comes from a reader of
        # the store.
        switch_key(session, None)
        data = {}
    known.loaded_key = session_state.key_of(session)
    # A copy, because a login during the request changes the data.
    known.loaded_data = {**data}
    return data


def follow_rotation_if_loaded(session: SessionBase) -> None:
    """As `follow_rotation_on_load`, for a session that was loaded before it was ours.

    With CSRF_USE_SESSIONS, Django's CSRF middleware has loaded it before ours.
    """
    loaded = getattr(session, "_session_cache", None)
    if loaded is None:
        return
    if SUCCESSOR_KEY in loaded or APP_KEY in loaded:
        # Loaded again when it is needed: here the code may be asynchronous.
        del session._session_cache  # type: ignore[attr-defined]
    else:
        follow_rotation_on_load(session, loaded)


def find_successor(session: SessionBase) -> SessionBase | None:
    """Return the session that a retired one continues as, itself if it is not retired.

    None after the grace.
    """
    while SUCCESSOR_KEY in session:
        successor, key = session[SUCCESSOR_KEY], session_state.key_of(session)
        if key is None or _is_grace_over(successor["at"], time.time()):
            return None
        session = engine()(_successor_key(key, successor["nonce"]))
    return session


def switch_key(session: SessionBase, key: str | None) -> None:
    """Have the session of a request continue under another key."""
    session._session_key = key
    known = session_state.of(session)
    known.loaded_key, known.has_tombstone = session_state.key_of(session), None


def may_be_rotated_in_parallel(session: SessionBase) -> bool:
    """Whether a parallel request may rotate the key that this session was loaded by."""
    known = session_state.of(session)
    rotates = known.used_retired_key or RequestSettings.read().rotate_after is not None
    return rotates and known.loaded_key == session.session_key is not None


def reload_latest(session: SessionBase) -> None:
    """Load what parallel requests have saved since, under the current key.

    What this request itself has written wins. Raises `UpdateError` if the session is gone.
    """
    latest = find_successor(engine()(session.session_key))
    if latest is None or SESSION_KEY not in latest:
        raise UpdateError
    data = dict(latest.items())
    if session.modified:
        ours = {name: data[name] for name in (session_state.DATA_KEY, RETIRED_KEY) if name in data}
        data = {**dict(session.items()), **ours}
    session._session_cache = data  # type: ignore[attr-defined]
    if latest.session_key != session.session_key:
        switch_key(session, latest.session_key)
        session_state.of(session).used_retired_key = True


def derive_successor(session_key: BrowserKey) -> tuple[BrowserKey, str]:
    """Return a new key and the nonce it was derived from.

    The key is a function of the old key, the nonce and SECRET_KEY, so the entry under the old
    key is useless to a reader of the store.
    """
    nonce = secrets.token_hex(16)
    return _successor_key(session_key, nonce), nonce


def copy_to(session: SessionBase, key: BrowserKey) -> None:
    """Save a copy of a session under a new key, and store the old key in it."""
    _delete_retired(session)
    # A copy, not a new object: an engine may have been given more than a key.
    copied: Any = copy(session)
    copied._session_key, copied._session_cache = key, dict(session.items())
    copied.save(must_create=True)


def retire(session_key: BrowserKey, nonce: str) -> None:
    """Replace the data under a key with a reference to its successor, for the grace."""
    retired = engine()(session_key)
    retired.clear()
    retired[SUCCESSOR_KEY] = {"nonce": nonce, "at": time.time()}
    # As a date: the file engine would take seconds for a length that never passes.
    retired.set_expiry(policy.SESSION_KEY_GRACE)
    retired.save()


def _delete_retired(session: SessionBase) -> None:
    """Delete the sessions under the keys whose grace is over, and note the current key.

    Otherwise each rotation of a login would leave a useless session in the store.
    """
    now, key = time.time(), session_state.key_of(session)
    retired = {**session.get(RETIRED_KEY, {})}
    if key is not None:
        # A rotation that failed may have noted it before; it is in use until this one succeeds.
        retired[stored_key(key)] = now
    over = [stored for stored, at in retired.items() if _is_grace_over(at, now)]
    session[RETIRED_KEY] = {stored: at for stored, at in retired.items() if stored not in over}
    delete_now(over)


def _successor_key(session_key: BrowserKey, nonce: str) -> BrowserKey:
    mac = salted_hmac("authmodes.sessions.successor", session_key + nonce, algorithm="sha256")
    # As long as the column of django_session is wide.
    return BrowserKey(mac.hexdigest()[:40])


def _is_grace_over(retired_at: float, now: float) -> bool:
    return not policy.is_within_grace(retired_at, policy.SESSION_KEY_GRACE, now)
