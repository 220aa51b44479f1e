"""`token/` as OAuth's token endpoint: which grant is requested, and by which client."""

import base64
import logging
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import unquote_plus

from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework.authentication import get_authorization_header
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from ... import exceptions as errors
from ... import logs
from ...authentication import enforce_csrf
from ...conf import Mode, conf
from ...exceptions import REALM, InvalidClient, OAuthError, TokensDisabled
from ...machines import clients as machine_clients
from ...machines import tokens as machine_tokens
from ...models import MachineClient
from ...registry import refusals, rotation
from ...request_client import ip_address
from ...signin import authorization_code
from ...state import request_state, to_django
from ...tokens import cookies as token_cookies
from ...tokens.jwt import AccessToken, RefreshToken, TokenPair, mint, read_any
from .. import inputs, serializers
from . import base

BASIC = 'Basic realm="api"'
# By grant, a scope of `throttling`; that of other grants is the one of machine clients.
THROTTLE_SCOPES = {
    "authorization_code": "authmodes_code",
    "refresh_token": "authmodes_refresh",
}
CLIENT_SCOPE = "authmodes_client"
# RFC 6749, 5.1 asks for this beside `Cache-Control`.
HEADERS = {"Pragma": "no-cache"}
# What a login is refused for after its code was accepted.
START_REFUSALS = (
    *(errors.LimitReached, errors.LoginOutdated, errors.UpstreamLogout),
    errors.UserInactive,
)


def requested_grant(request: Request) -> Any:
    """Return the grant that the body names, of any type; None for simplejwt's password login.

    A parameter without a value counts as left out (RFC 6749, 3.2).
    """
    named = request.data.get("grant_type") if isinstance(request.data, Mapping) else None
    return None if named == "" else named


def throttle_scope(request: Request) -> str:
    return THROTTLE_SCOPES.get(str(requested_grant(request)), CLIENT_SCOPE)


def refresh_token(request: Request) -> Any:
    """Return the refresh token of a `refresh_token` grant, None for any other request."""
    if requested_grant(request) != "refresh_token":
        return None
    if token_cookies.are_enabled():
        return token_cookies.refresh_token(to_django(request))
    data: Any = request.data
    return data.get("refresh_token")


def reuses_code(request: Request) -> bool:
    """Whether the request presents a code again whose login is active."""
    serializer = inputs.GrantSerializer(data=request.data)
    if requested_grant(request) != "authorization_code" or not serializer.is_valid():
        return False
    code, verifier = (serializer.validated_data.get(name) for name in ("code", "code_verifier"))
    return bool(code and verifier and authorization_code.find_started(code, verifier))


def respond(request: Request) -> Response:
    """Answer a token request. Raises `OAuthError`."""
    serializer = inputs.GrantSerializer(data=request.data)
    if not serializer.is_valid():
        names = ", ".join(serializer.errors)
        detail = _("%(name)s must be one text, and once.")
        raise OAuthError("invalid_request", detail, name=names)
    fields = serializer.validated_data
    grant = GRANTS.get(fields["grant_type"])
    if grant is None:
        raise OAuthError("unsupported_grant_type", _("This grant type is not supported."))
    if not conf.MODE.allows(Mode.JWT):
        raise OAuthError(
            "unsupported_grant_type", TokensDisabled.default_detail, code="mode_disabled"
        )
    try:
        return grant(request, fields)
    except START_REFUSALS as error:
        refusals.note(to_django(request), error.default_code)
        raise _invalid_grant(error) from error


def _redeem_code(request: Request, fields: Mapping[str, Any]) -> Response:
    """RFC 6749, 4.1.3; RFC 7636, 4.5."""
    _enforce_csrf(request)
    client_id = _public_client(request, fields)
    for name in ("code", "redirect_uri", "code_verifier"):
        if not fields.get(name):
            raise _missing(name)
    if not authorization_code.CODE_VERIFIER.match(fields["code_verifier"]):
        raise OAuthError("invalid_request", _("The code_verifier is malformed."))
    code, verifier = fields["code"], fields["code_verifier"]
    login_session = authorization_code.redeem(
        *(to_django(request), code, verifier, client_id, fields["redirect_uri"])
    )
    if login_session is None:
        refusals.note(to_django(request), errors.InvalidGrant.default_code)
        raise _invalid_grant(errors.InvalidGrant())
    pair = mint(login_session)
    return base.respond_to_login(pair, _answer(pair), HEADERS)


