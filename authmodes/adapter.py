"""The browser door: allauth decides whether a user may sign in, this what it becomes."""

import logging
from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from allauth.account.signals import user_logged_in
from allauth.core.exceptions import ImmediateHttpResponse
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured, PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render

from . import registry, request_client
from .conf import Mode, conf, simple_jwt
from .exceptions import LimitReached, LoginOutdated, ModeDisabled, UpstreamLogout, user_inactive
from .registry import authentication_context, starting
from .sessions import store as session_store
from .signin import authorization_code, authorization_request, id_tokens, pending
from .signin.authorization_request import AuthorizationRequest
from .state import request_state
from .tokens import cookies as token_cookies
from .tokens.jwt import mint
from .upstream import ending as upstream_ending

logger = logging.getLogger("authmodes")


class AuthModesAdapterMixin:
    """Mix into an account adapter of your own, before `DefaultAccountAdapter`."""

    def get_client_ip(self, request: HttpRequest) -> str:
        try:
            return super().get_client_ip(request)  # type: ignore[misc]
        except ImproperlyConfigured as error:
            # allauth's word for fewer proxies than it was told of, which a caller brings about
            # who knows a way around one. A 403 where it must know the address, and no 500.
            logger.warning("Cannot tell a caller's address: %s", error)
            raise PermissionDenied from error

    def pre_login(self, request: HttpRequest, user: Any, **kwargs: Any) -> HttpResponse | None:
        sociallogin = (kwargs.get("signal_kwargs") or {}).get("sociallogin")
        if sociallogin is not None:
            _put_out_squatter(user, sociallogin)
        authorization_request.determine(request, sociallogin.state if sociallogin else None)
        pending.store(request, user)
        authentication_context.store_provider_session(
            request, sociallogin.account.extra_data if sociallogin else {}
        )
        return super().pre_login(request, user, **kwargs)  # type: ignore[misc]

    def login(self, request: HttpRequest, user: Any) -> None:
        """Called by allauth when its last stage is done; nothing is minted before."""
        wanted = authorization_request.pop(request)
        if not conf.MODE.allows(wanted.mode) and not (wanted.to_admin and user.is_staff):
            raise ImmediateHttpResponse(_refuse(request, "mode_disabled"))
        if not simple_jwt().USER_AUTHENTICATION_RULE(user):
            # Locked while the login waited at a stage; allauth has asked before.
            session_store.discard(request)
            if authorization_request.declared(request):
                raise user_inactive()
            raise ImmediateHttpResponse(self.respond_user_inactive(request, user))  # type: ignore[attr-defined]
        try:
            if pending.pop_is_outdated(request, user):
                raise LoginOutdated
            if upstream_ending.has_ended(request, user):
                raise UpstreamLogout
            if not (authorization_request.declared(request) or _uses_up(wanted)):
                raise LoginOutdated
            self._become(request, user, wanted)
        except (LimitReached, LoginOutdated, UpstreamLogout) as error:
            if authorization_request.declared(request):
                session_store.discard(request)
                raise
            raise ImmediateHttpResponse(
                _refuse(request, error.default_code, str(error.detail), error.status_code)
            ) from error

    def _become(self, request: HttpRequest, user: Any, wanted: AuthorizationRequest) -> None:
        if wanted.mode == Mode.SESSION:
            super().login(request, user)  # type: ignore[misc]
        elif request_client.is_app_client(request) and wanted.mode == Mode.JWT:
            # Headless has it carry on with a Django session as well.
            authorization_request.add_tokens(request)
            super().login(request, user)  # type: ignore[misc]
            # Headless tells the tokens of a login only to who was nobody before. One who signs
            # in anew would be left without, for the login of before has ended. A private name of
            # allauth's; a test fails when it moves.
            request.allauth.headless._pre_user = AnonymousUser()  # type: ignore[attr-defined]
        elif request_client.is_headless(request):
            raise ImmediateHttpResponse(_refuse(request, "mode_disabled"))
        elif authorization_request.declared(request):
            starting.start_tokens(request, user)
        elif wanted.is_handoff:
            request_state(request).redirect_url = authorization_code.issue(request, user, wanted)
            session_store.discard(request)
        elif token_cookies.are_enabled():
            started = starting.start_tokens(request, user)
            request_state(request).token_pair = mint(started)
            session_store.discard(request)
            request.user = user
        else:
            raise ImmediateHttpResponse(_refuse(request, "nowhere_to_send_tokens"))

    def is_safe_url(self, url: str) -> bool:
        try:
            return super().is_safe_url(url)  # type: ignore[misc]
        except ValueError:
            # "http://[::1" and its like are no URLs to Python.
            return False

    def post_login(self, request: HttpRequest, user: Any, **kwargs: Any) -> HttpResponse:
        response = self._respond(request, user, **kwargs)
        response["Cache-Control"] = "no-store"
        return response

    def _respond(self, request: HttpRequest, user: Any, **kwargs: Any) -> HttpResponse:
        if url := request_state(request).redirect_url:
            return _announced(request, user, HandoffRedirect(url), kwargs)
        if authorization_request.declared(request):
            # A view of ours runs the flow and answers itself.
            return _announced(request, user, HttpResponse(status=204), kwargs)
        response = super().post_login(request, user, **kwargs)  # type: ignore[misc]
        if pair := request_state(request).token_pair:
            token_cookies.set_cookies(response, pair)
        return response


