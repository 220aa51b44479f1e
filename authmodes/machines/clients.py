"""The life of a machine client: made, let in by a secret, given another one, revoked."""

import hashlib
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

from .. import policy
from ..conf import conf
from ..models import MachineClient, MachineClientSecret, split_scopes

logger = logging.getLogger("authmodes")
# How long the old secrets go on when nobody says otherwise: a day to deploy the new one.
OVERLAP = timedelta(hours=24)
SECRET_BYTES = 32
# What either may be made of (RFC 6749, appendix A.1 and A.2). Much less is ever one of ours,
# and the databases differ in what they make of the rest.
PLAIN_TEXT = re.compile(r"[\x20-\x7e]{1,100}\Z")


@sensitive_variables()
def create(
    name: str, scopes: str, *, expires_at: datetime | None = None
) -> tuple[MachineClient, str]:
    """Make a client; return it and its secret, which is written down nowhere.

    `scopes` are separated by spaces. Raises `ValidationError` for what cannot be one.
    """
    with transaction.atomic():
        client = MachineClient.objects.create(
            name=name, scopes=" ".join(split_scopes(scopes)), expires_at=expires_at
        )
        return client, add_secret(client)


@sensitive_variables()
def add_secret(client: MachineClient) -> str:
    """Give a client one more secret and return it; only a digest is kept."""
    raw_secret = secrets.token_urlsafe(SECRET_BYTES)
    MachineClientSecret.objects.create(client=client, digest=_digest(raw_secret))
    return raw_secret


@sensitive_variables()
def rotate(client: MachineClient, overlap: timedelta = OVERLAP) -> str | None:
    """Give a client a new secret; the old ones expire after `overlap`.

    An overlap of zero revokes them, and their tokens with them. Returns None, and changes
    nothing, if the client was revoked or has expired.
    """
    now = timezone.now()
    with transaction.atomic():
        # Changes nothing, and takes the lock before anything is read (on SQLite too): of two
        # rotations at once the second sees the first one's secret, and of one beside a
        # revocation it is known which came first.
        active = MachineClient.objects.filter(_not_before(now), pk=client.pk, revoked_at=None)
        if not active.update(revoked_at=None):
            return None
        old = MachineClientSecret.objects.filter(client=client, revoked_at=None)
        if overlap > timedelta(0):
            end = now + overlap
            old.filter(_not_before(end)).update(expires_at=end)
        else:
            old.filter(_not_before(now)).update(revoked_at=now)
        raw_secret = add_secret(client)
    logger.info("machine client %s was given a new secret", client.client_id)
    return raw_secret


def change(client: MachineClient, names: Iterable[str]) -> bool:
    """Write these fields of a client; False, and nothing is changed, if it was revoked.

    A `save()` would write the others as they were read, and undo a revocation beside it.
    """
    open_one = MachineClient.objects.filter(pk=client.pk, revoked_at=None)
    return bool(open_one.update(revoked_at=None, **{name: getattr(client, name) for name in names}))


def revoke(client: MachineClient, *, by: Any = None) -> bool:
    """End a client, its secrets and its tokens; False if that was done before."""
    now = timezone.now()
    open_one = MachineClient.objects.filter(pk=client.pk, revoked_at=None)
    if not open_one.update(revoked_at=now, revoked_by=by):
        return False
    client.revoked_at, client.revoked_by = now, by
    logger.info("machine client %s revoked by %s", client.client_id, by.pk if by else None)
    return True


@sensitive_variables()
def authenticate(
    client_id: str, raw_secret: str, ip_address: str | None
) -> MachineClientSecret | None:
    """The secret that a client presents, with its client; None if it lets nobody in."""
    candidates = _secrets_of(client_id)
    digest = _digest(raw_secret)
    found = None
    # Somebody unknown is compared as well, so that the answer takes as long.
    for known in [each.digest for each in candidates] or [_digest("")]:
        if constant_time_compare(digest, known):
            found = next((each for each in candidates if each.digest == known), None)
    refused = _reason_to_refuse(found)
    if found is None or refused:
        # Not what was sent: somebody may have put the secret where the name belongs.
        name = candidates[0].client.client_id if candidates else "(unknown)"
        logger.warning("machine client %s refused: %s, from %s", name, refused, ip_address)
        return None
    _note_use(found.client)
    return found


def _secrets_of(client_id: str) -> list[MachineClientSecret]:
    sane = client_id if PLAIN_TEXT.match(client_id) else ""
    rows = MachineClientSecret.objects.filter(client__client_id=sane).select_related("client")
    # MariaDB takes "A" for "a".
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


def _note_use(client: MachineClient) -> None:
    """Write down that it was used, no more often than a login is touched."""
    now = timezone.now()
    last = client.last_used_at
    if last is None or policy.needs_touch(last, conf.TOUCH_INTERVAL, now):
        MachineClient.objects.filter(pk=client.pk).update(last_used_at=now)


def _not_before(moment: datetime) -> Q:
    """What does not expire, or only after this moment."""
    return Q(expires_at=None) | Q(expires_at__gt=moment)


def _digest(raw_secret: str) -> str:
    # JSON can carry half of a surrogate pair, which is no text to encode.
    return hashlib.sha256(raw_secret.encode(errors="surrogatepass")).hexdigest()
