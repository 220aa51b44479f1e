"""Beginning a social login in the browser: whom it goes to and what it shall become."""

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
from rest_framework.renderers import JSONRenderer, StaticHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from .. import errors, handoff, transport
from ..authentication import enforce_csrf
from ..intent import STATE_KEY, Intent
from ..models import LoginMode
from ..provider_tokens import supported
from ..serializers import wanted_mode
from .base import PublicView

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
        found, wanted = _provider(request, provider), _intent(request)
        if app_settings.LOGIN_ON_GET:
            return _redirect(request, found, wanted)
        return render(request._request, "authmodes/social_start.html", {"provider": found})

    def post(self, request: Request, provider: str) -> HttpResponseBase:
        enforce_csrf(request)
        return _redirect(request, _provider(request, provider), _intent(request))

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


def _provider(request: Request, name: str) -> Provider:
    """Find a provider in the site's own list, so that no stranger's text reaches a query."""
    listed = get_adapter(request._request).list_providers(request._request)
    for provider in sorted(listed, key=_is_hidden):
        if provider.sub_id == name and provider.supports_redirect:
            return provider
    raise Http404


def _redirect(request: Request, provider: Provider, wanted: Intent) -> HttpResponseBase:
    try:
        return provider.redirect(
            request._request,
            process=AuthProcess.LOGIN,
            # A handoff goes to its client by way of the adapter.
            next_url=None if wanted.is_handoff else wanted.next or None,
            data={STATE_KEY: wanted.to_state()},
        )
    except RequestException as error:
        raise errors.ProviderUnavailable from error


def _intent(request: Request) -> Intent:
    """Read what the login shall become. Raises `BadRequest` or `ModeDisabled`."""
    mode = wanted_mode(_parameter(request, "mode"))
    wanted = Intent(
        mode=mode,
        next=_parameter(request, "next"),
        code_challenge=_parameter(request, "code_challenge") if mode == LoginMode.JWT else "",
        state=_parameter(request, "state"),
    )
    if len(wanted.state) > STATE_MAX_LENGTH:
        raise errors.BadRequest(_("The state is too long."), "invalid_state")
    if wanted.is_handoff:
        _check_handoff(request, wanted)
    elif mode == LoginMode.JWT and not transport.in_use():
        raise errors.BadRequest(_("A code_challenge is required."), "code_challenge_required")
    elif wanted.next and not get_account_adapter().is_safe_url(wanted.next):
        raise errors.BadRequest(_("This next is not allowed."), "invalid_next")
    return wanted


def _check_handoff(request: Request, wanted: Intent) -> None:
    method = _parameter(request, "code_challenge_method")
    if method not in ("", "S256") or not handoff.CODE_CHALLENGE.match(wanted.code_challenge):
        raise errors.BadRequest(
            _("The code_challenge must be made by S256."), "invalid_code_challenge"
        )
    if not handoff.is_allowed(wanted.next):
        raise errors.BadRequest(_("This next is not allowed."), "invalid_next")


def _parameter(request: Request, name: str) -> str:
    django_request = request._request
    return django_request.POST.get(name) or django_request.GET.get(name, "")