class AuthModesAccountAdapter(AuthModesAdapterMixin, DefaultAccountAdapter):  # type: ignore[misc]
    """`ACCOUNT_ADAPTER = "authmodes.adapter.AuthModesAccountAdapter"`."""


def _put_out_squatter(user: Any, sociallogin: Any) -> None:
    """End the logins of whoever made an account for an e-mail address that is not theirs.

    The address's owner now comes in by it. allauth wipes the password then (its
    `wipe_password`), and has no say over logins that are there already.
    """
    # A private name of allauth's; a test fails when it moves.
    email = getattr(sociallogin, "_did_authenticate_by_email", None)
    if email and not EmailAddress.objects.is_verified(email):
        registry.revoke_user(user)


def _uses_up(wanted: AuthorizationRequest) -> bool:
    """Use up the ID token that a login began with, unless somebody has meanwhile."""
    return wanted.receipt is None or id_tokens.use_up(id_tokens.Receipt(**wanted.receipt))


class HandoffRedirect(HttpResponseRedirect):
    """To a URL of `AUTHMODES_REDIRECT_URIS`, which for an app may have a scheme of its own."""

    def __init__(self, redirect_to: str) -> None:
        self.allowed_schemes = [urlsplit(redirect_to).scheme]
        super().__init__(redirect_to)


def _announced(
    request: HttpRequest, user: Any, response: HttpResponse, kwargs: dict[str, Any]
) -> HttpResponse:
    # allauth's own post_login would also leave a message for a page that nobody will open;
    # its signal is public and still due.
    user_logged_in.send(
        user.__class__,
        request=request,
        response=response,
        user=user,
        **(kwargs.get("signal_kwargs") or {}),
    )
    return response


def _refuse(request: HttpRequest, code: str, detail: str = "", status: int = 400) -> HttpResponse:
    """Make no login, leave no session, and tell a person where to begin instead."""
    session_store.discard(request)
    if request_client.is_headless(request):
        return _refuse_headless(request, code, detail or str(ModeDisabled.default_detail), status)
    context = {"code": code, "detail": detail}
    return render(request, "authmodes/login_refused.html", context, status=status)


def _refuse_headless(request: HttpRequest, code: str, detail: str, status: int) -> HttpResponse:
    """The same in the words of allauth.headless, which replaces any answer that is not its own."""
    # A private name of allauth's, and there only where headless is; a test fails when it moves.
    from allauth.headless.internal.restkit.response import ErrorResponse

    return ErrorResponse(request, exception=ValidationError(detail, code=code), status=status)
