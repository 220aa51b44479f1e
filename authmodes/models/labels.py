"""The words for a time that has passed and for a method of sign-in, in the active language."""

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext, npgettext_lazy, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from ..conf import Mode

# Django's own are in the nominative case, which "%(time)s ago" does not take in every language.
UNITS: dict[str, Any] = {
    "year": npgettext_lazy("ago", "%(num)d year", "%(num)d years", "num"),
    "month": npgettext_lazy("ago", "%(num)d month", "%(num)d months", "num"),
    "week": npgettext_lazy("ago", "%(num)d week", "%(num)d weeks", "num"),
    "day": npgettext_lazy("ago", "%(num)d day", "%(num)d days", "num"),
    "hour": npgettext_lazy("ago", "%(num)d hour", "%(num)d hours", "num"),
    "minute": npgettext_lazy("ago", "%(num)d minute", "%(num)d minutes", "num"),
}
# With a context, because other apps call a key or an authenticator a token.
MODES = [
    (Mode.SESSION, pgettext_lazy("mode", "cookie")),
    (Mode.JWT, pgettext_lazy("mode", "token")),
]
# allauth's names of what a sign-in begins with.
METHODS = {
    "password": _("password"),
    "password_reset": _("password reset"),
    "code": _("sign-in code"),
    "mfa": _("passkey"),
    "socialaccount": _("provider"),
}


def ago(moment: datetime) -> str:
    if timezone.now() - moment < timedelta(minutes=1):
        return gettext("just now")
    return gettext("%(time)s ago") % {"time": timesince(moment, time_strings=UNITS, depth=1)}


def method_label(method: str) -> str:
    """Return the words for a method; a method that is not allauth's stays as it is stored."""
    return str(METHODS.get(method, method.replace("_", " ")))
