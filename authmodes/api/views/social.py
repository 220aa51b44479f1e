"""Social sign-in over REST: the providers, the browser flow, provider tokens and connections."""

from typing import Any

from allauth.account.adapter import get_adapter as get_account_adapter
from allauth.socialaccount import app_settings
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers.base import AuthProcess, Provider
from django.http import Http404, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from requests import RequestException
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.renderers import JSONRenderer, StaticHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from ...authentication import enforce_csrf
from ...conf import Mode
from ...exceptions import BadRequest, ProviderUnavailable
from ...permissions import RecentLogin
from ...signin import authorization_code, connect
from ...signin import provider as provider_signin
from ...signin.authorization_request import STATE_KEY, AuthorizationRequest
from ...signin.provider_tokens import supported
from ...tokens import cookies as token_cookies
from ..serializers import SocialTokenSerializer, wanted_mode
from .base import LoginSessionView, PublicView, login_auth, respond_to_sign_in, sets_cookie

STATE_MAX_LENGTH = 1024


class SocialView(PublicView):
    """The providers of this site."""

    def get(self, request: Request) -> Response:
        return Response(providers(request))


class SocialStartView(PublicView):
    """Send a browser to a provider.

    `mode`, `next`, `code_challenge`, `code_challenge_method` ("S256") and `state` come in
    the query. GET only shows a button, because a login must be the user's own act and a
    link can be planted (allauth's `SOCIALACCOUNT_LOGIN_ON_GET` says otherwise).
    """

    renderer_classes = (JSONRenderer, StaticHTMLRenderer)
    credential_scope = "authmodes_start"

    def get(self, request: Request, provider: str) -> HttpResponseBase:
        found, wanted = _redirect_provider(request, provider), _intent(request)
        if app_settings.LOGIN_ON_GET:
            return _redirect(request, found, wanted)
        return render(request._request, "authmodes/social_start.html", {"provider": found})

    def post(self, request: Request, provider: str) -> HttpResponseBase:
        enforce_csrf(request)
        return _redirect(request, _redirect_provider(request, provider), _intent(request))

    def handle_exception(self, exc: Exception) -> Any:
        response = super().handle_exception(exc)
        renderer = getattr(self.request, "accepted_renderer", None)
        if renderer is None or renderer.format != "html":
            return response
        page = render(
            self.request._request,
            "authmodes/login_refused.html",
            dict(response.data),
            status=response.status_code,
        )
        for name, value in response.headers.items():
            page.headers.setdefault(name, value)
        return page


def providers(request: Request) -> list[dict[str, Any]]:
    """The providers of this site and how each may be used."""
    return [
        {
            "id": provider.sub_id,
            "name": provider.name,
            "redirect": provider.supports_redirect,
            # What `url` takes of this provider.
            "token": supported(provider),
            "url": reverse("authmodes:social_token", args=[provider.sub_id]),
            "start_url": reverse("authmodes:social_start", args=[provider.sub_id]),
        }
        for provider in get_adapter(request._request).list_providers(request._request)
        if not _is_hidden(provider)
    ]


def _is_hidden(provider: Provider) -> bool:
    """Whether it is one more app of a provider, such as one for phones, as allauth marks it."""
    return provider.app is not None and bool(provider.app.settings.get("hidden"))


def _redirect_provider(request: Request, name: str) -> Provider:
    """Find a provider in the site's own list, so that no stranger's text reaches a query."""
    listed = get_adapter(request._request).list_providers(request._request)
    for provider in sorted(listed, key=_is_hidden):
        if provider.sub_id == name and provider.supports_redirect:
            return provider
    raise Http404


def _redirect(
    request: Request, provider: Provider, wanted: AuthorizationRequest
) -> HttpResponseBase:
    try:
        return provider.redirect(
            request._request,
            process=AuthProcess.LOGIN,
            # A handoff goes to its client by way of the adapter.
            next_url=None if wanted.is_handoff else wanted.next or None,
            data={STATE_KEY: wanted.to_state()},
        )
    except RequestException as error:
        raise ProviderUnavailable from error


