"""Verifies a provider's credential (a token, a code) and makes allauth's social login of it.

The social login says who the user is at the provider. allauth decides whether they may sign in.
"""

import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import jwt
from allauth.socialaccount import app_settings
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers.base import Provider, ProviderException
from allauth.socialaccount.providers.oauth2.client import OAuth2Client, OAuth2Error
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from requests import HTTPError, RequestException
from rest_framework.exceptions import APIException

from .. import logs
from ..exceptions import (
    AudienceUnverifiable,
    InvalidGrant,
    InvalidProviderToken,
    InvalidRedirectURI,
    ProviderTokenReplayed,
    ProviderUnavailable,
    UnsupportedCredential,
)
from . import authorization_code, id_tokens
from .allauth_internals import email_that_matched, verify_jti

if TYPE_CHECKING:
    from allauth.socialaccount.models import SocialLogin
    from allauth.socialaccount.providers.oauth2.views import OAuth2Adapter

# Their `verify_token` asks the provider which app an access token was issued to.
INSPECTS_ACCESS_TOKENS = {"facebook"}
# Their documentation says that a boolean may be the text "true".
SENDS_BOOLEANS_AS_TEXT = {"apple", "amazon_cognito"}
# The second is what Google's userinfo calls it.
VERIFIED_CLAIMS = ("email_verified", "verified_email")
# How providers refuse a code: RFC 6749, 5.2, GitHub and Facebook. allauth keeps the text of
# the response and not its status.
BAD_CODE = re.compile(
    "invalid_grant|invalid_request|unauthorized_client|bad_verification_code"
    "|redirect_uri_mismatch|OAuthException"
)

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Credential:
    """What a client got from a provider: a token or a code, and what belongs to it."""

    id_token: str = ""
    access_token: str = ""
    code: str = ""
    code_verifier: str = ""
    redirect_uri: str = ""
    nonce: str = ""

    @property
    def kind(self) -> str:
        # An access token beside an ID token is not verified, so it does not identify the user.
        return "id_token" if self.id_token else "code" if self.code else "access_token"


def supported(provider: Provider) -> list[str]:
    """Return the kinds of credentials whose audience can be checked with this provider.

    A code is supported only if the project says that the provider checks PKCE
    (`OAUTH_PKCE_ENABLED`). Otherwise a code that an attacker planted would be accepted
    (RFC 9700, 4.5).
    """
    from allauth.socialaccount.providers.oauth2.provider import OAuth2Provider

    kinds = ["id_token"] if provider.supports_token_authentication else []
    if provider.id in INSPECTS_ACCESS_TOKENS:
        kinds.append("access_token")
    if isinstance(provider, OAuth2Provider) and provider.get_pkce_params():
        adapter = getattr(provider, "oauth2_adapter_class", None)
        if adapter is not None and _sends_verifier(adapter):
            kinds.append("code")
    return kinds


@contextmanager
def verified(
    request: HttpRequest, provider: Provider, credential: Credential
) -> Iterator["SocialLogin"]:
    """Yield allauth's social login for a credential, which is used up unless the block raises.

    Raises `AuthenticationFailed` (the credential is invalid or used), `BadRequest` (its kind
    cannot be checked) or `ProviderUnavailable`.
    """
    _check_kind(provider, credential)
    if credential.kind == "code":
        yield _checked(_by_code(request, provider, credential))
    elif _is_single_use(provider, credential):
        with id_tokens.mark_as_used(credential.id_token) as claims:
            # What needs no key comes first: a forged token must not make us ask the provider.
            id_tokens.check_nonce(claims, credential.nonce)
            id_tokens.check_audience(claims, provider.app.client_id)
            login = _by_id_token(request, provider, credential.id_token, claims)
            try:
                yield _checked(login)
            except BaseException:
                id_tokens.clear_allauth_mark(claims)
                raise
    else:
        # Facebook's access token, which may be presented repeatedly, and the dummy's plain JSON.
        id_tokens.check_nonce({}, credential.nonce)
        kind = credential.kind
        token = _token(provider, **{kind: getattr(credential, kind)})
        yield _checked(_ask(provider, lambda: provider.verify_token(request, token)))


