"""allauth's adapters.

allauth decides whether a user may sign in; the adapter decides what the login becomes.
"""

import logging
from typing import TYPE_CHECKING, Any

from allauth.account import app_settings
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.signals import user_logged_in
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.providers.base import AuthError
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse

from . import logs, request_client
from .conf import Mode, conf
from .exceptions import (
    NOWHERE_TO_SEND_TOKENS,
    PROVIDER_ERROR,
    InvalidProviderToken,
    LimitReached,
    LoginOutdated,
    ModeDisabled,
    UpstreamLogout,
    UserInactive,
)
from .models import is_accepted, write_database
from .registry import authentication_context, django_sessions, refusals, starting
from .sessions import store as session_store
from .signin import (
    allauth_internals,
    authorization_code,
    authorization_request,
    code_flow,
    email_match,
    kept_login,
    password,
    pending,
    provider_session,
    reauthentication,
)
from .signin.authorization_request import AuthorizationRequest
from .state import request_state
from .tokens import cookies as token_cookies
from .tokens.jwt import mint
from .upstream import ending as upstream_ending

__all__ = [
    "AuthModesAccountAdapter",
    "AuthModesAdapterMixin",
    "AuthModesSocialAccountAdapter",
    "AuthModesSocialAccountAdapterMixin",
]

FOR_APPS = (NOWHERE_TO_SEND_TOKENS, ModeDisabled.default_code)
REFUSALS = (LimitReached, LoginOutdated, ModeDisabled, UpstreamLogout)
if TYPE_CHECKING:
    from allauth.account.adapter import DefaultAccountAdapter as Base
    from allauth.socialaccount.adapter import DefaultSocialAccountAdapter as SocialBase
else:
    Base = SocialBase = object