def _intent(request: Request) -> AuthorizationRequest:
    """Read what the login shall become. Raises `BadRequest` or `ModeDisabled`."""
    mode = wanted_mode(_parameter(request, "mode"))
    wanted = AuthorizationRequest(
        mode=mode,
        next=_parameter(request, "next"),
        code_challenge=_parameter(request, "code_challenge") if mode == Mode.JWT else "",
        state=_parameter(request, "state"),
    )
    if len(wanted.state) > STATE_MAX_LENGTH:
        raise BadRequest(_("The state is too long."), "invalid_state")
    if wanted.is_handoff:
        _check_handoff(request, wanted)
    elif mode == Mode.JWT and not token_cookies.are_enabled():
        raise BadRequest(_("A code_challenge is required."), "code_challenge_required")
    elif wanted.next and not get_account_adapter().is_safe_url(wanted.next):
        raise BadRequest(_("This next is not allowed."), "invalid_next")
    return wanted


def _check_handoff(request: Request, wanted: AuthorizationRequest) -> None:
    method = _parameter(request, "code_challenge_method")
    if method not in ("", "S256") or not authorization_code.CODE_CHALLENGE.match(
        wanted.code_challenge
    ):
        raise BadRequest(_("The code_challenge must be made by S256."), "invalid_code_challenge")
    if not authorization_code.is_allowed_redirect_uri(wanted.next):
        raise BadRequest(_("This next is not allowed."), "invalid_next")


def _parameter(request: Request, name: str) -> str:
    django_request = request._request
    return django_request.POST.get(name) or django_request.GET.get(name, "")


class SocialTokenView(LoginSessionView):
    """POST signs in, or with `"process": "connect"` connects; DELETE disconnects.

    The last two are about an account and need a recent login; signing in needs none, and no
    stale credential is in its way.
    """

    credential_scope = "authmodes_login"

    def perform_authentication(self, request: Request) -> None:
        if _is_about_account(request):
            super().perform_authentication(request)
            return
        # As in `PublicView`: nobody to DRF, and to allauth's flow whoever Django says.
        user = request._request.user
        request.authenticators = ()
        super().perform_authentication(request)
        request._request.user = user

    def get_permissions(self) -> list[BasePermission]:
        if _is_about_account(self.request):
            return [IsAuthenticated(), RecentLogin()]
        return []

    def post(self, request: Request, provider: str) -> Response:
        if _is_about_account(request):
            return self._connect(request, provider)
        serializer = SocialTokenSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        fields: dict[str, Any] = serializer.validated_data
        mode = wanted_mode(fields.get("mode") or request.query_params.get("mode"))
        if sets_cookie(mode):
            # Else another site could sign a browser in as somebody else.
            enforce_csrf(request)
        found = _provider(request, provider, fields.get("client_id", ""))
        started = provider_signin.sign_in(
            request._request, found, serializer.credential(), mode, serializer.answers()
        )
        return respond_to_sign_in(request, started)

    def delete(self, request: Request, provider: str) -> Response:
        body = request.data if isinstance(request.data, dict) else {}
        uid = request.query_params.get("uid") or body.get("uid") or ""
        user = login_auth(request).login_session.user
        connect.disconnect(request._request, user, _provider(request, provider), str(uid))
        return Response(status=204)

    def _connect(self, request: Request, provider: str) -> Response:
        serializer = SocialTokenSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        found = _provider(request, provider, serializer.validated_data.get("client_id", ""))
        # The row's own user: that of a token may be no more than an id yet.
        user = login_auth(request).login_session.user
        account = connect.connect(request._request, user, found, serializer.credential())
        return Response({"provider": account.provider, "uid": account.uid})


def _is_about_account(request: Request) -> bool:
    if request.method == "DELETE":
        return True
    body = request.data if request.method == "POST" else None
    # Forms come as a QueryDict, which is a dict.
    return isinstance(body, dict) and body.get("process") == AuthProcess.CONNECT


def _provider(request: Request, name: str, client_id: str = "") -> Provider:
    """Find a provider in the site's own list, so that no stranger's text reaches a query.

    Several apps may be of one name, such as Google's for the web and for a phone: `client_id`
    says which, and else it is the first that is not hidden.
    """
    listed = get_adapter(request._request).list_providers(request._request)
    for provider in listed:
        app = provider.app
        if provider.sub_id != name or (app is None and client_id):
            continue
        if app is None or app.client_id == client_id:
            return provider
        if not client_id and not app.settings.get("hidden"):
            return provider
    raise Http404
