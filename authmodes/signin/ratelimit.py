"""allauth's own rate limits as REST responses that say how long to wait."""

import logging

from allauth.account import app_settings
from allauth.core import ratelimit
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest
from rest_framework.exceptions import Throttled

from ..exceptions import LimitsUnavailable
from .allauth_internals import parse_rates

logger = logging.getLogger("authmodes")


def count(request: HttpRequest) -> None:
    """Count an attempt to sign in. Raises `Throttled`, or `LimitsUnavailable`."""
    try:
        is_allowed = ratelimit.consume(request, action="login")
    except (PermissionDenied, ImproperlyConfigured):
        raise
    except Exception as error:
        # Each cache backend raises errors of its own; allauth's next count would fail as well.
        logger.warning("Cannot count attempts to sign in: %r", error)
        raise LimitsUnavailable from error
    if not is_allowed:
        raise throttled("login")


def throttled(action: str) -> Throttled:
    """The 429 of a limit of allauth's, which does not say which of its rates was exceeded."""
    rates = parse_rates(app_settings.RATE_LIMITS.get(action))
    return Throttled(max((rate.duration for rate in rates), default=None))
