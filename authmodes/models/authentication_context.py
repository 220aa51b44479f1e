"""How and when a user authenticated: the value, and its columns in the tables that store it."""

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True)
class AuthenticationContext:
    """How and when a user authenticated (OpenID Connect's `amr` and `auth_time`).

    `amr` is space-separated, as it is stored. `authenticated_at` is None if it is unknown.
    """

    method: str = ""
    provider: str = ""
    provider_uid: str = ""
    provider_sid: str = ""
    amr: str = ""
    authenticated_at: datetime | None = field(default_factory=timezone.now)

    def as_fields(self) -> dict[str, Any]:
        """Return the values by the names of the model fields that store them."""
        return dict(vars(self))


class AuthenticationContextModel(models.Model):
    """The columns of an `AuthenticationContext`."""

    method = models.CharField(_("method"), max_length=40, default="")
    provider = models.CharField(_("provider"), max_length=200, default="")
    provider_uid = models.CharField(_("provider uid"), max_length=255, default="")
    # The provider's name of its session (OpenID Connect's `sid`), for back-channel logout.
    provider_sid = models.CharField(max_length=255, default="", editable=False)
    amr = models.CharField(
        _("authentication methods"),
        max_length=100,
        default="",
        help_text=_("Space-separated values of RFC 8176, as in the tokens' amr claim."),
    )
    # Not `created_at`: an adopted Django session begins without an authentication that we saw.
    authenticated_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        abstract = True

    @property
    def authentication_context(self) -> AuthenticationContext:
        names = [each.name for each in fields(AuthenticationContext)]
        return AuthenticationContext(**{name: getattr(self, name) for name in names})
