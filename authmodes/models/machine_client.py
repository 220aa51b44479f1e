"""Machine clients and their secrets; `machines` writes them."""

import re
import secrets
import uuid
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .. import policy
from .managers import PrimaryManager

# RFC 6749, 3.3.
SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+\Z")


def new_client_id() -> str:
    """Make a public name; its prefix cannot be a user id in `sub` (RFC 9068, 5)."""
    return f"client-{secrets.token_hex(16)}"


def split_scopes(text: str) -> list[str]:
    """Return the scopes in a text, each once. Raises `ValidationError` for an invalid scope."""
    scopes = list(dict.fromkeys(text.split()))
    for scope in scopes:
        if not SCOPE.match(scope):
            raise ValidationError(
                _('A scope may contain visible ASCII characters other than “"” and “\\”.')
            )
    return scopes


def validate_scopes(text: str) -> None:
    split_scopes(text)


class Revocable(models.Model):
    """What is active until it is revoked or has expired."""

    revoked_at: Any
    expires_at: Any

    class Meta:
        abstract = True

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and policy.is_over(self.expires_at, timezone.now())

    @property
    def is_active(self) -> bool:
        """Whether it counts now; a secret counts only if its client does as well."""
        return self.revoked_at is None and not self.is_expired


class MachineClient(Revocable):
    """A program that exchanges a secret for short-lived access tokens, without a user.

    `revoked_at` is final; `expires_at` may be changed.
    """

    client_id = models.CharField(
        _("client id"),
        max_length=100,
        unique=True,
        default=new_client_id,
        editable=False,
        help_text=_("Public name of this client. It is not a credential."),
    )
    name = models.CharField(_("name"), max_length=100)
    scopes = models.CharField(
        _("scopes"),
        max_length=1000,
        validators=[validate_scopes],
        help_text=_("The scopes that the client may request, separated by spaces."),
    )
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    expires_at = models.DateTimeField(
        _("expires at"), null=True, blank=True, help_text=_("Empty: never.")
    )
    last_used_at = models.DateTimeField(_("last used at"), null=True, editable=False)
    revoked_at = models.DateTimeField(_("revoked at"), null=True, db_index=True, editable=False)
    revoked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("revoked by"),
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        editable=False,
    )

    objects = PrimaryManager()

    class Meta:
        verbose_name = _("machine client")
        verbose_name_plural = _("machine clients")
        default_permissions = ("view", "add", "change")
        permissions = (("revoke_machineclient", _("Can revoke machine client")),)

    def __str__(self) -> str:
        return self.name


class MachineClientSecret(Revocable):
    """A secret of a machine client, which has two of them during a rotation.

    The digest is a plain SHA-256: 256 random bits cannot be guessed, so the slow hash that a
    password needs would only make each token expensive.
    """

    client = models.ForeignKey(MachineClient, on_delete=models.CASCADE, related_name="secrets")
    # The claim of the tokens that the secret was exchanged for; public, like a `sid`.
    secret_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, db_index=True)
    revoked_at = models.DateTimeField(null=True, db_index=True)

    objects = PrimaryManager()

    class Meta:
        verbose_name = _("machine client secret")
        verbose_name_plural = _("machine client secrets")
        default_permissions = ()

    def __str__(self) -> str:
        return f"machine client secret {self.pk}"