def accept(login: "SocialLogin", credential: Credential) -> None:
    """Apply the rules of `verified` to a credential that allauth has already verified itself.

    It stays used whatever becomes of the login. Raises as `verified` does.
    """
    provider: Provider = login.provider
    _check_kind(provider, credential)
    mark = mark_of(provider, credential)
    claims = id_tokens.read(credential.id_token)[0] if mark else {}
    id_tokens.check_nonce(claims, credential.nonce)
    if mark and not mark.set_once():
        raise ProviderTokenReplayed
    email = email_that_matched(_checked(login))
    if email and email not in [one.email for one in login.email_addresses if one.verified]:
        # allauth has found the user by an address whose verification is doubtful.
        raise InvalidProviderToken


def mark_of(provider: Provider, credential: Credential) -> id_tokens.IdTokenMark | None:
    """Return the mark of a credential that may be used once, None for other credentials."""
    if not _is_single_use(provider, credential):
        return None
    return id_tokens.mark_of(credential.id_token)


def _is_single_use(provider: Provider, credential: Credential) -> bool:
    return credential.kind == "id_token" and bool(provider.uses_apps)


def _check_kind(provider: Provider, credential: Credential) -> None:
    kinds = supported(provider)
    if credential.kind in kinds:
        return
    if credential.kind == "access_token":
        raise AudienceUnverifiable(kinds)
    raise UnsupportedCredential(kinds)


def _token(provider: Provider, **token: str) -> dict[str, str]:
    return {"client_id": provider.app.client_id, **token} if provider.uses_apps else token


def _by_id_token(
    request: HttpRequest, provider: Provider, id_token: str, claims: dict[str, Any]
) -> "SocialLogin":
    if _is_openid(provider):
        id_tokens.verify(provider, id_token)
        _ask(provider, lambda: verify_jti(claims))
        return _ask(provider, lambda: provider.sociallogin_from_response(request, claims))
    if "kid" not in jwt.get_unverified_header(id_token):
        # allauth's own providers all name their keys.
        raise InvalidProviderToken
    token = _token(provider, id_token=id_token)
    return _ask(provider, lambda: provider.verify_token(request, token))


def _is_openid(provider: Provider) -> bool:
    """Whether allauth's own code would verify an ID token with the discovery document's keys."""
    from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider

    its_own = getattr(type(provider), "verify_token", None)
    return its_own is OpenIDConnectProvider.verify_token


def _by_code(request: HttpRequest, provider: Any, credential: Credential) -> "SocialLogin":
    """Exchange a code as allauth's callback does, for the client that requested it."""
    if not authorization_code.is_allowed_redirect_uri(credential.redirect_uri):
        raise InvalidRedirectURI
    adapter: OAuth2Adapter = provider.get_oauth2_adapter(request)
    # While it is false, allauth checks the ID token's signature.
    adapter.did_fetch_access_token = _is_openid(provider)
    answer = _ask(provider, lambda: _exchange(adapter, request, provider.app, credential))
    login = _ask(provider, lambda: _login_of(adapter, request, provider.app, answer))
    claims: dict[str, Any] = {}
    # allauth ignores the ID tokens of other providers.
    if provider.supports_token_authentication and isinstance(answer.get("id_token"), str):
        claims, _expires_at = id_tokens.read(answer["id_token"])
        if _is_openid(provider):
            id_tokens.verify(provider, answer["id_token"])
    id_tokens.check_nonce(claims, credential.nonce)
    return login


def _exchange(adapter: Any, request: HttpRequest, app: Any, credential: Credential) -> Any:
    client = adapter.get_client(request, app)
    client.callback_url = credential.redirect_uri
    try:
        return client.get_access_token(credential.code, pkce_code_verifier=credential.code_verifier)
    except OAuth2Error as error:
        if BAD_CODE.search(str(error)):
            raise InvalidGrant(_("The provider does not accept the code.")) from None
        raise ProviderUnavailable from None


