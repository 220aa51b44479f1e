"""Writes the audit trail of logins, `LoginEvent`.

An event is written in the transaction that it tells of, so both are committed or neither is.
Refused attempts have a module of their own, `refusals`.
"""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from allauth.core import context
from django.db import transaction
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone

from .. import logs, request_client
from ..models import EndReason, EventKind, LoginEvent, LoginSession, write_database
from ..models.compiled import insert
from ..sessions import state as session_state
from ..state import request_state

LOGGED = (
    *("user_id", "sid", "mode", "method", "provider"),
    *("code", "ip_address", "actor_id", "actor_sid", "filter"),
)


def record(kind: str, login_session: LoginSession | None = None, **fields: Any) -> LoginEvent:
    """Write one event of the current request.

    `fields` are those of `LoginEvent`. By default, the address and the login that acts are
    those of the request that allauth's middleware is serving.
    """
    event = new(kind, login_session, fields)
    insert(event)
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
    events = [new(EventKind.ENDED, row, {**common, "code": reason}) for row in ended]
    if reason == EndReason.REUSE:
        reuse = {**common, "code": "token_reused"}
        events = [*(new(EventKind.REUSE, row, reuse) for row in ended), *events]
    LoginEvent.objects.bulk_create(events)


def new_bulk(filter: str, reason: str = EndReason.REVOKED, *, by: Any = None) -> LoginEvent:
    """Return the event of a bulk revocation, for the `event` of `registry.revoke_all`.

    It is written with the first batch, and each batch adds to its `count`. To continue in a
    later request, load the row and pass it on. `filter` says what is ended, such as
    "provider=google"; it must not contain a name that was typed.
    """
    return new(EventKind.ENDED, None, {"code": reason, "actor": by, "filter": filter, "count": 0})


def _add_to_bulk(bulk: LoginEvent, count: int) -> None:
    written: int | None = bulk.pk
    # The transaction that wrote it may have been rolled back.
    if written and LoginEvent.objects.filter(pk=written).update(count=F("count") + count):
        bulk.count += count
        return
    bulk.pk, bulk.count = None, count
    LoginEvent.objects.bulk_create([bulk])


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


def new(kind: str, login_session: Any, fields: dict[str, Any]) -> LoginEvent:
    """Return an event of the current request, not written; `fields` come before what is known."""
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
