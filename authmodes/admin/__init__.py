"""The administrator's door: what login sessions and machine clients there are, and ending them.

simplejwt's own pages show token text and cannot end anything, so ours take their place.
"""

from django.contrib import admin

# Importing it registers simplejwt's pages; done first, so that ours win whichever of the
# two apps stands first in INSTALLED_APPS.
from rest_framework_simplejwt.token_blacklist import admin as _simplejwt  # noqa: F401
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from ..models import LoginSession, MachineClient
from .login_sessions import LoginSessionAdmin
from .machine_clients import MachineClientAdmin
from .tokens import BlacklistedTokenAdmin, OutstandingTokenAdmin

__all__ = [
    "BlacklistedTokenAdmin",
    "LoginSessionAdmin",
    "MachineClientAdmin",
    "OutstandingTokenAdmin",
]

for model in (OutstandingToken, BlacklistedToken):
    if admin.site.is_registered(model):
        admin.site.unregister(model)

admin.site.register(LoginSession, LoginSessionAdmin)
admin.site.register(MachineClient, MachineClientAdmin)
admin.site.register(OutstandingToken, OutstandingTokenAdmin)
admin.site.register(BlacklistedToken, BlacklistedTokenAdmin)