class AuthModesAdapterMixin(Base):  # type: ignore[misc]
    """Mix into an account adapter of your own, before `DefaultAccountAdapter`."""

    def get_client_ip(self, request: HttpRequest) -> str:
        try:
            return super().get_client_ip(request)
        except ImproperlyConfigured as error:
            # Raised by allauth for fewer proxies than configured, so a client that bypasses a
            # proxy can cause it. Answer 403 where the address is required, and not 500.
            logs.log(logging.WARNING, "client_address_unknown", error=error)
            raise PermissionDenied from error

    def is_safe_url(self, url: str) -> bool:
        try:
            return super().is_safe_url(url)
        except ValueError:
            # Python does not parse "http://[::1".
            return False

    def authenticate(self, request: HttpRequest, **credentials: Any) -> Any:
        return super().authenticate(request, **password.narrow(credentials))

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        """Count wrong passwords by account, however it is named; a private name of allauth's.

        allauth counts by what was typed, so each way to name an account had a count of its own.
        """
        is_limited = "login_failed" in app_settings.RATE_LIMITS
        account = password.account_of(credentials) if is_limited else None
        if account is not None:
            # No name of a user has a space.
            credentials = {"username": f"account {account.pk}"}
        return super()._get_login_attempts_cache_key(request, **credentials)

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        """Called by allauth before it looks for a recent re-authentication by its methods."""
        # allauth has this method from 65.21 on.
        decide = getattr(super(), "is_reauthentication_required", None)
        is_asked_for = (
            decide(app=app, **kwargs) if decide else app_settings.REAUTHENTICATION_REQUIRED
        )
        return is_asked_for and reauthentication.is_required(context.request)

    def pre_login(self, request: HttpRequest, user: Any, **kwargs: Any) -> HttpResponse | None:
        """Called by allauth when it has recognised the user, before its first stage."""
        sociallogin = (kwargs.get("signal_kwargs") or {}).get("sociallogin")
        if sociallogin is not None:
            email_match.remove_other_ways_in(user, sociallogin)
        kept_login.keep(request)
        ticked = allauth_internals.remember_ticked(request)
        if token_cookies.are_enabled() and ticked is not None:
            allauth_internals.set_expiry(request, ticked)
        authorization_request.store(request, sociallogin.state if sociallogin else {})
        pending.store(request, user)
        authentication_context.store_provider_session(
            request, sociallogin.account.extra_data if sociallogin else {}
        )
        return super().pre_login(request, user, **kwargs)

    def logout(self, request: HttpRequest) -> None:
        """Called by allauth before another login too, which a code flow does not end in."""
        if request_state(request).code_flow is None:
            super().logout(request)
        else:
            code_flow.set_aside_login(request)

    def respond_user_inactive(self, request: HttpRequest, user: Any) -> HttpResponse:
        refusals.note(request, UserInactive.default_code, find_user=lambda: user)
        return code_flow.end_inactive(request) or super().respond_user_inactive(request, user)

    def login(self, request: HttpRequest, user: Any) -> None:
        """Called by allauth when its last stage is done; no credential is made before."""
        requested = authorization_request.pop(request)
        is_rest = request_state(request).authorization_request is not None
        try:
            self._validate(request, user, requested, is_rest)
            self._complete(request, user, requested, is_rest)
        except REFUSALS as error:
            refusals.note(request, error.default_code, find_user=lambda: user)
            if is_rest:
                # DRF answers the exception.
                session_store.discard(request)
                raise
            if requested.wants_code:
                response = code_flow.end(request, description=error.default_code)
                raise ImmediateHttpResponse(response) from error
            raise ImmediateHttpResponse(
                _refuse(request, error.default_code, str(error.detail), error.status_code)
            ) from error

    def _validate(
        self, request: HttpRequest, user: Any, requested: AuthorizationRequest, is_rest: bool
    ) -> None:
        """Check again what may have changed while the login waited at a stage."""
        if not conf.MODE.allows(requested.mode) and not (requested.to_admin and user.is_staff):
            raise ModeDisabled
        if not is_accepted(user):
            if not requested.wants_code:
                kept_login.discard_sign_in(request)
            if is_rest:
                raise UserInactive
            raise ImmediateHttpResponse(self.respond_user_inactive(request, user))
        pending.pop_and_validate(request, user)
        if upstream_ending.has_ended(request, user):
            raise UpstreamLogout
        mark = requested.id_token
        if not is_rest and mark is not None and not mark.set_everywhere():
            # The ID token that the login began with has been used for another login.
            raise LoginOutdated

    def _complete(
        self, request: HttpRequest, user: Any, requested: AuthorizationRequest, is_rest: bool
    ) -> None:
        """Make the login what was requested."""
        state = request_state(request)
        if requested.mode == Mode.SESSION:
            self._login_by_cookie(request, user)
        elif request_client.is_app_client(request) and requested.mode == Mode.JWT:
            # Headless identifies the app by a Django session, so the login has both.
            state.adds_tokens = True
            self._login_by_cookie(request, user)
            allauth_internals.expect_headless_tokens(request)
        elif request_client.is_headless(request):
            # Tokens for headless' browser client, or a mode that does not exist.
            raise ModeDisabled
        elif is_rest:
            starting.start_tokens(request, user)
            request.user = user
        elif requested.wants_code:
            state.redirect_url = authorization_code.issue(request, user, requested)
            if token_cookies.are_enabled():
                code_flow.replace_login(request, str(user.pk))
            code_flow.leave(request)
            request.user = user
        elif token_cookies.are_enabled():
            state.token_pair = mint(starting.start_tokens(request, user))
            request.user = user
        else:
            refusals.note(request, NOWHERE_TO_SEND_TOKENS, find_user=lambda: user)
            raise ImmediateHttpResponse(_refuse(request, NOWHERE_TO_SEND_TOKENS))

    def _login_by_cookie(self, request: HttpRequest, user: Any) -> None:
        """Log in as Django does, in one transaction with what receivers write.

        Logins with tokens have the transaction of `registry.start` only: they may read the login
        that they replace first, and SQLite refuses to write after a read if a different
        connection has written since ("database is locked", without waiting).
        """
        with (
            transaction.atomic(using=write_database()),
            django_sessions.defer_insert(request.session),
        ):
            super().login(request, user)

    def post_login(self, request: HttpRequest, user: Any, **kwargs: Any) -> HttpResponse:
        """Called by allauth for the response to a login that `login` has completed."""
        state = request_state(request)
        if state.redirect_url:
            response: HttpResponse = authorization_code.ClientRedirect(state.redirect_url)
            _send_user_logged_in(request, user, response, kwargs)
        elif state.authorization_request is not None:
            # The REST view that runs the flow makes a response of its own.
            response = HttpResponse(status=204)
            _send_user_logged_in(request, user, response, kwargs)
        else:
            response = super().post_login(request, user, **kwargs)
        if state.token_pair:
            token_cookies.set_cookies(response, state.token_pair)
        response["Cache-Control"] = "no-store"
        return response


