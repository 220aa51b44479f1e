"""Ends login sessions that have expired and deletes rows that ended long ago."""

from collections.abc import Iterator
from datetime import datetime

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from ..conf import conf
from ..models import (
    AuthorizationCode,
    EndReason,
    ExpiringMark,
    LoginEvent,
    LoginSession,
    LoginSessionQuerySet,
    MachineClient,
    MachineClientSecret,
    write_database,
)
from .ending import BATCH, batches_of, end_without_django_session, revoke_in_batches


def prune() -> int:
    """End what has expired, then delete what ended longer ago than `AUTHMODES_RETENTION`.

    Login events are kept for `AUTHMODES_EVENT_RETENTION`. Returns the number of login sessions
    deleted. Works in batches and can be interrupted. A row is kept at least until its tokens
    have expired, because it is what refuses them.
    """
    return sum(deleted for _ended, deleted in prune_in_batches())


def prune_in_batches() -> Iterator[tuple[int, int]]:
    """As `prune`, but yield how many rows each batch ended and deleted once it is committed."""
    now = timezone.now()
    for over in (LoginSession.objects.expired(), LoginSession.objects.idle()):
        for ended in revoke_in_batches(over, EndReason.EXPIRED):
            yield ended, 0
    for ended in end_without_django_session(LoginSession.objects.all()):
        yield ended, 0
    AuthorizationCode.objects.filter(expires_at__lt=now).delete()
    ExpiringMark.objects.filter(expires_at__lt=now).delete()
    _prune_machine_clients(now - conf.RETENTION)
    _prune_events(now - conf.EVENT_RETENTION)
    for batch in batches_of(_dead(now), "refresh_token_id"):
        with transaction.atomic(using=write_database()):
            LoginSession.objects.filter(pk__in=[pk for pk, _ in batch]).delete()
            OutstandingToken.objects.filter(pk__in=[pk for _, pk in batch if pk]).delete()
        yield 0, len(batch)


def count_prunable() -> tuple[int, int]:
    """Return about how many rows `prune` would end and delete now; it asks no session store."""
    over = LoginSession.objects.expired().count() + LoginSession.objects.idle().count()
    return over, _dead(timezone.now()).count()


def _dead(now: datetime) -> LoginSessionQuerySet:
    return LoginSession.objects.filter(ended_at__lt=now - conf.RETENTION, expires_at__lt=now)


def _prune_machine_clients(before: datetime) -> None:
    """Delete machine clients that were revoked, and secrets that ended, long ago.

    An expired client is kept, because an administrator may extend it. A token whose secret has
    no row is refused, so no token becomes valid again.
    """
    MachineClient.objects.filter(revoked_at__lt=before).delete()
    ended = Q(revoked_at__lt=before) | Q(expires_at__lt=before)
    MachineClientSecret.objects.filter(ended).delete()


def _prune_events(before: datetime) -> None:
    old = LoginEvent.objects.filter(created_at__lt=before).order_by("created_at", "id")
    while batch := list(old.values_list("pk", flat=True)[:BATCH]):
        LoginEvent.objects.filter(pk__in=batch).delete()
