"""DRF permissions and a view decorator: by scope, and by how recent the sign-in is."""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, TypeVar, cast

from allauth.account.adapter import get_adapter
from allauth.core.exceptions import ReauthenticationRequired
from asgiref.sync import iscoroutinefunction, sync_to_async
from django.contrib.auth import SESSION_KEY
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from . import policy
from .exceptions import REALM, InsufficientAuthentication, InsufficientScope
from .sessions import state as session_state
from .sessions.state import SessionData
from .signin.reauthentication import latest_authentication, redirect_to_provider
from .state import request_state, to_django

__all__ = ["HasScope", "RecentLogin", "recent_login"]

View = TypeVar("View", bound=Callable[..., Any])


class HasScope(BasePermission):
    """Require scopes: `HasScope.of("reports:read")`. Of several scopes, all are required.

    It reads the token's `scope` claim, a machine client's or a user's (`AUTHMODES_CLAIMS`),
    and does not look at the user. Combine it with other permissions by DRF's `&` and `|`.
    """

    scopes: frozenset[str] = frozenset()
    code = InsufficientScope.default_code
    message: Any = {"detail": InsufficientScope.default_detail, "code": code}

    @classmethod
    def of(cls, first: str, *more: str) -> type["HasScope"]:
        return type("HasScope", (cls,), {"scopes": frozenset([first, *more])})

    def has_permission(self, request: Request, view: Any) -> bool:
        # The `auth` of another package may have `scopes` of another type.
        held = getattr(request.auth, "scopes", None)
        # The bare class requires no scope; it must not admit every request.
        if self.scopes and isinstance(held, frozenset) and self.scopes <= held:
            return True
        # Returned, not raised, so that `|` tries the next permission. DRF sends no challenge
        # with a 403, so the middleware adds it (RFC 6750, 3.1).
        request_state(request).challenge = InsufficientScope.challenge(self.scopes)
        return False


class RecentLogin(BasePermission):
    """Require a recent sign-in: `RecentLogin.within(timedelta(minutes=5))`."""

    max_age = timedelta(minutes=5)
    code = InsufficientAuthentication.default_code
    message: Any = {"detail": InsufficientAuthentication.default_detail, "code": code}

    @classmethod
    def within(cls, max_age: timedelta) -> type["RecentLogin"]:
        return type("RecentLogin", (cls,), {"max_age": max_age})

    def has_permission(self, request: Request, view: Any) -> bool:
        if not request.user.is_authenticated:
            return False
        if _is_recent(_auth_time(request), self.max_age):
            return True
        # Not raised here: another permission may be sufficient (`RecentLogin | IsAdminUser`).
        # DRF answers with 403. The middleware makes the 401 of RFC 9470, 3, of it, where the
        # user has signed in by a scheme that knows the challenge.
        if hasattr(request.auth, "claims"):
            seconds = math.floor(self.max_age.total_seconds())
            challenge = f'{REALM}, error="{self.code}", max_age="{seconds}"'
            request_state(request).challenge = challenge
        return False


def _auth_time(request: Request) -> datetime | None:
    """Return when the user of an API call authenticated; None if that is unknown."""
    data = session_state.load(to_django(request).session)
    if data is not None and _is_of_session(request, data):
        return latest_authentication(to_django(request), data)
    # Other authentication classes have no claims, or different ones.
    auth_time = getattr(request.auth, "claims", {}).get("auth_time")
    return session_state.to_datetime(auth_time) if auth_time is not None else None


def _is_of_session(request: Request, data: SessionData) -> bool:
    """Whether the Django session authenticated the call, and was not merely sent with it."""
    if request.auth is not None:
        return getattr(request.auth, "sid", None) == data.sid
    # DRF's `SessionAuthentication` has no `auth` either, nor have classes such as Basic.
    user: Any = request.user
    return to_django(request).session[SESSION_KEY] == user._meta.pk.value_to_string(user)


def recent_login(max_age: timedelta) -> Callable[[View], View]:
    """Decorate a Django view, sync or async: require a sign-in within `max_age`.

    Raises allauth's `ReauthenticationRequired`, which its middleware turns into a redirect to
    re-authentication and back. Users without a password and a second factor are redirected
    to their provider. Raises `PermissionDenied` if they have no provider either.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            detour = require_recent_login(request, max_age)
            return view(request, *args, **kwargs) if detour is None else detour

        @wraps(view)
        async def aguarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            detour = await sync_to_async(require_recent_login)(request, max_age)
            return await view(request, *args, **kwargs) if detour is None else detour

        return cast(View, aguarded if iscoroutinefunction(view) else guarded)

    return decorate


def require_recent_login(request: HttpRequest, max_age: timedelta) -> HttpResponse | None:
    """Return a redirect to the provider, or None if the sign-in is recent enough.

    Raises as `recent_login` does.
    """
    if has_recent_login(request, max_age):
        return None
    methods = get_adapter(request).get_reauthentication_methods(request.user)
    if methods or not request.user.is_authenticated:
        raise ReauthenticationRequired
    # Without a method, allauth would refuse the user.
    response = redirect_to_provider(request, request.get_full_path())
    if response is None:
        raise PermissionDenied
    return response


def has_recent_login(request: HttpRequest, max_age: timedelta) -> bool:
    """Whether the cookie's user signed in, or authenticated again, within `max_age`."""
    data = session_state.load(request.session) if request.user.is_authenticated else None
    return data is not None and _is_recent(latest_authentication(request, data), max_age)


def _is_recent(auth_time: datetime | None, max_age: timedelta) -> bool:
    return auth_time is not None and policy.is_recent(auth_time, max_age, timezone.now())
