"""What a Django session remembers of its login session, so that a request need not ask the row."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.utils import timezone

from . import policy
from .conf import conf
from .models import LoginSession

DATA_KEY = "_authmodes"
TIMES = ("seen_at", "expires_at", "keyed_at", "renewed_at")


class Memory(NamedTuple):
    """The login session as its Django session knows it. `sid` identifies, it is no credential.

    `auth_time` is the claim of that name, `keyed_at` when the session got its key,
    `renewed_at` when its cookie was last sent with a fresh age.
    """

    sid: str
    auth_time: int
    seen_at: datetime
    expires_at: datetime
    keyed_at: datetime
    renewed_at: datetime
    ip_address: str
    agent: str


def remember(session: SessionBase, login_session: LoginSession) -> None:
    """Keep what later requests need inside the Django session."""
    now = timezone.now()
    _write(
        session,
        Memory(
            sid=str(login_session.sid),
            auth_time=login_session.auth_time,
            seen_at=login_session.last_seen_at,
            expires_at=login_session.expires_at,
            keyed_at=now,
            renewed_at=now,
            ip_address=login_session.ip_address or "",
            agent=digest_of_agent(login_session.user_agent),
        ),
    )
    note_key(session)


def note_key(session: SessionBase) -> None:
    """Note that the row knows the session's present key."""
    session._authmodes_key = session.session_key  # type: ignore[attr-defined]


def recall(session: SessionBase) -> Memory | None:
    """What the Django session remembers of its login session, if it has one."""
    data = session.get(DATA_KEY)
    if not data:
        return None
    # Asked for several times in each request; what is written is a new dict.
    known, memory = getattr(session, "_authmodes_recalled", (None, None))
    if known is not data:
        memory = _read(data)
        session._authmodes_recalled = (data, memory)  # type: ignore[attr-defined]
    return memory


def sid_in(data: dict[str, Any]) -> str | None:
    """The `sid` in a Django session's data as it was loaded."""
    return (data.get(DATA_KEY) or {}).get("sid")


def change(session: SessionBase, **changes: Any) -> None:
    """Remember something else than before; marks the session as modified."""
    memory = recall(session)
    if memory is not None:
        _write(session, memory._replace(**changes))


def postpone(session: SessionBase, **changes: Any) -> None:
    """Remember something with the answer, when the session is saved as it is then."""
    session._authmodes_postponed = {**postponed(session), **changes}  # type: ignore[attr-defined]


def postponed(session: SessionBase) -> dict[str, Any]:
    return getattr(session, "_authmodes_postponed", {})


def cookie_is_over(session: SessionBase, remembered: Memory) -> bool:
    """Whether the browser has been asked to forget the cookie by now.

    The store may keep the session for longer, because to touch it saves it.
    """
    expires_at = session.get_expiry_date(modification=remembered.renewed_at)
    return policy.is_over(expires_at, timezone.now())


def current_sid(request: HttpRequest) -> str | None:
    """The login session that the request belongs to, once its credential was accepted."""
    if sid := getattr(request, "_authmodes_sid", None):
        return str(sid)
    memory = recall(request.session) if hasattr(request, "session") else None
    return memory.sid if memory else None


def is_registered(session: SessionBase) -> bool:
    """Whether the row is known to have the session's present key."""
    return getattr(session, "_authmodes_key", None) == session.session_key is not None


def touch_after() -> timedelta:
    """The touch interval in force."""
    return policy.touch_after(conf.TOUCH_INTERVAL, conf.IDLE_TIMEOUT)


def digest_of_agent(user_agent: str) -> str:
    """Enough of a digest to tell user agents apart, in a few bytes of every session."""
    return hashlib.sha256(user_agent.encode()).hexdigest()[:16]


def _write(session: SessionBase, memory: Memory) -> None:
    times = {name: getattr(memory, name).timestamp() for name in TIMES}
    session[DATA_KEY] = {**memory._asdict(), **times}


def _read(data: dict[str, Any]) -> Memory | None:
    """The memory in these data; None if another version of us wrote them, and left one out.

    No defaults: an address made up here would switch the binding off. The row knows.
    """
    tz = UTC if settings.USE_TZ else None
    try:
        times = [datetime.fromtimestamp(data[name], tz) for name in TIMES]
        return Memory._make(
            [data["sid"], data["auth_time"], *times, data["ip_address"], data["agent"]]
        )
    except KeyError:
        return None


def moment_of(timestamp: float) -> datetime:
    """A timestamp as the project's kind of datetime (`USE_TZ`)."""
    return datetime.fromtimestamp(timestamp, tz=UTC if settings.USE_TZ else None)
