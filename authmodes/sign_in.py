"""Password sign-in over REST, through allauth's own login flow and all of its stages."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from allauth.account import app_settings
from allauth.account.adapter import get_adapter
from allauth.account.forms import LoginForm
from allauth.account.internal.stagekit import get_pending_stage
from allauth.core import ratelimit

# Private; a test fails when it moves.
from allauth.core.internal.ratelimit import parse_rates as allauth_rates
from allauth.utils import get_form_class
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest
from rest_framework.exceptions import AuthenticationFailed, Throttled

from . import errors, intent, stores
from .intent import Intent
from .models import LoginMode, LoginSession

logger = logging.getLogger("authmodes")


def with_password(request: HttpRequest, login: str, password: str, mode: str) -> LoginSession:
    """Sign a user in by name or e-mail address; return the new login session.

    Raises `AuthenticationFailed` (wrong password, inactive user), `StagePending` (a stage of
    allauth's is still to be done; nothing was minted) or `Throttled` (allauth's limits).
    """
    intent.declare(request, Intent(mode))
    if mode == LoginMode.SESSION:
        return _run(request, login, password)
    with _detached_session(request):
        return _run(request, login, password)


def _run(request: HttpRequest, login: str, password: str) -> LoginSession:
    if not _may_try(request):
        raise _throttled("login")
    form = _valid_form(request, login, password)
    if request.user.is_authenticated:
        # Somebody else's login, or an older one of the same user, in this browser.
        get_adapter(request).logout(request)
    form.login(request)
    started = getattr(request, "_authmodes_login", None)
    if started is not None:
        return started
    stage = get_pending_stage(request)
    if stage is not None:
        raise errors.StagePending(stage.key)
    raise AuthenticationFailed("This account is inactive.", "user_inactive")


def _valid_form(request: HttpRequest, login: str, password: str) -> Any:
    form_class = get_form_class(app_settings.FORMS, "login", LoginForm)
    # Without "remember" allauth ends the cookie with the browser, whatever Django's setting.
    remember = not settings.SESSION_EXPIRE_AT_BROWSER_CLOSE
    data = {"login": login, "password": password, "remember": remember}
    form = form_class(data, request=request)
    if form.is_valid():
        return form
    codes = {error.code for errors_ in form.errors.as_data().values() for error in errors_}
    if "too_many_login_attempts" in codes:
        raise _throttled("login_failed")
    raise errors.no_active_account()


def _may_try(request: HttpRequest) -> bool:
    """Count an attempt in allauth's limits. Raises `LimitsUnavailable` if nobody can count."""
    try:
        return ratelimit.consume(request, action="login")
    except (PermissionDenied, ImproperlyConfigured):
        raise
    except Exception as error:
        # Whatever a cache raises when it is away; allauth's next count would fail as well.
        logger.warning("Cannot count attempts to sign in: %r", error)
        raise errors.LimitsUnavailable from error


def _throttled(action: str) -> Throttled:
    """The 429 of one of allauth's limits; it does not say which of its rates was exceeded."""
    rates = allauth_rates(app_settings.RATE_LIMITS.get(action))
    return Throttled(max((rate.duration for rate in rates), default=None))


@contextmanager
def _detached_session(request: HttpRequest) -> Iterator[None]:
    """Let allauth work in a session that is thrown away afterwards.

    A login for tokens neither sees nor changes the cookie login that the same browser may
    hold, and its answer sets no session cookie.
    """
    session, user = request.session, request.user
    request.session, request.user = stores.engine()(), AnonymousUser()
    try:
        yield
    finally:
        if request.session.session_key:
            request.session.flush()
        request.session, request.user = session, user
