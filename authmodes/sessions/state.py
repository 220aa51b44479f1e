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
    """The login session as its Django session stores it. `sid` identifies, it is no credential.

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

    # The key that the request came with, or the one that this was rotated to; None if there is
    # no session under it. Then the data as they were when the session was loaded.
    loaded_key: BrowserKey | None
    loaded_data: dict[str, Any] | None = None
    # The key had been rotated a moment before the request.
    used_retired_key: bool = False
    # The middleware has saved it, so to save it again unmodified would add nothing.
    is_saved: bool = False
    # All that the middleware is to leave of it, if it was discarded.
    remains: dict[str, Any] | None = None
    # The key that the row is known to have.
    registered_key: BrowserKey | None = None
    # Changes to the stored data that are saved with the answer.
    deferred_updates: dict[str, Any] = field(default_factory=dict)
    # The stored data that were read last, and what they said.
    cached_data: tuple[Any, SessionData | None] = (None, None)


def of(session: SessionBase) -> SessionState:
    state: SessionState | None = getattr(session, ATTRIBUTE, None)
    if state is None:
        state = SessionState(loaded_key=key_of(session))
        setattr(session, ATTRIBUTE, state)
    return state


def key_of(session: SessionBase) -> BrowserKey | None:
    """The key that opens the session in a cookie; None before it is first saved."""
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
    """What the Django session stores of its login session; None if it has none to be read."""
    stored = session.get(DATA_KEY)
    if not stored:
        return None
    # Asked for several times in each request; what is written is a new dict.
    known = of(session)
    if known.cached_data[0] is not stored:
        known.cached_data = (stored, _read(stored))
    return known.cached_data[1]


def sid_in(data: Mapping[str, Any]) -> str | None:
    """The `sid` in a Django session's data."""
    stored = _read(data.get(DATA_KEY))
    return stored.sid if stored is not None else None


def update(session: SessionBase, **changes: Any) -> None:
    """Change what is stored of the login session; marks the Django session as modified."""
    stored = load(session)
    if stored is not None:
        session[DATA_KEY] = {**stored._asdict(), **changes}


def register_key(session: SessionBase) -> None:
    """Note that the row knows the session's present key."""
    of(session).registered_key = key_of(session)


def is_key_registered(session: SessionBase) -> bool:
    """Whether the row is known to have the session's present key."""
    return of(session).registered_key == key_of(session) is not None


def is_expired(stored: SessionData, now: float) -> bool:
    """Whether the absolute end has come; by the row's own kind of datetime (`USE_TZ`) as well."""
    return policy.is_over(stored.expires_at, now) and policy.is_over(
        to_datetime(stored.expires_at), to_datetime(now)
    )


def is_cookie_expired(session: SessionBase, stored: SessionData, now: float) -> bool:
    """Whether the browser has been asked to forget the cookie by now.

    The store may keep the session for longer, because to touch it saves it.
    """
    # As datetimes: a naive one means two moments in the hour that comes twice a year.
    end = cookie_expires_at(session, stored)
    return policy.is_over(end, datetime.fromtimestamp(now, end.tzinfo))


def cookie_expires_at(session: SessionBase, stored: SessionData) -> datetime:
    """When the browser was asked to forget the cookie, whatever this request has changed."""
    loaded_data = of(session).loaded_data
    before: Any = session if loaded_data is None else loaded_data
    return session.get_expiry_date(
        modification=to_datetime(stored.renewed_at), expiry=before.get("_session_expiry")
    )


def current_sid(request: HttpRequest | None) -> str | None:
    """The login session that the request belongs to, once its credential was accepted."""
    if request is not None and (sid := request_state(request).sid):
        return sid
    session = getattr(request, "session", None)
    stored = load(session) if session is not None else None
    return stored.sid if stored else None


# Each request of a login that is bound to its user agent asks, and a site sees few of them.
@functools.lru_cache(maxsize=1024)
def user_agent_digest(user_agent: str) -> str:
    """Enough of a digest to tell user agents apart, in a few bytes of every session."""
    return hashlib.sha256(user_agent.encode()).hexdigest()[:16]


def to_datetime(timestamp: float) -> datetime:
    """A timestamp as the project's kind of datetime (`USE_TZ`)."""
    return datetime.fromtimestamp(timestamp, tz=UTC if settings.USE_TZ else None)


def _read(stored: Any) -> SessionData | None:
    """Data with a field too few or too many are not read: the row knows.

    There are no defaults: an address made up here would switch the binding off.
    """
    is_ours = isinstance(stored, dict) and stored.keys() == FIELDS
    return SessionData(**stored) if is_ours else None
