"""Wires receivers and checks when Django starts."""

from django.apps import AppConfig, apps
from django.utils.translation import gettext_lazy as _


class AuthModesConfig(AppConfig):
    name = "authmodes"
    verbose_name = _("Login sessions")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, receivers

        receivers.connect()
        checks.register_all()
        if apps.is_installed("allauth.socialaccount"):
            from . import subjects

            subjects.register()
        if apps.is_installed("drf_spectacular"):
            from . import openapi  # noqa: F401
