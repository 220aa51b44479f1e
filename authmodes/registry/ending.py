"""Ends login sessions and updates their mirrors: the Django session and the blacklist."""

from collections import namedtuple
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from allauth.core import context
from django.db import transaction
from django.db.models import DateTimeField, Value
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken

from .. import signals
from ..conf import conf
from ..models import (
    AuthorizationCode,
    EndReason,
    ExpiringMark,
    LoginEvent,
    LoginSession,
    LoginSessionQuerySet,
    write_database,
)
from ..models.bulk import OneOf, insert_from
from ..models.compiled import update_returning
from ..sessions import StoredKey
from ..sessions import state as session_state
from ..sessions import store as session_store
from . import events
from .transactions import retry_on_conflict

BATCH = 1000
ENDED_USER = "ended_user"
# As long as any refresh token from before authmodes: simplejwt sets no limit.
MARK_LIFETIME = timedelta(days=3650)
# What the mirrors, the event and the log need of a row. Whole rows and users take twice the time.
Ended = namedtuple("Ended", "pk sid user_id mode method provider session_key refresh_token_id")
# These also cancel the user's authorization codes.
DELIBERATE = {
    EndReason.REVOKED,
    EndReason.REVOKED_BY_USER,
    EndReason.REUSE,
    EndReason.PASSWORD_CHANGED,
    EndReason.USER_DISABLED,
}


def revoke(login_session: LoginSession, reason: str = EndReason.REVOKED, *, by: Any = None) -> bool:
    """End one login session: its cookie, access token and refresh token are refused.

    `reason` is an `EndReason`; `by` is the user who acted, None for the system. Returns False
    if the login session had ended before. Sends `login_session_ended` after the commit.
    """
    now = timezone.now()
    ended = _end([login_session.pk], reason, by, now)
    if ended:
        login_session.ended_at, login_session.end_reason = now, reason
        login_session.ended_by = by
    else:
        _delete_sessions_again(LoginSession.objects.filter(pk=login_session.pk))
    return bool(ended)


def revoke_user(user: Any, reason: str = EndReason.REVOKED, *, by: Any = None) -> int:
    """End all login sessions of a user, and the sign-ins that are not complete.

    Impersonations by this user end as well, and are not counted.

    Arguments as for `revoke`. Returns the number of login sessions that this call ended.
    """
    cancel_pending(user.pk)
    return revoke_all(LoginSession.objects.for_user(user), reason, by=by)


def revoke_others(user: Any, *, spare: str | None) -> int:
    """End all login sessions of a user except the one with the `sid` to spare, for the user."""
    cancel_pending(user.pk)
    others = LoginSession.objects.for_user(user)
    if spare is not None:
        others = others.exclude(sid=spare)
    return revoke_all(others, EndReason.REVOKED_BY_USER, by=user)


def cancel_pending(*user_ids: Any) -> None:
    """End what the users' own rows do not show, before all of those end.

    Sign-ins that are not finished, and logins in which the users act in another user's name.
    """
    cancel_unfinished(*user_ids)
    revoke_all(LoginSession.objects.filter(acting_user__in=user_ids))


def cancel_unfinished(*user_ids: Any) -> None:
    """End the sign-ins of users that no row shows.

    Authorization codes, logins that wait at a stage or for a mailed code, and refresh tokens from
    before authmodes.
    """
    cancel_authorization_codes(user__in=user_ids)
    names = [(ENDED_USER, str(user_id)) for user_id in user_ids]
    ExpiringMark.objects.extend(*names, until=timezone.now() + MARK_LIFETIME)


def cancel_authorization_codes(*, spare: Any = (), **lookups: Any) -> None:
    """Delete authorization codes by lookups such as `user` or `provider`.

    Those of the users in `spare` stay.
    """
    AuthorizationCode.objects.filter(**lookups).exclude(user__in=spare).delete()


def latest_revocation_of(user: Any) -> datetime | None:
    """Return when all logins of a user were last ended; None if they never were."""
    until = ExpiringMark.objects.expiry(ENDED_USER, str(user.pk))
    return until - MARK_LIFETIME if until else None


def revoke_all(
    login_sessions: LoginSessionQuerySet,
    reason: str = EndReason.REVOKED,
    *,
    by: Any = None,
    event: LoginEvent | None = None,
) -> int:
    """End those of a queryset that have not ended. Arguments as for `revoke`.

    `event` is one of `events.new_bulk`; without it, each login session has an event of its own.
    Returns the number of login sessions that this call ended. Runs a fixed number of statements
    for each batch of 1,000, in constant memory. Every batch is a transaction, so a call that was
    interrupted can be repeated.
    """
    return sum(revoke_in_batches(login_sessions, reason, by=by, event=event))