class AuthModesAccountAdapter(AuthModesAdapterMixin, DefaultAccountAdapter):  # type: ignore[misc]
    """`ACCOUNT_ADAPTER = "authmodes.adapter.AuthModesAccountAdapter"`."""


class AuthModesSocialAccountAdapterMixin(SocialBase):  # type: ignore[misc]
    """Mix into a social adapter of your own, before `DefaultSocialAccountAdapter`."""

    def get_requests_session(self) -> Any:
        """Called by allauth before each call of a provider, above all with the client's secret."""
        return provider_session.bound(super().get_requests_session())

    def validation_error(self, code: str, *args: Any) -> Any:
        """Called by allauth's providers for a token of a client's that does not verify."""
        if code == "invalid_token":
            _note_provider_refusal(context.request, InvalidProviderToken.default_code)
        return super().validation_error(code, *args)

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, error: Any = None, **kwargs: Any
    ) -> None:
        """Called by allauth for a callback of a provider that does not end in a sign-in."""
        if error != AuthError.CANCELLED:
            _note_provider_refusal(request, PROVIDER_ERROR, getattr(provider, "sub_id", ""))
        super().on_authentication_error(request, provider, error=error, **kwargs)


class AuthModesSocialAccountAdapter(
    AuthModesSocialAccountAdapterMixin,
    DefaultSocialAccountAdapter,  # type: ignore[misc]
):
    """`SOCIALACCOUNT_ADAPTER = "authmodes.adapter.AuthModesSocialAccountAdapter"`."""


def _note_provider_refusal(request: HttpRequest | None, code: str, provider: str = "") -> None:
    """Count it, unless a user who is signed in connects an account."""
    if request is None or request_state(request).sid or request.user.is_authenticated:
        return
    refusals.note(request, code, provider=provider)


def _send_user_logged_in(
    request: HttpRequest, user: Any, response: HttpResponse, kwargs: dict[str, Any]
) -> None:
    # allauth's post_login also adds a message for a page, which these clients do not open.
    signal_kwargs = kwargs.get("signal_kwargs") or {}
    user_logged_in.send(
        user.__class__, request=request, response=response, user=user, **signal_kwargs
    )


def _login_url() -> str:
    try:
        return reverse("account_login")
    except NoReverseMatch:
        return ""


def _refuse(request: HttpRequest, code: str, detail: str = "", status: int = 400) -> HttpResponse:
    """Discard the session; answer with an error of headless, or a page that says what to do."""
    kept_login.discard_sign_in(request)
    if request_client.is_headless(request):
        return allauth_internals.headless_error(request, code, detail, status)
    # A sign-in that only an app can begin leads back to the app.
    retry_url = "" if code in FOR_APPS else _login_url()
    context = {"code": code, "detail": detail, "retry_url": retry_url}
    return render(request, "authmodes/login_refused.html", context, status=status)
