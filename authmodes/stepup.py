"""Asks for a recent login before something that matters, in both modes.

A page sends the browser to allauth's re-authentication; the API answers RFC 9470's
challenge, upon which a client signs in anew.
"""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.authentication import get_authentication_records
from allauth.core.exceptions import ReauthenticationRequired
from django.apps import apps
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from . import memory, policy
from .memory import Memory

CODE = "insufficient_user_authentication"


def recent_login(max_age: timedelta) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a Django view: whoever signed in longer ago than `max_age` does so again.

    Raises allauth's `ReauthenticationRequired`, which its middleware turns into a redirect
    to re-authentication and back. Who has neither a password nor a second factor is sent to
    their provider, and refused where they have none either.
    """

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            auth_time = _auth_time_of_session(request) if request.user.is_authenticated else None
            if auth_time is not None and policy.is_recent(auth_time, max_age, timezone.now()):
                return view(request, *args, **kwargs)
            methods = get_adapter(request).get_reauthentication_methods(request.user)
            if methods or not request.user.is_authenticated:
                raise ReauthenticationRequired
            # allauth takes them for re-authenticated, and would send them round in circles.
            return _to_provider(request)

        return guarded

    return decorate


def _to_provider(request: HttpRequest) -> HttpResponse:
    # Not above: a project may do without allauth.socialaccount.
    if not apps.is_installed("allauth.socialaccount"):
        raise PermissionDenied
    from allauth.socialaccount.models import SocialAccount

    account = SocialAccount.objects.filter(user=request.user).order_by("-last_login").first()
    if account is None:
        raise PermissionDenied
    provider = account.get_provider(request)
    here = request.get_full_path()
    # OpenID Connect, 3.1.2.1: who is still signed in there is asked all the same.
    parameters = {"process": "login", "next": here, "auth_params": "prompt=login"}
    return redirect(provider.get_login_url(request, **parameters))


class RecentLogin(BasePermission):
    """DRF permission; name it with an age: `RecentLogin.within(timedelta(minutes=5))`."""

    max_age = timedelta(minutes=5)

    @classmethod
    def within(cls, max_age: timedelta) -> type["RecentLogin"]:
        return type("RecentLogin", (cls,), {"max_age": max_age})

    def has_permission(self, request: Request, view: Any) -> bool:
        if not request.user.is_authenticated:
            return False
        if policy.is_recent(_auth_time(request), self.max_age, timezone.now()):
            return True
        # The challenge of RFC 9470, 3, which `AuthModesAuthentication` adds to the 401.
        request._request._authmodes_max_age = math.floor(  # type: ignore[attr-defined]
            self.max_age.total_seconds()
        )
        raise AuthenticationFailed(
            {"detail": _("A more recent sign-in is required."), "code": CODE}
        )


def _auth_time(request: Request) -> datetime:
    """When the user of this call last proved who they are."""
    auth: Any = request.auth
    remembered = memory.recall(request._request.session)
    if remembered is not None and remembered.sid == auth.sid:
        return _latest(request._request, remembered)
    return _moment(auth.claims["auth_time"])


def _auth_time_of_session(request: HttpRequest) -> datetime | None:
    remembered = memory.recall(request.session)
    return _latest(request, remembered) if remembered is not None else None


def _latest(request: HttpRequest, remembered: Memory) -> datetime:
    """The later of the sign-in and allauth's last authentication record."""
    records = get_authentication_records(request, request.user)
    return max([remembered.created_at, *(_moment(record["at"]) for record in records)])


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, tz=UTC if settings.USE_TZ else None)
