"""One-time codes on their way to a client; `signin.authorization_code` writes them."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from .authentication_context import AuthenticationContextModel
from .managers import PrimaryManager


class AuthorizationCode(AuthenticationContextModel):
    """A browser login on its way to a client that will hold the tokens.

    Only the digest of the code is kept (RFC 6749, 10.5 asks for codes that cannot be
    guessed; a digest means that the table cannot be used either).
    """

    digest = models.CharField(max_length=64, unique=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    auth_hash = models.CharField(max_length=128, default="")
    code_challenge = models.CharField(max_length=43)
    next = models.CharField(max_length=2000)
    expires_at = models.DateTimeField(db_index=True)

    objects = PrimaryManager()

    class Meta:
        verbose_name = _("authorization code")
        verbose_name_plural = _("authorization codes")
        default_permissions = ()

    def __str__(self) -> str:
        return f"authorization code {self.pk}"