def _refresh(request: Request, fields: Mapping[str, Any]) -> Response:
    """RFC 6749, 6; with the rules of `token/refresh/`."""
    _enforce_csrf(request)
    client_id = ""
    if fields.get("client_id") or _basic(request) is not None:
        client_id = _public_client(request, fields)
    raw_token = refresh_token(request)
    if not raw_token and not token_cookies.are_enabled():
        raise _missing("refresh_token")
    if client_id:
        # Before the rotation, so that a refused call changes nothing. Tokens of a login that no
        # app requested are bound to none.
        token = read_any(raw_token, RefreshToken)
        if token is not None and token.payload.get("client_id", client_id) != client_id:
            raise _invalid_grant(errors.InvalidGrant())
    outcome = rotation.rotate(raw_token or "", to_django(request))
    if isinstance(outcome, rotation.Refusal):
        request_state(request).clears_token_cookies = token_cookies.are_enabled()
        raise _invalid_grant(serializers.refresh_error(outcome))
    return base.respond_with_tokens(outcome, _answer(outcome), HEADERS)


def _answer(pair: TokenPair) -> dict[str, Any]:
    """Return a pair in the words of RFC 6749, 5.1; its `scope` is one of `AUTHMODES_CLAIMS`."""
    seconds = round((pair.access_expires_at - timezone.now()).total_seconds())
    answer = {"token_type": "Bearer", "expires_in": seconds, "sid": str(pair.login_session.sid)}
    scope = AccessToken(cast(Any, pair.access), verify=False).get("scope")
    if scope and isinstance(scope, str):
        answer["scope"] = scope
    if not token_cookies.are_enabled():
        answer |= {"access_token": pair.access, "refresh_token": pair.refresh}
    return answer


def _client_credentials(request: Request, fields: Mapping[str, Any]) -> Response:
    """RFC 6749, 4.4. It reads no cookie and sets none, so there is nothing that CSRF could use."""
    client_id, raw_secret, challenge = _credentials(request, fields)
    if not client_id or not raw_secret:
        raise InvalidClient(challenge)
    here = ip_address(to_django(request))
    secret = machine_clients.authenticate(client_id, raw_secret, here)
    if secret is None:
        raise InvalidClient(challenge)
    token = machine_tokens.mint(secret, _scopes(fields.get("scope"), secret.client))
    granted = {"expires_in": token["exp"] - token["iat"], "scope": token["scope"]}
    named = {"client_id": client_id, **granted, "ip_address": here}
    logs.log(logging.INFO, "machine_client_token_made", **named)
    return Response(
        {"access_token": str(token), "token_type": "Bearer", **granted}, headers=HEADERS
    )


GRANTS: dict[str, Callable[[Request, Mapping[str, Any]], Response]] = {
    "authorization_code": _redeem_code,
    "refresh_token": _refresh,
    "client_credentials": _client_credentials,
}


def _missing(name: str) -> OAuthError:
    return OAuthError("invalid_request", _("%(name)s is required."), name=name)


def _invalid_grant(error: APIException) -> OAuthError:
    """Return an error of our own as the one of RFC 6749, 5.2."""
    return OAuthError("invalid_grant", error.default_detail, code=error.default_code)


def _enforce_csrf(request: Request) -> None:
    if token_cookies.are_enabled():
        enforce_csrf(request)


def _public_client(request: Request, fields: Mapping[str, Any]) -> str:
    """Return the app that makes the request; it has no secret (RFC 6749, 2.1)."""
    client_id, raw_secret, challenge = _credentials(request, fields)
    if client_id not in conf.REDIRECT_URIS or raw_secret:
        raise InvalidClient(challenge)
    return client_id


def _credentials(request: Request, fields: Mapping[str, Any]) -> tuple[str, str, str]:
    """Client id, secret, and the challenge of the way they came (RFC 6749, 2.3.1)."""
    named, sent = fields.get("client_id", ""), fields.get("client_secret", "")
    encoded = _basic(request)
    if encoded is None:
        return named, sent, REALM
    client_id, raw_secret = _decode_basic(encoded)
    if sent or (named and named != client_id):
        raise OAuthError(
            "invalid_request", _("The client must authenticate in one way only (RFC 6749, 2.3).")
        )
    return client_id, raw_secret, BASIC


def _basic(request: Request) -> bytes | None:
    """Return what follows "Basic" in the header; None for other schemes, and without one."""
    scheme, encoded = [*get_authorization_header(request).split(maxsplit=1), b"", b""][:2]
    return encoded if scheme.lower() == b"basic" else None


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
    """Return the scopes that are asked for; without any, all that the client has."""
    held = client.scopes.split()
    asked = (named or "").split()
    if not set(asked) <= set(held):
        fields = {"client_id": client.client_id, "reason": "scope not granted"}
        logs.log(logging.WARNING, "machine_client_refused", **fields)
        raise OAuthError("invalid_scope", _("The client does not have this scope."))
    return [scope for scope in held if scope in asked] if asked else held
