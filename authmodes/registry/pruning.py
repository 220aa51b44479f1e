"""Ends login sessions that have expired and deletes rows that ended long ago."""

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
    LoginSession,
    MachineClient,
    MachineClientSecret,
)
from .ending import BATCH, end_without_django_session, revoke_all


def prune() -> int:
    """End what has expired, then delete what ended longer ago than `AUTHMODES_RETENTION`.

    Works in batches and can be interrupted. A row is kept at least until its tokens have
    expired: without it and its blacklist entry they would have no one to refuse them.
    Returns the number of rows deleted.
    """
    now = timezone.now()
    revoke_all(LoginSession.objects.expired(), EndReason.EXPIRED)
    revoke_all(LoginSession.objects.idle(), EndReason.EXPIRED)
    end_without_django_session(LoginSession.objects.all())
    AuthorizationCode.objects.filter(expires_at__lt=now).delete()
    ExpiringMark.objects.filter(expires_at__lt=now).delete()
    _prune_machine_clients(now - conf.RETENTION)
    dead = LoginSession.objects.filter(
        ended_at__lt=now - conf.RETENTION, expires_at__lt=now
    ).order_by("pk")
    deleted = 0
    while batch := list(dead.values_list("pk", "refresh_token_id")[:BATCH]):
        with transaction.atomic():
            LoginSession.objects.filter(pk__in=[pk for pk, _ in batch]).delete()
            OutstandingToken.objects.filter(pk__in=[pk for _, pk in batch if pk]).delete()
        deleted += len(batch)
    return deleted


def _prune_machine_clients(before: datetime) -> None:
    """Delete machine clients that were revoked, and secrets that ended, long ago.

    A client that has only expired stays: an administrator may give it more time. Without
    its secret's row a token is refused, so nothing comes back to life.
    """
    MachineClient.objects.filter(revoked_at__lt=before).delete()
    ended = Q(revoked_at__lt=before) | Q(expires_at__lt=before)
    MachineClientSecret.objects.filter(ended).delete()
