"""DRF permissions and a view decorator: by scope, and by how recent the sign-in is."""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, NoReturn

from allauth.account.adapter import get_adapter
from allauth.core.exceptions import ReauthenticationRequired
from asgiref.sync import iscoroutinefunction, sync_to_async
from django.apps import apps
from django.contrib.auth import SESSION_KEY
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from . import policy
from .exceptions import REALM
from .registry import authentication_context
from .sessions import state as session_state
from .sessions.state import SessionData
from .state import request_state

INSUFFICIENT_AUTHENTICATION = "insufficient_user_authentication"


class HasScope(BasePermission):
    """Name it with what is needed: `HasScope.of("reports:read")`; of several, all are.

    It asks the token's `scope` claim, a machine client's or a user's (`AUTHMODES_CLAIMS`),
    and never who the user is. Combine it with others by DRF's `&` and `|`.
    """

    scopes: frozenset[str] = frozenset()
    code = "insufficient_scope"
    message: Any = {"detail": _("The token was not issued for this."), "code": code}

    @classmethod
    def of(cls, first: str, *more: str) -> type["HasScope"]:
        return type("HasScope", (cls,), {"scopes": frozenset([first, *more])})

    def has_permission(self, request: Request, view: Any) -> bool:
        held = getattr(request.auth, "scopes", None)
        # Another package's `auth` may have scopes of another kind, by names of its own.
        held = held if isinstance(held, frozenset) else frozenset()
        # By its bare name it asks for nothing, and must not let everybody in.
        if self.scopes and self.scopes <= held:
            return True
        # Returned, not raised: `|` goes on to the next one. DRF has no challenge for a 403,
        # so the middleware adds it (RFC 6750, 3.1).
        needed = " ".join(sorted(self.scopes))
        request_state(
            request._request
        ).challenge = f'{REALM}, error="{self.code}", scope="{needed}"'
        return False


def recent_login(max_age: timedelta) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a Django view: whoever signed in longer ago than `max_age` does so again.

    Raises allauth's `ReauthenticationRequired`, which its middleware turns into a redirect
    to re-authentication and back. Who has neither a password nor a second factor is sent to
    their provider, and refused where they have none either.
    """

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            detour = _detour(request, max_age)
            return view(request, *args, **kwargs) if detour is None else detour

        @wraps(view)
        async def aguarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            detour = await sync_to_async(_detour)(request, max_age)
            return await view(request, *args, **kwargs) if detour is None else detour

        return aguarded if iscoroutinefunction(view) else guarded

    return decorate


def _detour(request: HttpRequest, max_age: timedelta) -> HttpResponse | None:
    """Where to go and prove it first; None for who has done so of late."""
    auth_time = _auth_time_of_session(request) if request.user.is_authenticated else None
    if auth_time is not None and policy.is_recent(auth_time, max_age, timezone.now()):
        return None
    methods = get_adapter(request).get_reauthentication_methods(request.user)
    if methods or not request.user.is_authenticated:
        raise ReauthenticationRequired
    # allauth takes them for re-authenticated, and would send them round in circles.
    return _to_provider(request)


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
        auth_time = _auth_time(request)
        if auth_time is not None and policy.is_recent(auth_time, self.max_age, timezone.now()):
            return True
        # Not raised here, for another permission may do (`RecentLogin | IsAdminUser`), and DRF
        # would make a 403 of it. The view is this request's own.
        view.permission_denied = self._challenge
        return False

    def _challenge(self, request: Request, **kwargs: Any) -> NoReturn:
        # The challenge of RFC 9470, 3, which `AuthModesAuthentication` adds to the 401.
        request_state(request._request).max_age = math.floor(self.max_age.total_seconds())
        raise AuthenticationFailed(
            {"detail": _("A more recent sign-in is required."), "code": INSUFFICIENT_AUTHENTICATION}
        )


def _auth_time(request: Request) -> datetime | None:
    """When the user of this call last proved who they are; None if nobody can tell."""
    remembered = session_state.load(request._request.session)
    if remembered is not None and _is_of_session(request, remembered):
        return _latest(request._request, remembered)
    # Other authentication classes have no claims, or claims of their own.
    auth_time = getattr(request.auth, "claims", {}).get("auth_time")
    return session_state.to_datetime(auth_time) if auth_time is not None else None


def _is_of_session(request: Request, remembered: SessionData) -> bool:
    """Whether the call was made with the Django session, and not beside it."""
    if request.auth is not None:
        return getattr(request.auth, "sid", None) == remembered.sid
    # DRF's own `SessionAuthentication`, or one that looks at no session, such as Basic.
    user: Any = request.user
    return request._request.session[SESSION_KEY] == user._meta.pk.value_to_string(user)


def _auth_time_of_session(request: HttpRequest) -> datetime | None:
    remembered = session_state.load(request.session)
    return _latest(request, remembered) if remembered is not None else None


def _latest(request: HttpRequest, remembered: SessionData) -> datetime:
    """The later of the sign-in and allauth's last authentication record."""
    signed_in = session_state.to_datetime(remembered.auth_time)
    return max(
        signed_in, authentication_context.last_authenticated_at(request, request.user) or signed_in
    )
