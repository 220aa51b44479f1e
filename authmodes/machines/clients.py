"""Machine clients: creation, authentication by a secret, rotation of secrets, revocation."""

import logging
import re
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.views.decorators.debug import sensitive_variables

from .. import logs, policy
from ..conf import conf
from ..models import MachineClient, MachineClientSecret, split_scopes, write_database
from ..models.digests import digest_of
from ..registry.transactions import write_if_possible

# How long the old secrets stay valid by default: a day to deploy the new one.
OVERLAP = timedelta(hours=24)
SECRET_BYTES = 32
# The characters of RFC 6749, appendix A.1. Databases compare other characters in different ways.
CLIENT_ID = re.compile(r"[\x20-\x7e]{1,100}\Z")


@sensitive_variables()
def create(
    name: str, scopes: str, *, expires_at: datetime | None = None
) -> tuple[MachineClient, str]:
    """Create a client; return it and its secret, which is not stored.

    `scopes` are separated by spaces. Raises `ValidationError` for an invalid scope.
    """
    with transaction.atomic(using=write_database()):
        client = MachineClient.objects.create(
            name=name, scopes=" ".join(split_scopes(scopes)), expires_at=expires_at
        )
        return client, add_secret(client)


@sensitive_variables()
def add_secret(client: MachineClient) -> str:
    """Give a client an additional secret and return it; only a digest is stored."""
    raw_secret = secrets.token_urlsafe(SECRET_BYTES)
    MachineClientSecret.objects.create(client=client, digest=digest_of(raw_secret))
    return raw_secret


@sensitive_variables()
def rotate(client: MachineClient, overlap: timedelta = OVERLAP) -> str | None:
    """Give a client a new secret; the old ones expire after `overlap`.

    An overlap of zero revokes them and their tokens. Returns None and changes nothing if the
    client was revoked or has expired.
    """
    now = timezone.now()
    with transaction.atomic(using=write_database()):
        # This update changes nothing. It takes the lock before anything is read (on SQLite too),
        # so a parallel rotation sees this one's secret, and a parallel revocation waits.
        active = MachineClient.objects.filter(_expires_after(now), pk=client.pk, revoked_at=None)
        if not active.update(revoked_at=None):
            return None
        old = MachineClientSecret.objects.filter(client=client, revoked_at=None)
        if overlap > timedelta(0):
            end = now + overlap
            old.filter(_expires_after(end)).update(expires_at=end)
        else:
            old.filter(_expires_after(now)).update(revoked_at=now)
        raw_secret = add_secret(client)
    logs.log(logging.INFO, "machine_client_secret_made", client_id=client.client_id)
    return raw_secret


def change(client: MachineClient, names: Iterable[str]) -> bool:
    """Write these fields of a client; return False and change nothing if it was revoked.

    A `save()` would write the other fields too, and undo a parallel revocation.
    """
    unrevoked = MachineClient.objects.filter(pk=client.pk, revoked_at=None)
    return bool(
        unrevoked.update(revoked_at=None, **{name: getattr(client, name) for name in names})
    )


def revoke(client: MachineClient, *, by: Any = None) -> bool:
    """Revoke a client, its secrets and its tokens; return False if it was revoked before."""
    now = timezone.now()
    unrevoked = MachineClient.objects.filter(pk=client.pk, revoked_at=None)
    if not unrevoked.update(revoked_at=now, revoked_by=by):
        return False
    client.revoked_at, client.revoked_by = now, by
    fields = {"client_id": client.client_id, "actor_id": by.pk if by else None}
    logs.log(logging.INFO, "machine_client_revoked", **fields)
    return True


@sensitive_variables()
def authenticate(
    client_id: str, raw_secret: str, ip_address: str | None
) -> MachineClientSecret | None:
    """Return the secret that a client presents, with its client; None if it is refused."""
    candidates = _secrets_of(client_id)
    digest = digest_of(raw_secret)
    found = None
    # For an unknown client, one comparison is made as well, so that the answer takes as long.
    for known in [each.digest for each in candidates] or [digest_of("")]:
        if constant_time_compare(digest, known):
            found = next((each for each in candidates if each.digest == known), None)
    reason = _reason_to_refuse(found)
    if found is None or reason:
        # Never the id that was sent: it may be a secret in the wrong parameter.
        name = candidates[0].client.client_id if candidates else None
        fields = {"client_id": name, "reason": reason, "ip_address": ip_address}
        logs.log(logging.WARNING, "machine_client_refused", **fields)
        return None
    now, last = timezone.now(), found.client.last_used_at
    if last is None or policy.needs_touch(last, conf.TOUCH_INTERVAL, now):
        write_if_possible(MachineClient.objects.filter(pk=found.client.pk), last_used_at=now)
    return found


def _secrets_of(client_id: str) -> list[MachineClientSecret]:
    wanted = client_id if CLIENT_ID.match(client_id) else ""
    rows = MachineClientSecret.objects.filter(client__client_id=wanted).select_related("client")
    # MariaDB compares "A" and "a" as equal.
    return [row for row in rows if row.client.client_id == client_id]


def _reason_to_refuse(secret: MachineClientSecret | None) -> str:
    if secret is None:
        return "unknown client or wrong secret"
    if secret.client.revoked_at is not None:
        return "the client was revoked"
    if secret.revoked_at is not None:
        return "the secret was revoked"
    if secret.client.is_expired:
        return "the client has expired"
    return "the secret has expired" if secret.is_expired else ""


def _expires_after(moment: datetime) -> Q:
    """Match rows that never expire, or only after this moment."""
    return Q(expires_at=None) | Q(expires_at__gt=moment)
