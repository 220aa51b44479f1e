"""The admin pages: login sessions and events, refresh tokens and machine clients.

simplejwt's own two pages show token text and cannot end a login, so ours replace them.
"""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

# This import registers simplejwt's pages. It comes first, so that ours replace them in
# whatever order INSTALLED_APPS lists the two apps.
from rest_framework_simplejwt.token_blacklist import admin as _simplejwt  # noqa: F401
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from ..models import LoginEvent, LoginSession, MachineClient, Overview
from .login_events import LoginEventAdmin
from .login_sessions import LoginSessionAdmin
from .machine_clients import MachineClientAdmin
from .overview import OverviewAdmin
from .tokens import BlacklistedTokenAdmin, OutstandingTokenAdmin
from .user_panel import LoginSessionsPanelMixin

__all__ = [
    "BlacklistedTokenAdmin",
    "LoginEventAdmin",
    "LoginSessionAdmin",
    "LoginSessionsPanelMixin",
    "MachineClientAdmin",
    "OutstandingTokenAdmin",
    "OverviewAdmin",
]

for model in (OutstandingToken, BlacklistedToken):
    if admin.site.is_registered(model):
        admin.site.unregister(model)

# The index and the sidebar ask the models. Migrations do not, they read `original_attrs`.
for model, name, plural in (
    (OutstandingToken, _("refresh token"), _("refresh tokens")),
    (BlacklistedToken, _("blacklisted refresh token"), _("blacklisted refresh tokens")),
):
    model._meta.verbose_name, model._meta.verbose_name_plural = name, plural

admin.site.register(LoginSession, LoginSessionAdmin)
admin.site.register(Overview, OverviewAdmin)
admin.site.register(LoginEvent, LoginEventAdmin)
admin.site.register(MachineClient, MachineClientAdmin)
admin.site.register(OutstandingToken, OutstandingTokenAdmin)
admin.site.register(BlacklistedToken, BlacklistedTokenAdmin)
