"""Social sign-in over REST: the providers, the browser flow, provider tokens and connections."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import get_adapter as get_account_adapter
from allauth.socialaccount import app_settings
from allauth.socialaccount.providers.base import AuthProcess
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils.decorators import method_decorator
from django.utils.http import urlencode
from requests import RequestException
from rest_framework.exceptions import NotFound, Throttled
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.renderers import JSONRenderer, TemplateHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from ... import exceptions as errors
from ...authentication import enforce_csrf
from ...conf import Mode
from ...models import LoginSession
from ...permissions import RecentLogin, has_recent_login, require_recent_login
from ...sessions import state as session_state
from ...signin import authorization_code, authorization_request, connect
from ...signin import provider as provider_signin
from ...signin import providers as site_providers
from ...signin.authorization_request import AuthorizationRequest
from ...signin.provider_tokens import supported
from ...state import to_django
from ...tokens import cookies as token_cookies
from .. import answers, inputs, serializers
from .base import (
    HTML,
    START_ERRORS,
    USER_ERRORS,
    LoginSessionView,
    PublicView,
    describe,
    never_framed,
    own_login,
    read_sign_in,
    respond_to_sign_in,
    reverse_here,
)

# How long a sign-in counts as the one that `prompt=login` asks for.
RECENT = timedelta(seconds=30)
RETRYABLE = {
    errors.CsrfFailed.default_code,
    errors.ProviderUnavailable.default_code,
    Throttled.default_code,
}
REDIRECT_ERRORS = (
    *(errors.InvalidMode, errors.ModeDisabled, errors.InvalidNext, errors.InvalidState),
    errors.InvalidCodeChallenge,
    *(errors.CodeChallengeRequired, NotFound, errors.ProviderUnavailable),
)
# 404 is what DRF answers to a `format` that it does not know.
AUTHORIZE_ERRORS = (errors.InvalidClientID, errors.InvalidRedirectURI, NotFound)
CREDENTIAL_ERRORS = (
    *(errors.InvalidMode, errors.ModeDisabled, errors.InvalidRedirectURI),
    errors.AudienceUnverifiable,
    *(errors.UnsupportedCredential, errors.LoginRefused, errors.InvalidGrant),
    *(errors.InvalidProviderToken, errors.InvalidNonce),
    *(errors.ProviderTokenReplayed, errors.InsufficientAuthentication, errors.SignupClosed),
    NotFound,
    *(errors.ConnectedOther, errors.Conflict, errors.ProviderUnavailable),
)


def providers(request: Request) -> list[dict[str, Any]]:
    """The providers of this site and how each may be used."""
    return [
        {
            "id": provider.sub_id,
            "name": provider.name,
            "redirect": provider.supports_redirect,
            # The credentials that `url` accepts of this provider.
            "token": supported(provider),
            "url": reverse_here(to_django(request), "social_token", provider=provider.sub_id),
            "start_url": reverse_here(to_django(request), "social_start", provider=provider.sub_id),
        }
        for provider in site_providers.all_of(to_django(request))
        if not site_providers.is_hidden(provider)
    ]


class SocialView(PublicView):
    """The providers of this site."""

    @describe(answers={200: answers.ProviderSerializer(many=True)})
    def get(self, request: Request) -> Response:
        return Response(providers(request))


class RefusalPageRenderer(TemplateHTMLRenderer):
    """Answers errors with a page, for browsers."""

    exception_template_names = ["authmodes/login_refused.html"]

    def get_template_context(self, data: Any, renderer_context: Any) -> Any:
        # What the client has asked for stays wrong, however often the user asks again.
        again = data["code"] in RETRYABLE
        return {**data, "retry_url": renderer_context["request"].get_full_path() if again else ""}


@method_decorator(never_framed, name="dispatch")
class SocialStartView(PublicView):
    """Redirect a browser to a provider.

    `mode`, `next`, `code_challenge`, `code_challenge_method` ("S256") and `state` come in
    the query. GET only shows a button, because a login must be the user's own decision and an
    attacker can plant a link (unless allauth's `SOCIALACCOUNT_LOGIN_ON_GET` is set).
    """

    # Without OPTIONS, whose answer of DRF's has no page to be rendered on.
    http_method_names = ["get", "head", "post"]
    renderer_classes = (JSONRenderer, RefusalPageRenderer)
    credential_scope = "authmodes_start"

    @describe(
        query=inputs.SocialStartQuerySerializer,
        answers={200: HTML, 302: None},
        errors=REDIRECT_ERRORS,
    )
    def get(self, request: Request, provider: str) -> HttpResponseBase:
        """Show a button that sends the browser to a provider."""
        if app_settings.LOGIN_ON_GET and _answers_at_once(_parameter(request, "next")):
            return self._redirect(request, provider)
        found = site_providers.find_with_redirect(to_django(request), provider)
        _authorization_request(request)
        return render(to_django(request), "authmodes/social_start.html", {"provider": found})

    @describe(
        query=inputs.SocialStartQuerySerializer,
        answers={302: None},
        errors=(*REDIRECT_ERRORS, errors.CsrfFailed),
    )
    def post(self, request: Request, provider: str) -> HttpResponseBase:
        """Send the browser to a provider."""
        enforce_csrf(request)
        return self._redirect(request, provider)

    def _redirect(self, request: Request, provider: str) -> HttpResponseBase:
        found = site_providers.find_with_redirect(to_django(request), provider)
        requested = _authorization_request(request)
        try:
            return found.redirect(
                to_django(request),
                process=AuthProcess.LOGIN,
                # The adapter redirects to the client of a code flow.
                next_url=None if requested.wants_code else requested.next or None,
                data=requested.to_state(),
            )
        except RequestException as error:
            if requested.wants_code:
                return _answer(requested, error="temporarily_unavailable")
            raise errors.ProviderUnavailable from error


@method_decorator(never_framed, name="dispatch")
class AuthorizeView(PublicView):
    """The authorization endpoint (RFC 6749, 4.1.1) of the apps in `AUTHMODES_REDIRECT_URIS`."""

    http_method_names = ["get", "head", "post"]
    renderer_classes = (JSONRenderer, RefusalPageRenderer)
    credential_scope = "authmodes_start"

    @describe(
        query=inputs.AuthorizeQuerySerializer,
        answers={200: HTML, 302: None},
        errors=AUTHORIZE_ERRORS,
    )
    def get(self, request: Request) -> HttpResponseBase:
        """Answer a user who is signed in, and lead others to a page to sign in on."""
        requested, error = authorization_request.read(request.query_params)
        provider, prompts = request.query_params.get("provider", ""), _prompts(request)
        if error:
            return _answer(requested, error=error)
        if provider and "none" not in prompts:
            return self._lead_to_provider(request, requested, provider)
        if not to_django(request).user.is_authenticated or _is_too_old(request):
            if "none" in prompts:
                return _answer(requested, error="login_required")
            return self._lead_to_login(request, requested)
        if _answers_at_once(requested.next) and not {"consent", "select_account"} & prompts:
            return _issue(request, requested)
        if "none" in prompts:
            return _answer(requested, error="interaction_required")
        # Another app may have taken the scheme or the port (RFC 8252, 8.6).
        parts = urlsplit(requested.next)
        context = {"client": parts.netloc or parts.scheme}
        return render(to_django(request), "authmodes/authorize.html", context)

    @describe(
        query=inputs.AuthorizeQuerySerializer,
        answers={302: None},
        errors=(*AUTHORIZE_ERRORS, errors.CsrfFailed),
    )
    def post(self, request: Request) -> HttpResponseBase:
        """Answer a user who was asked."""
        enforce_csrf(request)
        requested, error = authorization_request.read(request.query_params)
        if error or "cancel" in to_django(request).POST:
            return _answer(requested, error=error or "access_denied")
        if not to_django(request).user.is_authenticated or _is_too_old(request):
            return self._lead_to_login(request, requested)
        return _issue(request, requested)

    def _lead_to_provider(
        self, request: Request, requested: AuthorizationRequest, provider: str
    ) -> HttpResponseBase:
        try:
            site_providers.find_with_redirect(to_django(request), provider)
        except Http404:
            return _answer(requested, error="invalid_request")
        start = {
            "mode": Mode.JWT,
            "client_id": requested.client_id,
            "next": requested.next,
            "code_challenge": requested.code_challenge,
            "code_challenge_method": "S256",
            "state": requested.state,
        }
        path = reverse_here(to_django(request), "social_start", provider=provider)
        return HttpResponseRedirect(f"{path}?{urlencode(start)}")

    def _lead_to_login(self, request: Request, requested: AuthorizationRequest) -> HttpResponseBase:
        if to_django(request).user.is_authenticated:
            return self._lead_to_reauthentication(to_django(request), requested)
        try:
            page = reverse("account_login", urlconf=getattr(to_django(request), "urlconf", None))
        except NoReverseMatch:
            return _answer(requested, error="server_error", error_description="no_login_page")
        query = {REDIRECT_FIELD_NAME: to_django(request).get_full_path()}
        return HttpResponseRedirect(f"{page}?{urlencode(query)}")

    def _lead_to_reauthentication(
        self, request: HttpRequest, requested: AuthorizationRequest
    ) -> HttpResponseBase:
        # The page of "Continue" is asked again by GET, which allauth can come back to.
        if request.method == "POST":
            return HttpResponseRedirect(request.get_full_path())
        try:
            detour = require_recent_login(request, RECENT)
        except DjangoPermissionDenied:
            # The user has neither a password nor a second factor nor a provider.
            return _answer(requested, error="login_required")
        assert detour is not None
        return detour


def _prompts(request: Request) -> set[str]:
    return set(request.query_params.get("prompt", "").split())


def _is_too_old(request: Request) -> bool:
    """Whether a user who is signed in has to authenticate again (OpenID Connect, 3.1.2.1)."""
    max_age = "0" if "login" in _prompts(request) else request.query_params.get("max_age", "")
    if not max_age:
        return False
    # The user comes back from signing in to this same URL.
    allowed = max(timedelta(seconds=int(max_age)), RECENT)
    return not has_recent_login(to_django(request), allowed)


def _issue(request: Request, requested: AuthorizationRequest) -> HttpResponseBase:
    django_request = to_django(request)
    data = session_state.load(django_request.session)
    found = LoginSession.objects.active().filter(sid=data.sid).first() if data else None
    # The tokens would outlast an impersonation, and not say who acts.
    if found is None or found.is_impersonated:
        return _answer(requested, error="access_denied")
    url = authorization_code.issue(django_request, django_request.user, requested, found)
    return authorization_code.ClientRedirect(url)


def _answer(requested: AuthorizationRequest, **answer: str) -> HttpResponseBase:
    return authorization_code.ClientRedirect(authorization_code.answer_url(requested, **answer))


def _answers_at_once(redirect_uri: str) -> bool:
    """Whether nothing but the client can receive an answer there, so that no user is asked."""
    return urlsplit(redirect_uri).scheme in ("https", "")


def _authorization_request(request: Request) -> AuthorizationRequest:
    """Read what the login will become. Raises `BadRequest`."""
    mode = serializers.wanted_mode(_parameter(request, "mode"))
    next_url = _parameter(request, "next")
    # Of several clients that list the URL, the first, unless one is named.
    clients = authorization_code.clients_of(next_url)
    requested = AuthorizationRequest(
        mode=mode,
        client_id=_parameter(request, "client_id") or next(iter(clients), ""),
        next=next_url,
        code_challenge=_parameter(request, "code_challenge") if mode == Mode.JWT else "",
        state=_parameter(request, "state"),
    )
    if len(requested.state) > authorization_request.STATE_MAX_LENGTH:
        raise errors.InvalidState
    if requested.wants_code:
        _check_code_flow(request, requested, clients)
    elif mode == Mode.JWT and not token_cookies.are_enabled():
        raise errors.CodeChallengeRequired
    elif requested.next and not get_account_adapter().is_safe_url(requested.next):
        raise errors.InvalidNext
    return requested


def _check_code_flow(request: Request, requested: AuthorizationRequest, clients: list[str]) -> None:
    method = _parameter(request, "code_challenge_method")
    is_digest = authorization_code.CODE_CHALLENGE.match(requested.code_challenge)
    if method not in ("", "S256") or not is_digest:
        raise errors.InvalidCodeChallenge
    if requested.client_id not in clients:
        raise errors.InvalidNext


def _parameter(request: Request, name: str) -> str:
    django_request = to_django(request)
    return django_request.POST.get(name) or django_request.GET.get(name, "")


class SocialTokenView(LoginSessionView):
    """POST signs in, or connects with `"process": "connect"`; DELETE disconnects.

    Connecting and disconnecting need a recent login. Signing in needs none, and a stale
    credential does not prevent it.
    """

    signs_in = True
    credential_scope = "authmodes_login"

    def perform_authentication(self, request: Request) -> None:
        if _is_about_account(request):
            super().perform_authentication(request)
            return
        # As in `PublicView`: anonymous to DRF, and to allauth's flow the user that Django found.
        request.authenticators = ()
        super().perform_authentication(request)

    def get_permissions(self) -> list[BasePermission]:
        if _is_about_account(self.request):
            return [IsAuthenticated(), RecentLogin()]
        return []

    @describe(
        body=inputs.SocialTokenSerializer,
        query=inputs.ModeQuerySerializer,
        answers={
            200: (
                answers.CookieAnswerSerializer,
                answers.TokenAnswerSerializer,
                answers.ConnectedSerializer,
            )
        },
        errors=(*CREDENTIAL_ERRORS, *USER_ERRORS, *START_ERRORS),
        has_optional_login=True,
    )
    def post(self, request: Request, provider: str) -> Response:
        """Sign in by what a client got from a provider, or connect that account."""
        if _is_about_account(request):
            return self._connect(request, provider)
        serializer, mode = read_sign_in(request, inputs.SocialTokenSerializer)
        client_id = serializer.validated_data.get("client_id", "")
        found = site_providers.find(to_django(request), provider, client_id)
        started = provider_signin.sign_in(
            to_django(request), found, serializer.credential(), mode, serializer.answers()
        )
        return respond_to_sign_in(request, started)

    def _connect(self, request: Request, provider: str) -> Response:
        self.signs_in = False
        serializer = inputs.SocialTokenSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        client_id = serializer.validated_data.get("client_id", "")
        found = site_providers.find(to_django(request), provider, client_id)
        # The row's own user, because the user of a token may have no more than an id.
        user = own_login(request).user
        account = connect.connect(to_django(request), user, found, serializer.credential())
        return Response({"provider": account.provider, "uid": account.uid})

    @describe(
        query=inputs.UidQuerySerializer,
        answers={204: None},
        errors=(
            errors.UidRequired,
            errors.DisconnectRefused,
            errors.InsufficientAuthentication,
            NotFound,
        ),
    )
    def delete(self, request: Request, provider: str) -> Response:
        """Disconnect an account of a provider."""
        body = request.data if isinstance(request.data, dict) else {}
        uid = request.query_params.get("uid") or body.get("uid") or ""
        user = own_login(request).user
        found = site_providers.find(to_django(request), provider)
        connect.disconnect(to_django(request), user, found, str(uid))
        return Response(status=204)


def _is_about_account(request: Request) -> bool:
    if request.method == "DELETE":
        return True
    body = request.data if request.method == "POST" else None
    # Forms come as a QueryDict, which is a dict.
    return isinstance(body, dict) and body.get("process") == AuthProcess.CONNECT
