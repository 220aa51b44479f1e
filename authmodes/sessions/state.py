"""What a Django session stores of its login session, and what we know about a loaded session."""

import functools
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeGuard

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

from .. import policy
from ..models import LoginSession
from ..state import ATTRIBUTE, request_state

DATA_KEY = "_authmodes"
ROUNDED = ("seen_at", "keyed_at", "renewed_at")


@dataclass(slots=True)
class SessionState:
    """What is known of a Django session since it was loaded or made; nothing here is stored."""

    # Whether the store was asked for it and has answered; then the key that the request came
    # by, or was led on to (None if it led nowhere), and the data as they were.
    is_loaded: bool = False
    loaded_key: str | None = None
    loaded_data: dict[str, Any] | None = None
    # The request came by a key that was rotated a moment ago.
    used_retired_key: bool = False
    # The request has saved it; is not to leave it behind.
    is_saved: bool = False
    is_discarded: bool = False
    # The key that the row is known to have.
    registered_key: str | None = None
    # What is to be remembered with the answer.
    deferred_updates: dict[str, Any] = field(default_factory=dict)
    # The data that were read last, and what they said.
    cached_data: "tuple[Any, SessionData | None]" = (None, None)


def of(session: SessionBase) -> SessionState:
    state: SessionState | None = getattr(session, ATTRIBUTE, None)
    if state is None:
        state = SessionState()
        setattr(session, ATTRIBUTE, state)
    return state


class SessionData(NamedTuple):
    """The login session as its Django session knows it. `sid` identifies, it is no credential.

    `auth_time` is the claim of that name, `keyed_at` when the session got its key,
    `renewed_at` when its cookie was last sent with a fresh age; moments in seconds since the
    epoch. Kept by position: a field of another order or meaning needs another `DATA_KEY`.
    """

    sid: str
    auth_time: int
    seen_at: float
    expires_at: float
    keyed_at: float
    renewed_at: float
    ip_address: str
    agent: str


def attach(session: SessionBase, login_session: LoginSession) -> None:
    """Keep what later requests need inside the Django session."""
    now = time.time()
    _write(
        session,
        SessionData(
            sid=str(login_session.sid),
            auth_time=login_session.auth_time,
            seen_at=login_session.last_seen_at.timestamp(),
            expires_at=login_session.expires_at.timestamp(),
            keyed_at=now,
            renewed_at=now,
            ip_address=login_session.ip_address or "",
            agent=user_agent_digest(login_session.user_agent),
        ),
    )
    register_key(session)


def register_key(session: SessionBase) -> None:
    """Note that the row knows the session's present key."""
    of(session).registered_key = session.session_key


def load(session: SessionBase) -> SessionData | None:
    """What the Django session remembers of its login session, if it has one."""
    data = session.get(DATA_KEY)
    if not data:
        return None
    # Asked for several times in each request; what is written is a new list.
    known = of(session)
    if known.cached_data[0] is not data:
        known.cached_data = (data, SessionData._make(data) if _is_ours(data) else None)
    return known.cached_data[1]


def sid_in(data: Mapping[str, Any]) -> str | None:
    """The `sid` in a Django session's data as it was loaded."""
    noted = data.get(DATA_KEY)
    return SessionData._make(noted).sid if _is_ours(noted) else None


def update(session: SessionBase, **changes: Any) -> None:
    """Remember something else than before; marks the session as modified."""
    memory = load(session)
    if memory is not None:
        _write(session, memory._replace(**changes))


def defer_update(session: SessionBase, **changes: Any) -> None:
    """Remember something with the answer, when the session is saved as it is then."""
    deferred_updates(session).update(changes)


def deferred_updates(session: SessionBase) -> dict[str, Any]:
    return of(session).deferred_updates


def is_expired(remembered: SessionData, now: float) -> bool:
    """Whether the absolute end has come; by the row's own kind of datetime (`USE_TZ`) as well."""
    return policy.is_over(remembered.expires_at, now) and policy.is_over(
        to_datetime(remembered.expires_at), to_datetime(now)
    )


def is_cookie_expired(session: SessionBase, remembered: SessionData, now: float) -> bool:
    """Whether the browser has been asked to forget the cookie by now.

    The store may keep the session for longer, because to touch it saves it.
    """
    # As datetimes: a naive one means two moments in the hour that comes twice a year.
    end = cookie_expires_at(session, remembered)
    return policy.is_over(end, datetime.fromtimestamp(now, end.tzinfo))


def cookie_expires_at(session: SessionBase, remembered: SessionData) -> datetime:
    """When the browser was asked to forget the cookie."""
    return session.get_expiry_date(modification=to_datetime(remembered.renewed_at))


def current_sid(request: HttpRequest) -> str | None:
    """The login session that the request belongs to, once its credential was accepted."""
    if sid := request_state(request).sid:
        return str(sid)
    memory = load(request.session) if hasattr(request, "session") else None
    return memory.sid if memory else None


def is_key_registered(session: SessionBase) -> bool:
    """Whether the row is known to have the session's present key."""
    return of(session).registered_key == session.session_key is not None


# Each request of a login that is bound to its user agent asks, and a site sees few of them.
@functools.lru_cache(maxsize=1024)
def user_agent_digest(user_agent: str) -> str:
    """Enough of a digest to tell user agents apart, in a few bytes of every session."""
    return hashlib.sha256(user_agent.encode()).hexdigest()[:16]


def _write(session: SessionBase, memory: SessionData) -> None:
    # A list, and milliseconds, because every request decodes it: a dict with all digits takes
    # three times as long. Rounded down, so that nothing noted lies in the future; `expires_at`
    # is not rounded, to equal the row's.
    session[DATA_KEY] = [
        min(int(value * 1000) / 1000, value) if name in ROUNDED else value
        for name, value in memory._asdict().items()
    ]


def _is_ours(data: Any) -> TypeGuard[Sequence[Any]]:
    """Whether these data are a memory; another version of us may have left something out.

    No defaults: an address made up here would switch the binding off. The row knows.
    """
    # A serializer may give tuples back.
    return isinstance(data, list | tuple) and len(data) == len(SessionData._fields)


def to_datetime(timestamp: float) -> datetime:
    """A timestamp as the project's kind of datetime (`USE_TZ`)."""
    return datetime.fromtimestamp(timestamp, tz=UTC if settings.USE_TZ else None)
