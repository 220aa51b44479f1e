"""`token/` as OAuth's token endpoint: which grant is asked for, and by which client."""

import base64
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

from django.utils.translation import gettext_lazy as _
from rest_framework.authentication import get_authorization_header
from rest_framework.request import Request
from rest_framework.response import Response

from ...conf import Mode, conf
from ...exceptions import REALM, InvalidClient, OAuthError, TokensDisabled
from ...machines import clients as machine_clients
from ...machines import tokens as machine_tokens
from ...models import MachineClient
from ...request_client import ip_address
from .. import serializers

logger = logging.getLogger("authmodes")
BASIC = 'Basic realm="api"'


def is_asked_for(request: Request) -> bool:
    """Whether the body names a grant; without one it is simplejwt's password login.

    A parameter without a value counts as left out (RFC 6749, 3.2).
    """
    return isinstance(request.data, Mapping) and request.data.get("grant_type") not in (None, "")


def answer(request: Request) -> Response:
    """Exchange a machine client's secret for an access token. Raises `OAuthError`.

    It reads no cookie and sets none, so there is nothing that CSRF could make use of.
    """
    serializer = serializers.ClientCredentialsSerializer(data=request.data)
    if not serializer.is_valid():
        names = ", ".join(serializer.errors)
        detail = _("%(name)s must be one text, and once.") % {"name": names}
        raise OAuthError("invalid_request", detail)
    fields = serializer.validated_data
    if fields["grant_type"] != "client_credentials":
        raise OAuthError("unsupported_grant_type", _("Only client_credentials is supported."))
    if not conf.MODE.allows(Mode.JWT):
        raise OAuthError(
            "unsupported_grant_type", TokensDisabled.default_detail, code="mode_disabled"
        )
    client_id, raw_secret, challenge = _credentials(request, fields)
    here = ip_address(request._request)
    secret = machine_clients.authenticate(client_id, raw_secret, here)
    if secret is None:
        raise InvalidClient(challenge)
    token = machine_tokens.mint(secret, _scopes(fields.get("scope"), secret.client))
    granted = {"expires_in": token["exp"] - token["iat"], "scope": token["scope"]}
    logger.info(
        "machine client %s was given an access token: scope %r, for %s s, from %s",
        *(client_id, granted["scope"], granted["expires_in"], here),
    )
    return Response(
        {"access_token": str(token), "token_type": "Bearer", **granted},
        # RFC 6749, 5.1 asks for this as well.
        headers={"Pragma": "no-cache"},
    )


def _credentials(request: Request, fields: Mapping[str, Any]) -> tuple[str, str, str]:
    """Client id, secret, and the challenge of the way they came (RFC 6749, 2.3.1)."""
    scheme, encoded = [*get_authorization_header(request).split(maxsplit=1), b"", b""][:2]
    named, sent = fields.get("client_id"), fields.get("client_secret")
    if scheme.lower() != b"basic":
        if not named or not sent:
            raise InvalidClient(REALM)
        return named, sent, REALM
    client_id, raw_secret = _decode_basic(encoded)
    if sent or (named and named != client_id):
        raise OAuthError(
            "invalid_request", _("The client must authenticate in one way only (RFC 6749, 2.3).")
        )
    return client_id, raw_secret, BASIC


def _decode_basic(encoded: bytes) -> tuple[str, str]:
    try:
        text = base64.b64decode(encoded, validate=True).decode()
        client_id, colon, raw_secret = text.partition(":")
        if not colon:
            raise ValueError
        return unquote_plus(client_id, errors="strict"), unquote_plus(raw_secret, errors="strict")
    except ValueError:
        raise InvalidClient(BASIC) from None


def _scopes(named: str | None, client: MachineClient) -> list[str]:
    """What is asked for, all that the client has where nothing is."""
    held = client.scopes.split()
    asked = (named or "").split()
    if not set(asked) <= set(held):
        logger.warning("machine client %s refused: scope not granted", client.client_id)
        raise OAuthError("invalid_scope", _("The client does not have this scope."))
    return [scope for scope in held if scope in asked] if asked else held