def revoke_in_batches(
    login_sessions: LoginSessionQuerySet,
    reason: str = EndReason.REVOKED,
    *,
    by: Any = None,
    event: LoginEvent | None = None,
) -> Iterator[int]:
    """As `revoke_all`, but yield the number of each batch once it is committed.

    Nothing more is ended when the caller stops iterating.
    """
    if reason in DELIBERATE:
        _delete_sessions_again(login_sessions)
    for batch in batches_of(login_sessions.filter(ended_at__isnull=True)):
        yield len(_end([row[0] for row in batch], reason, by, timezone.now(), event))


def _delete_sessions_again(login_sessions: LoginSessionQuerySet) -> None:
    """Delete what a process that was killed between commit and store has left of ended logins.

    Once the touch interval has passed, a request looks at the row.
    """
    if not session_store.is_outside_database():
        return
    recently = timezone.now() - conf.TOUCH_INTERVAL - session_store.TOMBSTONE_MARGIN
    left = login_sessions.filter(ended_at__gte=recently, session_key__isnull=False)
    for batch in batches_of(left, "session_key"):
        keys = [key for _pk, key in batch if key]
        transaction.on_commit(partial(session_store.delete_now, keys), using=write_database())


def end_without_django_session(login_sessions: LoginSessionQuerySet) -> Iterator[int]:
    """End the cookie logins whose Django session has expired; yield the number of each batch.

    The store is asked because a page may set an expiry of its own.
    """
    for batch in batches_of(login_sessions.cookie_only(), "session_key"):
        missing = session_store.find_missing([key for _pk, key in batch if key])
        pks = [pk for pk, key in batch if key in missing]
        yield len(_end(pks, EndReason.EXPIRED, None, timezone.now()))


def batches_of(rows: LoginSessionQuerySet, *columns: str) -> Iterator[list[tuple[Any, ...]]]:
    """Yield primary keys and more columns, in the order in which rows are locked.

    Each batch goes on from the last key: rows that were passed are not read again.
    """
    keyed: Any = rows.order_by("pk").values_list("pk", *columns)
    last = 0
    while batch := list(keyed.filter(pk__gt=last)[:BATCH]):
        yield batch
        last = batch[-1][0]


@retry_on_conflict
def _end(
    pks: Sequence[Any], reason: str, by: Any, now: datetime, event: LoginEvent | None = None
) -> list[Any]:
    """Set `ended_at` and update both mirrors; return the rows that this call ended."""
    mark = {"ended_at": now, "end_reason": reason, "ended_by": by}
    with transaction.atomic(using=write_database()):
        ended: list[Any] = _mark(LoginSession.objects.filter(OneOf("pk", pks)), mark)
        if not ended:
            return []
        rows = LoginSession.objects.filter(OneOf("pk", [row.pk for row in ended]))
        is_heard = signals.login_session_ended.has_listeners(LoginSession)
        if is_heard:
            ended = list(rows.select_related("user"))
        session_store.delete(
            {str(row.sid): StoredKey(row.session_key) for row in ended if row.session_key}
        )
        if reason in DELIBERATE:
            # An authorization code that was issued just before would sign the user in again.
            AuthorizationCode.objects.filter(user__in=rows.values("user")).delete()
        if any(row.refresh_token_id for row in ended):
            at = Value(now, output_field=DateTimeField())
            tokens = rows.filter(refresh_token__isnull=False).values_list("refresh_token", at)
            insert_from(tokens, BlacklistedToken, "token", "blacklisted_at")
        events.record_ends(ended, reason, by, event)
        if is_heard:
            # After the commit, which may be the caller's.
            transaction.on_commit(lambda: _announce(ended), using=write_database())
    _flush_current_session(ended)
    return ended


def _mark(rows: LoginSessionQuerySet, mark: dict[str, Any]) -> list[Any]:
    """Write the end of those rows that have not ended, and return them as `Ended`.

    Writing first takes the lock (on SQLite, of the database) before anything is read.
    """
    going = rows.filter(ended_at__isnull=True)
    found: Any = update_returning(going, mark, Ended._fields)
    if found is None:
        # The timestamp distinguishes our rows from those that another process ended. It alone:
        # MariaDB would also read the index of `ended_by`, which has a NULL for nearly every row.
        is_ours = {"ended_at": mark["ended_at"]}
        found = rows.filter(**is_ours).values_list(*Ended._fields) if going.update(**mark) else ()
    return [Ended(*row) for row in found]


def _flush_current_session(ended: Sequence[Any]) -> None:
    """Flush the session of the current request if its login session was ended.

    Otherwise it would be saved with the response, and Django answers 400 for a session that
    was deleted.
    """
    session: Any = getattr(context.request, "session", None)
    key = session_state.key_of(session) if session is not None else None
    if key is not None and session_store.stored_key(key) in {row.session_key for row in ended}:
        session.flush()


def _announce(ended: Iterable[LoginSession]) -> None:
    for login_session in ended:
        signals.login_session_ended.send_robust(LoginSession, login_session=login_session)
