"""Applies the same rules to every social login, in all of allauth's flows.

Calls to `social/<provider>/` are verified by `provider_tokens` before they reach allauth. The
browser's callback, the endpoint of allauth.headless for provider tokens and Google's button
belong to allauth. They are checked when allauth sends `pre_social_login`: after it has verified
what the provider or the client sent, and before it signs the user in.
"""

import json
from typing import Any

from allauth.socialaccount.providers.base import AuthProcess
from allauth.socialaccount.signals import pre_social_login
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest
from rest_framework.exceptions import APIException

from .. import request_client
from ..registry import refusals
from ..state import request_state
from . import email_match, provider_tokens, reauthentication
from .provider_tokens import INSPECTS_ACCESS_TOKENS, Credential

# The name of allauth's URL that takes the ID token of Google's button.
GOOGLE_BUTTON = "google_login_by_token"


def register() -> None:
    pre_social_login.connect(check_social_login, dispatch_uid="authmodes_social_login")


def check_social_login(request: HttpRequest, sociallogin: Any, **kwargs: Any) -> None:
    """Refuse a login whose claims or whose credential `social/<provider>/` would refuse."""
    request_state(request).in_headless_flow = bool(sociallogin.state.get("headless"))
    try:
        credential = _presented(request, sociallogin)
        if credential is None:
            provider_tokens.check_claims(sociallogin)
        else:
            provider_tokens.accept(sociallogin, credential)
        email_match.check(sociallogin)
        reauthentication.complete(request, sociallogin)
    except APIException as error:
        if sociallogin.state.get("process") != AuthProcess.CONNECT:
            account = sociallogin.account
            refusals.note(request, error.default_code, provider=account.provider)
        if request_state(request).authorization_request is not None:
            # A REST view of ours, where DRF handles the exception.
            raise
        if request_client.is_headless(request):
            # Its endpoint responds to this with 400.
            raise ValidationError(str(error.detail), code=error.default_code) from None
        # allauth's views show their error page, or redirect the browser to the frontend.
        raise PermissionDenied(str(error.detail)) from None


def _presented(request: HttpRequest, sociallogin: Any) -> Credential | None:
    """Return the credential that a client sent to an endpoint of allauth's; None in a callback."""
    if request_client.is_headless(request):
        # The only endpoint of headless that starts a social login; it has parsed the body.
        token = json.loads(request.body)["token"]
        sent = {name: token.get(name) or "" for name in ("id_token", "access_token", "nonce")}
        if sent["access_token"] and sociallogin.provider.id in INSPECTS_ACCESS_TOKENS:
            # If both are sent, allauth ignores the ID token.
            del sent["id_token"]
        return Credential(**sent)
    if request.resolver_match and request.resolver_match.url_name == GOOGLE_BUTTON:
        return Credential(id_token=request.POST.get("credential", ""))
    return None
