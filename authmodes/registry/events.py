"""Writes the audit trail of logins, `LoginEvent`.

An event is written in the transaction that it tells of, so both are committed or neither is.
Refused attempts are counted after the view, because a rollback would undo them.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from allauth.core import context
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Least
from django.http import HttpRequest
from django.utils import timezone

from .. import logs, request_client, signals
from ..models import EndReason, EventKind, LoginEvent, LoginSession, write_database
from ..sessions import state as session_state
from ..state import Refusal, request_state
from . import transactions

# Of refused attempts: how many are counted in a row, and how many rows are made in a minute.
# The others of that minute are counted by their code alone.
COUNT_MAX = 1_000_000
ROWS_PER_MINUTE = 1000
LOGGED = (
    *("user_id", "sid", "mode", "method", "provider"),
    *("code", "ip_address", "actor_id", "actor_sid", "filter"),
)


def record(kind: str, login_session: LoginSession | None = None, **fields: Any) -> LoginEvent:
    """Write one event of the current request.

    `fields` are those of `LoginEvent`. By default, the address and the login that acts are
    those of the request that allauth's middleware is serving.
    """
    event = _new(kind, login_session, fields)
    LoginEvent.objects.bulk_create([event])
    transaction.on_commit(partial(log, event), using=write_database())
    return event


def record_start(login_session: LoginSession) -> None:
    record(
        EventKind.STARTED,
        login_session,
        ip_address=login_session.ip_address,
        actor=login_session.acting_user,
        actor_sid=None,
    )


def record_ends(ended: Sequence[Any], reason: str, by: Any, bulk: LoginEvent | None) -> None:
    """Write why login sessions have ended: one event for each, or one for all of them.

    A login that expires makes no event. Reuse makes two events: the token that was presented, and
    the end of its login.
    """
    here = _request_fields()
    _log_ends(ended, {**here, "code": reason, "actor_id": by.pk if by else None})
    if bulk is not None:
        _add_to_bulk(bulk, len(ended))
        return
    if reason == EndReason.EXPIRED:
        return
    common = {**here, "actor": by}
    events = [_new(EventKind.ENDED, row, {**common, "code": reason}) for row in ended]
    if reason == EndReason.REUSE:
        reuse = {**common, "code": "token_reused"}
        events = [*(_new(EventKind.REUSE, row, reuse) for row in ended), *events]
    LoginEvent.objects.bulk_create(events)


def new_bulk(filter: str, reason: str = EndReason.REVOKED, *, by: Any = None) -> LoginEvent:
    """Return the event of a bulk revocation, for the `event` of `registry.revoke_all`.

    It is written with the first batch, and each batch adds to its `count`. To continue in a
    later request, load the row and pass it on. `filter` says what is ended, such as
    "provider=google"; it must not contain a name that was typed.
    """
    return _new(EventKind.ENDED, None, {"code": reason, "actor": by, "filter": filter, "count": 0})


def _add_to_bulk(bulk: LoginEvent, count: int) -> None:
    written: int | None = bulk.pk
    # The transaction that wrote it may have been rolled back.
    if written and LoginEvent.objects.filter(pk=written).update(count=F("count") + count):
        bulk.count += count
        return
    bulk.pk, bulk.count = None, count
    LoginEvent.objects.bulk_create([bulk])


def note_refusal(
    request: HttpRequest | None,
    code: str,
    *,
    provider: str = "",
    find_user: Callable[[], Any] | None = None,
) -> None:
    """Have the attempt to sign in of this request counted as refused, after the view.

    If several parts of allauth and of ours refuse it, the last one says why. `find_user`
    returns the user of the account that was named, if there is one.
    """
    if request is None:
        return
    state = request_state(request)
    if state.refusal is None:
        transactions.defer(request, partial(_count_refusal, request))
        earlier = Refusal(code)
    else:
        earlier = state.refusal
    state.refusal = Refusal(code, provider or earlier.provider, find_user or earlier.find_user)


def _count_refusal(request: HttpRequest) -> None:
    state = request_state(request)
    refusal = state.refusal
    if refusal is None or state.login_session is not None:
        # An attempt of the same request has succeeded.
        return
    signals.login_refused.send_robust(
        LoginEvent, request=request, code=refusal.code, provider=refusal.provider
    )
    with transactions.as_bookkeeping():
        user = refusal.find_user() if refusal.find_user is not None else None
        fields = {"code": refusal.code, "provider": refusal.provider, "user": user}
        event = _new(EventKind.REFUSED, None, fields)
        log(event)
        _add_refusal(event)


def _add_refusal(event: LoginEvent) -> None:
    """Count an attempt in the row of its account or network, code and minute."""
    minute = event.created_at.replace(second=0, microsecond=0)
    event.bucket = _bucket(event, minute)
    if _increment(event.bucket):
        return
    this_minute = LoginEvent.objects.filter(kind=EventKind.REFUSED, created_at__gte=minute)
    if this_minute[ROWS_PER_MINUTE - 1 : ROWS_PER_MINUTE].exists():
        event.user = event.ip_address = event.actor_sid = None
        event.provider = ""
        event.bucket = _bucket(event, minute)
        if _increment(event.bucket):
            return
    try:
        with transaction.atomic(using=write_database()):
            event.save(force_insert=True)
    except IntegrityError:
        # A parallel request was first.
        _increment(event.bucket)


def _increment(bucket: int) -> int:
    count = Least(F("count") + 1, COUNT_MAX)
    return LoginEvent.objects.filter(bucket=bucket).update(count=count)


def _bucket(event: LoginEvent, minute: datetime) -> int:
    if event.user_id is not None:
        source = f"user {event.user_id}"
    else:
        source = request_client.network_of(event.ip_address) if event.ip_address else ""
    parts = (source, event.code, event.provider, minute.isoformat())
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def log(event: LoginEvent, level: int = logging.INFO) -> None:
    """Log an event with its fields; `count` is left out, because it grows."""
    fields = {name: getattr(event, name) for name in LOGGED}
    logs.log(level, f"login_{event.kind}", **fields)


def log_reuse(login_session: LoginSession, request: HttpRequest | None) -> None:
    """Log that a refresh token or an authorization code was presented again."""
    event = LoginEvent(
        kind=EventKind.REUSE,
        user_id=login_session.user_id,
        sid=login_session.sid,
        ip_address=request_client.ip_address(request) if request is not None else None,
    )
    log(event, logging.WARNING)


def _log_ends(ended: Sequence[Any], fields: dict[str, Any]) -> None:
    if not logs.logger.isEnabledFor(logging.INFO):
        return

    def log_each() -> None:
        for row in ended:
            own = {"user_id": row.user_id, "sid": row.sid, "mode": row.mode}
            logs.log(logging.INFO, "login_ended", **own, **fields)

    transaction.on_commit(log_each, using=write_database())


def _new(kind: str, login_session: Any, fields: dict[str, Any]) -> LoginEvent:
    known: dict[str, Any] = {}
    if login_session is not None:
        known = {
            name: getattr(login_session, name)
            for name in ("user_id", "sid", "mode", "method", "provider")
        }
    if not {"ip_address", "actor_sid"} <= fields.keys():
        known |= _request_fields()
    return LoginEvent(kind=kind, created_at=timezone.now(), **{**known, **fields})


def _request_fields() -> dict[str, Any]:
    request: HttpRequest | None = context.request
    if request is None:
        return {"ip_address": None, "actor_sid": None}
    return {"ip_address": request_client.ip_address(request), "actor_sid": _acting_sid(request)}


def _acting_sid(request: HttpRequest) -> str | None:
    """Return the `sid` of the request, without loading a session that no code has asked for."""
    session = getattr(request, "session", None)
    if request_state(request).sid is None and not getattr(session, "accessed", False):
        return None
    return session_state.current_sid(request)
