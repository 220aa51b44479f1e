"""Signing in by what a client got from a provider, and connecting provider accounts."""

from typing import Any

from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers.base import AuthProcess, Provider
from django.http import Http404
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from .. import connecting, sign_in
from ..authentication import enforce_csrf
from ..serializers import wanted_mode
from ..social_serializers import SocialTokenSerializer
from ..stepup import RecentLogin
from .base import LoginSessionView, login_auth, respond_to_sign_in, sets_cookie


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
        started = sign_in.with_provider(
            request._request, found, serializer.credential(), mode, serializer.answers()
        )
        return respond_to_sign_in(request, started)

    def delete(self, request: Request, provider: str) -> Response:
        body = request.data if isinstance(request.data, dict) else {}
        uid = request.query_params.get("uid") or body.get("uid") or ""
        user = login_auth(request).login_session.user
        connecting.disconnect(request._request, user, _provider(request, provider), str(uid))
        return Response(status=204)

    def _connect(self, request: Request, provider: str) -> Response:
        serializer = SocialTokenSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        found = _provider(request, provider, serializer.validated_data.get("client_id", ""))
        # The row's own user: that of a token may be no more than an id yet.
        user = login_auth(request).login_session.user
        account = connecting.connect(request._request, user, found, serializer.credential())
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
