"""Connects receivers and registers checks when Django starts."""

from django.apps import AppConfig, apps
from django.utils.translation import gettext_lazy as _


class AuthModesConfig(AppConfig):
    name = "authmodes"
    verbose_name = _("Sign-in")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, receivers  # noqa: F401 (checks register themselves)

        receivers.connect()
        if apps.is_installed("allauth.socialaccount"):
            from .signin import collation, social_login

            collation.register()
            social_login.register()
        if apps.is_installed("hijack") or apps.is_installed("loginas"):
            from .contrib import hijack

            hijack.register()
        if apps.is_installed("drf_spectacular"):
            from .api import openapi  # noqa: F401
