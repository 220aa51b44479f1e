"""Pure decisions from timestamps and `now`; no database, no request, no clock of its own."""

from datetime import datetime, timedelta
from typing import TypeVar

# How long a rotated session key still identifies its session, for parallel requests of one page.
SESSION_KEY_GRACE = timedelta(seconds=10)
# How far the clocks of two servers may differ.
CLOCK_SKEW = timedelta(seconds=1)

# A row's datetime, or a Django session's seconds since the epoch: making datetimes of the
# latter would cost a request more than the decisions.
Moment = TypeVar("Moment", datetime, float)


def absolute_end(created_at: datetime, lifetime: timedelta) -> datetime:
    """When a login ends whatever its activity; never extended (ASVS V7.3.2)."""
    return created_at + lifetime


def is_over(expires_at: Moment, now: Moment) -> bool:
    """Whether this moment has come, such as the end of an absolute lifetime."""
    return now >= expires_at


def is_idle(last_seen_at: Moment, timeout: timedelta | None, now: Moment) -> bool:
    """Whether the login was unused for longer than `timeout`; None means never (ASVS V7.3.1)."""
    return timeout is not None and _seconds(last_seen_at, now) > timeout.total_seconds()


def touch_after(interval: timedelta, idle_timeout: timedelta | None) -> timedelta:
    """How old `last_seen_at` may get; well below the idle timeout, which is measured by it."""
    return interval if idle_timeout is None else min(interval, idle_timeout / 4)


def needs_touch(last_seen_at: Moment, interval: timedelta, now: Moment) -> bool:
    """Whether `last_seen_at` is old enough to be worth a write."""
    return _seconds(last_seen_at, now) >= interval.total_seconds()


def needs_renewal(renewed_at: float, renew_after: timedelta | None, now: float) -> bool:
    """Whether the cookie is old enough to be sent again with a fresh age; None means never."""
    return renew_after is not None and now - renewed_at >= renew_after.total_seconds()


def needs_new_key(keyed_at: float, rotate_after: timedelta | None, now: float) -> bool:
    """Whether the session key is old enough to be rotated; zero rotates it at each request."""
    return rotate_after is not None and now - keyed_at >= rotate_after.total_seconds()


def is_recent(auth_time: datetime, max_age: timedelta, now: datetime) -> bool:
    """Whether the user authenticated within `max_age` (RFC 9470)."""
    return now - auth_time <= max_age


def is_ahead(moment: datetime, leeway: timedelta, now: datetime) -> bool:
    """Whether a moment by a different clock has not come yet by ours."""
    return moment > now + leeway


def has_begun_by(begun_at: datetime, ended_at: datetime) -> bool:
    """Whether what ended at `ended_at` existed by then, so that it ended as well."""
    return begun_at <= ended_at


def is_within_grace(rotated_at: Moment | None, grace: timedelta, now: Moment) -> bool:
    """Whether what was rotated away still leads to its successor.

    A grace of zero is strict: the previous refresh token is reuse at once. A rotation in the
    future, beyond what the clocks of two servers may differ by, is none.
    """
    if rotated_at is None or grace <= timedelta(0):
        return False
    return -CLOCK_SKEW.total_seconds() < _seconds(rotated_at, now) <= grace.total_seconds()


def refresh_deadline(
    rotated_at: datetime, lifetime: timedelta, idle: timedelta | None, expires_at: datetime
) -> datetime:
    """When a refresh token stops working if it is not used before.

    A refresh token idles from its last rotation, and its `exp` claim, the absolute end,
    never moves (RFC 10017, 6.3.2.3).
    """
    unused = lifetime if idle is None else min(lifetime, idle)
    return min(rotated_at + unused, expires_at)


def _seconds(since: Moment, now: Moment) -> float:
    passed: timedelta | float = now - since
    return passed.total_seconds() if isinstance(passed, timedelta) else passed
