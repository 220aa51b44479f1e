"""Social sign-in over REST: the providers, their tokens, and connections; no browser flow."""

from typing import Any

from allauth.socialaccount.providers.base import AuthProcess, Provider
from rest_framework.exceptions import NotFound
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from ... import exceptions as errors
from ...permissions import RecentLogin
from ...signin import connect
from ...signin import provider as provider_signin
from ...signin import providers as site_providers
from ...signin.provider_tokens import supported
from ...state import to_django
from .. import answers, inputs
from . import base

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
    """Return the providers of this site and how each may be used."""
    return [
        {
            "id": provider.sub_id,
            "name": provider.name,
            "redirect": provider.supports_redirect,
            # The credentials that `url` accepts of this provider.
            "token": supported(provider),
            "url": base.reverse_here(request, "social_token", provider=provider.sub_id),
            "start_url": base.reverse_here(request, "social_start", provider=provider.sub_id),
        }
        for provider in site_providers.all_of(to_django(request))
        if not site_providers.is_hidden(provider)
    ]


class SocialView(base.PublicView):
    """The providers of this site."""

    @base.describe(answers={200: answers.ProviderSerializer(many=True)})
    def get(self, request: Request) -> Response:
        return Response(providers(request))


class SocialTokenView(base.LoginSessionView):
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

    @base.describe(
        body=inputs.SocialTokenSerializer,
        query=inputs.ModeQuerySerializer,
        answers={
            200: (
                answers.CookieAnswerSerializer,
                answers.TokenAnswerSerializer,
                answers.ConnectedSerializer,
            )
        },
        errors=(*CREDENTIAL_ERRORS, *base.USER_ERRORS, *base.START_ERRORS),
        has_optional_login=True,
    )
    def post(self, request: Request, provider: str) -> Response:
        """Sign in by what a client got from a provider, or connect that account."""
        if _is_about_account(request):
            return self._connect(request, provider)
        serializer, mode = base.read_sign_in(request, inputs.SocialTokenSerializer)
        found = _find(request, provider, serializer)
        started = provider_signin.sign_in(
            to_django(request), found, serializer.credential(), mode, serializer.answers()
        )
        return base.respond_to_sign_in(request, started)

    def _connect(self, request: Request, provider: str) -> Response:
        self.signs_in = False
        serializer = base.validated(inputs.SocialTokenSerializer, request.data)
        found = _find(request, provider, serializer)
        # The row's own user, because the user of a token may have no more than an id.
        user = base.own_login(request).user
        account = connect.connect(to_django(request), user, found, serializer.credential())
        return Response({"provider": account.provider, "uid": account.uid})

    @base.describe(
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
        user = base.own_login(request).user
        found = site_providers.find(to_django(request), provider)
        connect.disconnect(to_django(request), user, found, str(uid))
        return Response(status=204)


def _find(request: Request, name: str, serializer: inputs.SocialTokenSerializer) -> Provider:
    client_id = serializer.validated_data.get("client_id", "")
    return site_providers.find(to_django(request), name, client_id)


def _is_about_account(request: Request) -> bool:
    if request.method == "DELETE":
        return True
    body = request.data if request.method == "POST" else None
    # Forms come as a QueryDict, which is a dict.
    return isinstance(body, dict) and body.get("process") == AuthProcess.CONNECT
