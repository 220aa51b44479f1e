"""Counts refused attempts to sign in, as events of the audit trail.

They are counted after the view, because a rollback would undo them.
"""

import hashlib
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Least
from django.http import HttpRequest

from .. import request_client, signals
from ..models import EventKind, LoginEvent, write_database
from ..state import Refusal, request_state
from . import events, transactions

# How many attempts are counted in a row, and how many rows are made in a minute. The other
# attempts of that minute are counted by their code alone.
COUNT_MAX = 1_000_000
ROWS_PER_MINUTE = 1000


def note(
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
        transactions.defer(request, partial(_count, request))
        earlier = Refusal(code)
    else:
        earlier = state.refusal
    state.refusal = Refusal(code, provider or earlier.provider, find_user or earlier.find_user)


def _count(request: HttpRequest) -> None:
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
        event = events.new(EventKind.REFUSED, None, fields)
        events.log(event)
        _add(event)


def _add(event: LoginEvent) -> None:
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
