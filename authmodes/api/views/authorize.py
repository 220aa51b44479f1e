"""The browser's way to a login: `authorize/`, and `social/<provider>/start/`."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import get_adapter
from allauth.socialaccount import app_settings
from allauth.socialaccount.providers.base import AuthProcess
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils.decorators import method_decorator
from django.utils.http import urlencode
from requests import RequestException
from rest_framework.exceptions import NotFound, Throttled
from rest_framework.renderers import JSONRenderer, TemplateHTMLRenderer
from rest_framework.request import Request

from ... import exceptions as errors
from ...authentication import enforce_csrf
from ...conf import Mode
from ...models import LoginSession
from ...permissions import has_recent_login, require_recent_login
from ...sessions import state as session_state
from ...signin import authorization_code, authorization_request
from ...signin import providers as site_providers
from ...signin.authorization_request import AuthorizationRequest
from ...state import to_django
from ...tokens import cookies as token_cookies
from .. import inputs, serializers
from . import base

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


class RefusalPageRenderer(TemplateHTMLRenderer):
    """Answers errors with a page, for browsers."""

    exception_template_names = ["authmodes/login_refused.html"]

    def get_template_context(self, data: Any, renderer_context: Any) -> Any:
        # What the client has asked for stays wrong, however often the user asks again.
        again = data["code"] in RETRYABLE
        return {**data, "retry_url": renderer_context["request"].get_full_path() if again else ""}


@method_decorator(base.never_framed, name="dispatch")
class BrowserView(base.PublicView):
    """A view that a browser opens: its errors are pages, too."""

    # Without OPTIONS, whose answer of DRF's has no page to be rendered on.
    http_method_names = ["get", "head", "post"]
    renderer_classes = (JSONRenderer, RefusalPageRenderer)
    credential_scope = "authmodes_start"


class SocialStartView(BrowserView):
    """Redirect a browser to a provider.

    `mode`, `next`, `code_challenge`, `code_challenge_method` ("S256") and `state` come in
    the query. GET only shows a button, because a login must be the user's own decision and an
    attacker can plant a link (unless allauth's `SOCIALACCOUNT_LOGIN_ON_GET` is set).
    """

    @base.describe(
        query=inputs.SocialStartQuerySerializer,
        answers={200: base.HTML, 302: None},
        errors=REDIRECT_ERRORS,
    )
    def get(self, request: Request, provider: str) -> HttpResponseBase:
        """Show a button that sends the browser to a provider."""
        if app_settings.LOGIN_ON_GET and _answers_at_once(_parameter(request, "next")):
            return self._redirect(request, provider)
        found = site_providers.find_with_redirect(to_django(request), provider)
        _authorization_request(request)
        return render(to_django(request), "authmodes/social_start.html", {"provider": found})

    @base.describe(
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


class AuthorizeView(BrowserView):
    """The authorization endpoint (RFC 6749, 4.1.1) of the apps in `AUTHMODES_REDIRECT_URIS`."""

    @base.describe(
        query=inputs.AuthorizeQuerySerializer,
        answers={200: base.HTML, 302: None},
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

    @base.describe(
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
        path = base.reverse_here(request, "social_start", provider=provider)
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
        except PermissionDenied:
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
    elif requested.next and not get_adapter().is_safe_url(requested.next):
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