def _login_of(adapter: Any, request: HttpRequest, app: Any, answer: Any) -> "SocialLogin":
    token = adapter.parse_token(answer)
    if app.pk:
        token.app = app
    login = adapter.complete_login(request, app, token, response=answer)
    if app_settings.STORE_TOKENS:
        # Otherwise the token would be stored in the Django session of a pending login.
        login.token = token
    return login


def _sends_verifier(adapter: "type[OAuth2Adapter]") -> bool:
    """Whether allauth's own code exchanges the code, by POST; other code may drop the verifier."""
    from allauth.socialaccount.providers.oauth2.views import OAuth2Adapter

    exchange = adapter.get_access_token_data, adapter.client_class.get_access_token
    allauths = OAuth2Adapter.get_access_token_data, OAuth2Client.get_access_token
    return exchange == allauths and adapter.access_token_method == "POST"


def _ask(provider: Provider, question: Callable[[], Answer]) -> Answer:
    """Have allauth ask the provider, and turn its errors into ours."""
    try:
        return question()
    except APIException:
        raise
    except (
        *(ValidationError, OAuth2Error, RequestException, ProviderException),
        *(KeyError, AttributeError, TypeError, ValueError, RecursionError),
    ) as error:
        # From None: an error of HTTP quotes the URL, and Facebook's contains the token.
        raise _fault(provider, error) from None


def _fault(provider: Provider, error: BaseException) -> APIException:
    cause = error.__cause__ if isinstance(error, ValidationError) else error
    if isinstance(cause, HTTPError) and provider.id in INSPECTS_ACCESS_TOKENS:
        # The provider was asked about the token, and answers 400 to a malformed one.
        status = cause.response.status_code if cause.response is not None else 500
        if 400 <= status < 500:
            return InvalidProviderToken()
    # A malformed token is refused before, so it is the provider's answer that does not parse.
    # A TypeError means a key of the wrong type for the token's algorithm.
    unreadable = isinstance(cause, KeyError | AttributeError | ValueError)
    if isinstance(cause, RequestException) or (unreadable and provider.uses_apps):
        fields = {"provider": provider.sub_id, "error": type(cause).__name__}
        logs.log(logging.WARNING, "provider_failed", **fields)
        return ProviderUnavailable()
    return InvalidProviderToken()


def check_claims(login: "SocialLogin") -> None:
    """Check the claims of a social login, however it came. Raises `AuthenticationFailed`."""
    client_ids = login.provider.app.client_id if login.provider.uses_apps else ""
    id_tokens.check_profile(login.account.extra_data, client_ids)


def _checked(login: "SocialLogin") -> "SocialLogin":
    check_claims(login)
    return _tidied(login)


def _tidied(login: "SocialLogin") -> "SocialLogin":
    """Refuse text that a database cannot store, and unset doubtful verifications of addresses."""
    try:
        text = json.dumps(login.account.extra_data, ensure_ascii=False)
        storable = bool(text.encode()) and r"\u0000" not in text
    except (TypeError, ValueError):
        storable = False
    if not storable:
        raise InvalidProviderToken
    doubtful = _denies_verified_email(login)
    for address in login.email_addresses:
        # A project may trust a provider (`VERIFIED_EMAIL`) whatever its claims are.
        trusted = get_adapter().is_email_verified(login.provider, address.email)
        address.verified = trusted or (address.verified is True and not doubtful)
    return login


def _denies_verified_email(login: "SocialLogin") -> bool:
    """Whether a claim about the address is not JSON's `true` (OpenID Connect Core, 5.1).

    allauth also takes the text "true", and up to 65.21 took any text of Google and Yahoo.
    """
    extra = login.account.extra_data
    if login.provider.id in SENDS_BOOLEANS_AS_TEXT or not isinstance(extra, dict):
        return False
    # For a code, allauth's OpenID Connect provider keeps the two sources apart.
    sources = extra, extra.get("userinfo"), extra.get("id_token")
    return any(
        source.get(claim, True) is not True
        for source in sources
        if isinstance(source, dict)
        for claim in VERIFIED_CLAIMS
    )
