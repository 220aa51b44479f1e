"""Re-authentication of users for whom allauth has no method: no password, code or second factor.

allauth refuses them with 403. Here a recent sign-in counts. Later, the browser goes to the user's
provider and back, with allauth's process "redirect", so the login stays the same.
"""

import time
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from allauth.account import app_settings
from allauth.core.exceptions import ImmediateHttpResponse
from django.apps import apps
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from requests import RequestException

from .. import policy, request_client
from ..registry import authentication_context
from ..sessions import state as session_state
from ..sessions.state import SessionData
from ..state import request_state
from . import allauth_internals
from . import providers as site_providers

STATE_KEY = "authmodes_reauthentication"
# How many seconds a provider's clock may be behind ours.
CLOCK_SKEW = 60


def latest_authentication(request: HttpRequest, data: SessionData) -> datetime:
    """Return the later of the sign-in and allauth's last authentication record."""
    signed_in = session_state.to_datetime(data.auth_time)
    recorded = authentication_context.last_authenticated_at(request, request.user)
    return max(signed_in, recorded or signed_in)


def is_required(request: HttpRequest | None) -> bool:
    """Whether a user has to re-authenticate before a page of allauth's that asks for it.

    Raises `ImmediateHttpResponse`, a redirect to the provider, for a user who has only that.
    """
    if request is None or not request.user.is_authenticated:
        return True
    if allauth_internals.get_reauthentication_flows(request.user):
        # allauth looks for its own records next; a recent sign-in is not sufficient.
        return True
    data = session_state.load(request.session)
    max_age = timedelta(seconds=app_settings.REAUTHENTICATION_TIMEOUT)
    if data is not None:
        latest = latest_authentication(request, data)
        if policy.is_recent(latest, max_age, timezone.now()):
            return False
    if request_client.is_headless(request) or request_state(request).in_headless_flow:
        return True
    response = redirect_to_provider(request, _next_url(request))
    if response is None:
        return True
    raise ImmediateHttpResponse(response)


def redirect_to_provider(request: HttpRequest, next_url: str | None) -> HttpResponse | None:
    """Return a redirect to the user's provider; None if the user has none that it can go to.

    From there, the browser goes to `next_url`, a page of this site.
    """
    # Imported here: a project may be without allauth.socialaccount.
    if next_url is None or not apps.is_installed("allauth.socialaccount"):
        return None
    from allauth.socialaccount.helpers import render_authentication_error
    from allauth.socialaccount.models import SocialAccount
    from allauth.socialaccount.providers.base import AuthProcess
    from allauth.socialaccount.providers.oauth2.provider import OAuth2Provider

    for account in SocialAccount.objects.filter(user=request.user).order_by("-last_login"):
        # The project may no longer have the provider of an account.
        with suppress(Http404):
            provider = site_providers.find_with_redirect(request, account.provider)
            break
    else:
        return None
    options: dict[str, Any] = {}
    if isinstance(provider, OAuth2Provider):
        # OpenID Connect Core, 3.1.2.1: ask a user who is still signed in there, too, and return
        # `auth_time`. Not in the URL of a page, where they could be left out.
        asked = {"prompt": "login", "max_age": "0"}
        options["auth_params"] = {**provider.get_auth_params(), **asked}
    data = {STATE_KEY: {"account": account.pk, "at": time.time()}}
    try:
        response: HttpResponse = provider.redirect(
            request, AuthProcess.REDIRECT, next_url=next_url, data=data, **options
        )
    except RequestException as error:
        response = render_authentication_error(request, provider, exception=error)
    return response


def _next_url(request: HttpRequest) -> str | None:
    if "state" not in request.GET:
        return request.get_full_path()
    # The callback of a provider whose account is to be connected. It cannot be opened twice.
    try:
        return reverse("socialaccount_connections")
    except NoReverseMatch:
        return None


def complete(request: HttpRequest, sociallogin: Any) -> None:
    """Record that the user has come back from the provider. Raises `PermissionDenied`.

    The account has to be the one that was asked for, and its `auth_time`, where the provider
    sends it, not from before.
    """
    data = sociallogin.state.get("data")
    asked = data.get(STATE_KEY) if isinstance(data, dict) else None
    if asked is None:
        return
    account, user = sociallogin.account, request.user
    if account.pk != asked["account"] or account.user_id != user.pk:
        raise PermissionDenied
    auth_time = authentication_context.auth_time_of(account.extra_data)
    if auth_time is not None and auth_time + CLOCK_SKEW < asked["at"]:
        raise PermissionDenied
    # It was that of the sign-in, and would limit this record as well.
    request.session.pop(authentication_context.PROVIDER_AUTH_TIME_KEY, None)
    allauth_internals.record_authentication(
        *(request, user, "socialaccount"),
        reauthenticated=True,
        provider=account.provider,
        uid=account.uid,
    )
