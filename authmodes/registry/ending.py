"""Ends login sessions, brings their mirrors into line, and removes dead rows."""

import logging
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from allauth.account import app_settings
from allauth.core import context
from django.db import transaction
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken

from .. import signals
from ..models import AuthorizationCode, EndReason, ExpiringMark, LoginSession, LoginSessionQuerySet
from ..sessions import store as session_store
from .transactions import retry_on_conflict

logger = logging.getLogger("authmodes")
BATCH = 500
# Somebody, or the app itself, wanted the user out. The others are everyday ends.
DELIBERATE = {
    EndReason.REVOKED,
    EndReason.REVOKED_BY_USER,
    EndReason.REUSE,
    EndReason.PASSWORD_CHANGED,
    EndReason.USER_DISABLED,
}


def revoke(
    login_session: LoginSession,
    reason: str = EndReason.REVOKED,
    *,
    by: Any = None,
) -> bool:
    """End one login session: cookie, access token and refresh token stop working.

    Returns whether this call ended it; False if it had ended before. `reason` is one of
    `EndReason`, `by` the user who acted, None for the system.
    """
    ended = _end([login_session.pk], reason, by)
    for row in ended:
        login_session.ended_at, login_session.end_reason = row.ended_at, row.end_reason
        login_session.ended_by = by
    return bool(ended)


def cancel_authorization_codes(**whose: Any) -> None:
    """Make one-time codes worthless; `whose` are lookups such as `user` or `provider`."""
    AuthorizationCode.objects.filter(**whose).delete()


def revoke_user(user: Any, reason: str = EndReason.REVOKED, *, by: Any = None) -> int:
    """End every login session of a user, and the browser logins still under way."""
    _end_pending(user)
    return revoke_all(LoginSession.objects.for_user(user), reason, by=by)


def revoke_others(user: Any, *, spare: str | None) -> int:
    """End every login session of a user but one, at the user's own wish."""
    _end_pending(user)
    others = LoginSession.objects.for_user(user)
    if spare is not None:
        others = others.exclude(sid=spare)
    return revoke_all(others, EndReason.REVOKED_BY_USER, by=user)


def latest_revocation_of(user: Any) -> str:
    """Which ending of all logins of a user was the latest, as a text to compare; "" for none.

    Kept for as long as a login may wait at one of allauth's stages (`ACCOUNT_LOGIN_TIMEOUT`).
    """
    until = ExpiringMark.objects.latest_expiry(("ended_user", str(user.pk)))
    return until.isoformat() if until else ""


def _end_pending(user: Any) -> None:
    """End what has no row yet: one-time codes, and logins that wait at a stage."""
    cancel_authorization_codes(user=user)
    until = timezone.now() + timedelta(seconds=app_settings.LOGIN_TIMEOUT)
    ExpiringMark.objects.extend("ended_user", str(user.pk), until=until)


def revoke_all(
    login_sessions: LoginSessionQuerySet,
    reason: str = EndReason.REVOKED,
    *,
    by: Any = None,
) -> int:
    """End every one of `login_sessions` that has not ended; return how many this call ended.

    A fixed number of statements for each batch of 500, in constant memory.
    """
    open_ones = login_sessions.filter(ended_at__isnull=True).order_by("pk")
    count, last = 0, 0
    while pks := list(open_ones.filter(pk__gt=last).values_list("pk", flat=True)[:BATCH]):
        count += len(_end(pks, reason, by))
        last = pks[-1]
    return count


def end_without_django_session(login_sessions: LoginSessionQuerySet) -> int:
    """End those whose cookie has run out; return how many that were.

    Only the store knows how long a cookie lives: pages may set an expiry of their own.
    """
    candidates = login_sessions.cookie_only().order_by("pk")
    count, last = 0, 0
    while batch := list(candidates.filter(pk__gt=last).values_list("pk", "session_key")[:BATCH]):
        gone = session_store.find_missing([key for _, key in batch if key])
        count += len(_end([pk for pk, key in batch if key in gone], EndReason.EXPIRED, None))
        last = batch[-1][0]
    return count


@retry_on_conflict
def _end(pks: Sequence[Any], reason: str, by: Any) -> list[LoginSession]:
    """Set `ended_at` and bring both mirrors into line; return the rows this call ended."""
    mark = {"ended_at": timezone.now(), "end_reason": reason, "ended_by": by}
    rows = LoginSession.objects.filter(pk__in=pks)
    with transaction.atomic():
        # Writing first takes the lock (and, on SQLite, the database) before anything is
        # read; the timestamp then tells our rows from those that somebody else ended.
        if not rows.filter(ended_at__isnull=True).update(**mark):
            return []
        ended = list(rows.filter(**mark).select_related("user"))
        session_store.delete({str(row.sid): row.session_key for row in ended if row.session_key})
        if reason in DELIBERATE:
            # Else a one-time code that was issued a moment ago would bring the user back.
            AuthorizationCode.objects.filter(user__in={row.user_id for row in ended}).delete()
        BlacklistedToken.objects.bulk_create(
            [
                BlacklistedToken(token_id=row.refresh_token_id)
                for row in ended
                if row.refresh_token_id
            ],
            ignore_conflicts=True,
        )
        # Not before it is true: the caller may have a transaction of its own.
        transaction.on_commit(lambda: _announce(ended, by))
    _flush_current_session(ended)
    return ended


def _flush_current_session(ended: Sequence[LoginSession]) -> None:
    """Have the request under way forget its own Django session, if that is what ended.

    It would be saved with the answer, and Django answers 400 when it is gone by then.
    """
    session: Any = getattr(context.request, "session", None)
    key = session.session_key if session is not None else None
    if key is not None and session_store.stored_key(key) in {row.session_key for row in ended}:
        session.flush()


def _announce(ended: Iterable[LoginSession], by: Any) -> None:
    for login_session in ended:
        logger.info(
            "login session %s ended: user %s, mode %s, reason %s, by %s",
            *(login_session.sid, login_session.user_id, login_session.mode),
            *(login_session.end_reason, by.pk if by else None),
        )
        signals.login_session_ended.send_robust(LoginSession, login_session=login_session)
