"""What a Django session stores of its login session, and what we know about a loaded session."""

import functools
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

from .. import policy
from ..models import LoginSession
from ..state import ATTRIBUTE, request_state
from . import BrowserKey

DATA_KEY = "_authmodes"


class SessionData(NamedTuple):
    """The login session as its Django session stores it.

    `sid` identifies the login and is not a credential.

    `auth_time` is the claim of that name, `keyed_at` when the session got its key,
    `renewed_at` when its cookie was last sent with a fresh age; moments in seconds since the
    epoch. Stored as a dict by field name.
    """

    sid: str
    auth_time: int
    seen_at: float
    expires_at: float
    keyed_at: float
    renewed_at: float
    ip_address: str
    agent: str


FIELDS = frozenset(SessionData._fields)


@dataclass(slots=True)
class SessionState:
    """What one request knows about its Django session; none of it is stored."""

    # The key that the request sent, or the key that replaced it; None if no session has it.
    # Then the data at load time.
    loaded_key: BrowserKey | None
    loaded_data: dict[str, Any] | None = None
    # Whether a cache has a tombstone for that key; None if it was not asked.
    has_tombstone: bool | None = None
    # The key had been rotated a moment before the request.
    used_retired_key: bool = False
    # Saved by the middleware already; a second save would change nothing.
    is_saved: bool = False
    # Its INSERT waits for that of its row; then the key and the data that were written with it.
    is_insert_deferred: bool = False
    written: tuple[BrowserKey | None, Any] | None = None
    # What the middleware keeps of the session, if it was discarded.
    remains: dict[str, Any] | None = None
    # The key that the row is known to have.
    registered_key: BrowserKey | None = None
    # Changes to the stored data that are saved after the view.
    deferred_updates: dict[str, Any] = field(default_factory=dict)
    # The stored data that were parsed last, and the result.
    cached_data: tuple[Any, SessionData | None] = (None, None)


def of(session: SessionBase) -> SessionState:
    state: SessionState | None = getattr(session, ATTRIBUTE, None)
    if state is None:
        state = SessionState(loaded_key=key_of(session))
        setattr(session, ATTRIBUTE, state)
    return state


def key_of(session: SessionBase) -> BrowserKey | None:
    """Return the key that opens the session in a cookie; None before it is first saved."""
    return BrowserKey(session.session_key) if session.session_key else None


def attach(session: SessionBase, login_session: LoginSession) -> None:
    """Store what later requests need to know of a login session in its Django session."""
    now = time.time()
    data = SessionData(
        sid=str(login_session.sid),
        auth_time=login_session.auth_time,
        seen_at=login_session.last_seen_at.timestamp(),
        expires_at=login_session.expires_at.timestamp(),
        keyed_at=now,
        renewed_at=now,
        ip_address=login_session.ip_address or "",
        agent=user_agent_digest(login_session.user_agent),
    )
    session[DATA_KEY] = data._asdict()
    register_key(session)


def load(session: SessionBase) -> SessionData | None:
    """Return what the Django session stores of its login session; None without readable data."""
    stored = session.get(DATA_KEY)
    if not stored:
        return None
    # Parsed once per dict: this is called several times in each request.
    known = of(session)
    if known.cached_data[0] is not stored:
        known.cached_data = (stored, _read(stored))
    return known.cached_data[1]


def sid_in(data: Mapping[str, Any]) -> str | None:
    """Return the `sid` in a Django session's data."""
    stored = _read(data.get(DATA_KEY))
    return stored.sid if stored is not None else None


def update(session: SessionBase, **changes: Any) -> None:
    """Change what is stored of the login session; marks the Django session as modified."""
    stored = load(session)
    if stored is not None:
        session[DATA_KEY] = {**stored._asdict(), **changes}


def register_key(session: SessionBase) -> None:
    """Note that the row has the session's current key."""
    of(session).registered_key = key_of(session)


def is_key_registered(session: SessionBase) -> bool:
    """Whether the row is known to have the session's current key."""
    key = key_of(session)
    return of(session).registered_key == key and key is not None


def is_expired(stored: SessionData, now: float) -> bool:
    """Whether the absolute end has come, as a timestamp and as the row's datetime (`USE_TZ`)."""
    return policy.is_over(stored.expires_at, now) and policy.is_over(
        to_datetime(stored.expires_at), to_datetime(now)
    )


def is_cookie_expired(session: SessionBase, stored: SessionData, now: float) -> bool:
    """Whether the cookie has expired in the browser.

    The store may keep the session for longer, because a touch saves it.
    """
    # As datetimes, because a naive datetime is ambiguous in the hour when summer time ends.
    end = cookie_expires_at(session, stored)
    return policy.is_over(end, datetime.fromtimestamp(now, end.tzinfo))


def cookie_expires_at(session: SessionBase, stored: SessionData) -> datetime:
    """When the cookie expires in the browser, whatever this request has changed."""
    loaded_data = of(session).loaded_data
    before: Any = session if loaded_data is None else loaded_data
    return session.get_expiry_date(
        modification=to_datetime(stored.renewed_at), expiry=before.get("_session_expiry")
    )


def current_sid(request: HttpRequest | None) -> str | None:
    """Return the `sid` of the request.

    That is the `sid` of its accepted token, otherwise the one that its Django session stores.
    The stored one is not validated here; reading `request.user` does that.
    """
    if request is not None and (sid := request_state(request).sid):
        return sid
    session = getattr(request, "session", None)
    stored = load(session) if session is not None else None
    return stored.sid if stored else None


# Each request of a login that is bound to its user agent calls it, and a site sees few of them.
@functools.lru_cache(maxsize=1024)
def user_agent_digest(user_agent: str) -> str:
    """Return a digest that is long enough to tell user agents apart, and short to store."""
    return hashlib.sha256(user_agent.encode()).hexdigest()[:16]


def to_datetime(timestamp: float) -> datetime:
    """Convert a timestamp to the project's kind of datetime (`USE_TZ`)."""
    return datetime.fromtimestamp(timestamp, tz=UTC if settings.USE_TZ else None)


def _read(stored: Any) -> SessionData | None:
    """Parse the stored data; None if a field is missing or unknown.

    The row has the current values.
    There are no defaults: an address made up here would switch the binding off.
    """
    is_ours = isinstance(stored, dict) and stored.keys() == FIELDS
    return SessionData(**stored) if is_ours else None
