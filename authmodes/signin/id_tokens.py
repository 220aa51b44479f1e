"""ID tokens of providers: what allauth does not check of them, and that each is used once."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import jwt
from allauth.socialaccount import app_settings
from allauth.socialaccount.providers.base import Provider
from django.core.cache import cache
from django.utils import timezone

from .. import policy
from ..exceptions import InvalidNonce, InvalidProviderToken, ProviderTokenReplayed
from ..models import ExpiringMark
from ..models.digests import digest_of
from ..sessions import state as session_state
from ..tokens.keys import ASYMMETRIC_ALGORITHMS
from . import issuers
from .allauth_internals import jti_cache_key

# Logout tokens and RFC 9068's access tokens have the same issuer and audience. Keycloak's
# tokens say in a claim what they are.
HEADER_TYPES = {"", "jwt", "id_token+jwt"}
FOREIGN_CLAIM_TYPES = {"bearer", "refresh", "offline", "logout"}
# The tolerated difference between the clocks of two machines.
LEEWAY = timedelta(seconds=60)


class IdTokenMark(NamedTuple):
    """What marks an ID token as used, here and at allauth; small enough for a Django session."""

    digest: str
    expires_at: float
    allauth_key: str

    def set_once(self) -> bool:
        """Mark the token as used; return False if it was marked already."""
        until = session_state.to_datetime(self.expires_at)
        return ExpiringMark.objects.set_once("id_token", self.digest, until=until)

    def set_everywhere(self) -> bool:
        """Mark it at allauth as well, which accepts ID tokens through headless."""
        seconds = int(self.expires_at - timezone.now().timestamp())
        cache.set(self.allauth_key, True, max(1, seconds))
        return self.set_once()


@contextmanager
def mark_as_used(id_token: str) -> Iterator[dict[str, Any]]:
    """Mark an ID token as used and yield its unverified claims; clear it if the block raises.

    The mark is set before the verification, so that of two simultaneous calls only one can
    end in a login. Raises `AuthenticationFailed`.
    """
    claims, _expires_at = read(id_token)
    mark = mark_of(id_token)
    if not mark.set_once():
        raise ProviderTokenReplayed
    try:
        yield claims
    except BaseException:
        ExpiringMark.objects.clear("id_token", mark.digest)
        raise


def mark_of(id_token: str) -> IdTokenMark:
    """Return the mark of an ID token, and do not set it. Raises `AuthenticationFailed`."""
    claims, expires_at = read(id_token)
    # The signature is left out, because an ECDSA token has many valid ones.
    digest = digest_of(f"{claims['iss']}\0{id_token.rpartition('.')[0]}")
    return IdTokenMark(digest, expires_at.timestamp(), jti_cache_key(claims))


def read(id_token: str) -> tuple[dict[str, Any], datetime]:
    """Return the unverified claims of an ID token, and when it expires.

    Checks what allauth does not: that it is an ID token, and that it expires.
    """
    try:
        header = jwt.get_unverified_header(id_token)
        claims = jwt.decode(id_token, options={"verify_signature": False})
        expires_at = session_state.to_datetime(claims["exp"])
    except (
        *(jwt.PyJWTError, KeyError, TypeError, ValueError, OverflowError, OSError),
        RecursionError,
    ):
        raise InvalidProviderToken from None
    if not _is_id_token(header, claims):
        raise InvalidProviderToken
    return claims, expires_at


def check_nonce(claims: dict[str, Any], nonce: str) -> None:
    """Compare the nonce of a token with the one that its client sends.

    A client that asked for a nonce must compare it, or it would accept a token that an
    attacker has planted. So a nonce in the token that the client does not send is refused too.
    """
    if (claims.get("nonce") or "") != nonce:
        raise InvalidNonce


def check_profile(extra_data: Any, client_ids: str) -> None:
    """Check the ID token in what allauth keeps of a social login, if there is one.

    allauth verifies it, but checks neither its `iat`, without which a logout at the provider
    could not be compared with it, nor that the UserInfo response is about the same subject.
    """
    claims = _claims_in(extra_data)
    if claims is None:
        return
    if not _has_id_token_claims(claims):
        raise InvalidProviderToken
    userinfo = extra_data.get("userinfo")
    if isinstance(userinfo, dict) and userinfo.get("sub") != claims["sub"]:
        # OpenID Connect Core, 5.3.2; allauth uses the userinfo's `sub` without comparing.
        raise InvalidProviderToken
    check_audience(claims, client_ids)


def check_audience(claims: dict[str, Any], client_ids: str) -> None:
    """Check that a token is for one of our clients, and with several audiences only for it."""
    named = claims.get("aud")
    audience = named if isinstance(named, list) else [named]
    # An app of Apple's has several client ids, separated by commas.
    ours = [client_id.strip() for client_id in client_ids.split(",")]
    if not any(client_id in audience for client_id in ours):
        raise InvalidProviderToken
    # OpenID Connect Core, 3.1.3.7: with several audiences, `azp` names the client.
    if len(audience) > 1 and claims.get("azp") not in ours:
        raise InvalidProviderToken


def verify(provider: Provider, id_token: str) -> None:
    """Verify issuer, validity and signature of a token of an OpenID Connect provider.

    allauth would fetch two documents for each token, genuine or not, and needs the `kid`.
    Raises `AuthenticationFailed` or `ProviderUnavailable`.
    """
    claims, expires_at = read(id_token)
    if policy.is_over(expires_at, timezone.now()) or not _is_past(claims.get("nbf", 0)):
        raise InvalidProviderToken
    try:
        issuer = issuers.openid_issuer(provider, claims["iss"])
        issuers.check_signature(id_token, jwt.get_unverified_header(id_token), issuer)
    except issuers.KeyRefused:
        raise InvalidProviderToken from None


def clear_allauth_mark(claims: dict[str, Any]) -> None:
    """Let allauth accept a token again that it has verified, because no login was made.

    Only after a verification that succeeded: a token that allauth refuses as used stays used.
    """
    cache.delete(jti_cache_key(claims))


def _claims_in(extra_data: Any) -> dict[str, Any] | None:
    """allauth's OpenID Connect provider keeps the claims apart for a code; others never do."""
    if not isinstance(extra_data, dict):
        return None
    id_token = extra_data.get("id_token")
    if isinstance(id_token, dict):
        return id_token
    return extra_data if {"iss", "aud", "exp"} <= extra_data.keys() else None


def _is_id_token(header: dict[str, Any], claims: dict[str, Any]) -> bool:
    return (
        str(header.get("alg")) in ASYMMETRIC_ALGORITHMS
        and isinstance(header.get("kid", ""), str)
        and "crit" not in header
        and str(header.get("typ") or "").lower() in HEADER_TYPES
        and _has_id_token_claims(claims)
    )


def _has_id_token_claims(claims: dict[str, Any]) -> bool:
    subject = claims.get("sub")
    return (
        str(claims.get("typ") or "").lower() not in FOREIGN_CLAIM_TYPES
        and "events" not in claims
        and isinstance(claims.get("iss"), str)
        and isinstance(subject, str)
        and 0 < len(subject) <= app_settings.UID_MAX_LENGTH
        and _is_past(claims.get("iat"))
    )


def _is_past(moment: Any) -> bool:
    """Whether a claim is a NumericDate (RFC 7519, 2) that is not ahead of our clock."""
    if isinstance(moment, bool) or not isinstance(moment, int | float):
        return False
    # Not as a datetime, which a huge number cannot become. Refuses NaN as well.
    return 0 <= moment <= (timezone.now() + LEEWAY).timestamp()
