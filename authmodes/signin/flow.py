"""What every sign-in over REST shares: the rate limit and the session that allauth runs in."""

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from allauth.account import app_settings
from allauth.account.adapter import get_adapter
from allauth.core import ratelimit
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest
from django.urls import NoReverseMatch, get_urlconf, include, path, reverse, set_urlconf
from rest_framework.exceptions import Throttled

from .. import logs
from ..conf import Mode
from ..exceptions import LimitsUnavailable
from ..sessions import store as session_store
from ..state import request_state
from .allauth_internals import clear_login, parse_rates
from .authorization_request import AuthorizationRequest


@contextmanager
def run(request: HttpRequest, mode: str) -> Iterator[AuthorizationRequest]:
    """Set the authorization request of a REST call, within allauth's limit of attempts."""
    requested = AuthorizationRequest(mode)
    request_state(request).authorization_request = requested
    _count_attempt(request)
    with (
        _allauth_urls(request),
        session_store.detached(request) if mode == Mode.JWT else nullcontext(),
    ):
        yield requested


def _count_attempt(request: HttpRequest) -> None:
    """Count an attempt to sign in. Raises `Throttled`, or `LimitsUnavailable`."""
    try:
        is_allowed = ratelimit.consume(request, action="login")
    except (PermissionDenied, ImproperlyConfigured):
        raise
    except Exception as error:
        # Each cache backend raises errors of its own; allauth's next count would fail as well.
        logs.log(logging.WARNING, "attempts_not_counted", error=repr(error))
        raise LimitsUnavailable from error
    if not is_allowed:
        raise throttled("login")


def throttled(action: str) -> Throttled:
    """Return the 429 of a limit of allauth's, which does not say which rate was exceeded."""
    rates = parse_rates(app_settings.RATE_LIMITS.get(action))
    return Throttled(max((rate.duration for rate in rates), default=None))


def clear_earlier_login(request: HttpRequest) -> None:
    """Clear the login of this browser, whether it is complete or still pending."""
    if request.user.is_authenticated:
        get_adapter(request).logout(request)
    clear_login(request)


@contextmanager
def _allauth_urls(request: HttpRequest) -> Iterator[None]:
    """Let allauth reverse the URLs of its pages, also where the project does not route them.

    It makes a redirect to a page for each stage, which a REST call never follows.
    """
    before, own = get_urlconf(), getattr(request, "urlconf", None) or settings.ROOT_URLCONF
    try:
        reverse("account_login", urlconf=own)
    except NoReverseMatch:
        set_urlconf(_with_allauth_urls(own))
    try:
        yield
    finally:
        set_urlconf(before)


@functools.lru_cache(maxsize=8)
def _with_allauth_urls(urlconf: Any) -> Any:
    return path("", include(urlconf)), path("", include("allauth.urls"))
