"""Authorization codes that were issued; `signin.authorization_code` writes them."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from .authentication_context import AuthenticationContextModel
from .managers import PrimaryManager


class AuthorizationCode(AuthenticationContextModel):
    """The authorization code that carries a browser login to an app (RFC 6749, 4.1; RFC 7636).

    Only a digest of the code is stored, so the table cannot be used to sign in.
    """

    digest = models.CharField(max_length=64, unique=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    auth_hash = models.CharField(max_length=128, default="")
    client_id = models.CharField(max_length=100)
    code_challenge = models.CharField(max_length=43)
    next = models.CharField(max_length=2000)
    # Of the login that it was issued for without another sign-in.
    sid = models.UUIDField(null=True)
    expires_at = models.DateTimeField(db_index=True)

    objects = PrimaryManager()

    class Meta:
        verbose_name = _("authorization code")
        verbose_name_plural = _("authorization codes")
        default_permissions = ()

    def __str__(self) -> str:
        return f"authorization code {self.pk}"
