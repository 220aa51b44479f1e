"""ID tokens of providers, beside what allauth verifies: their kind, their nonce, and use once."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jwt
from allauth.socialaccount import app_settings
from django.core.cache import cache
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import AuthenticationFailed

from ..models import ExpiringMark
from ..sessions import state as session_state
from ..tokens.keys import ASYMMETRIC_ALGORITHMS

# Of the same issuer and audience there are logout tokens, RFC 9068's access tokens, and
# Keycloak's, which say in a claim what they are.
HEADER_TYPES = {"", "jwt", "id_token+jwt"}
FOREIGN_CLAIM_TYPES = {"bearer", "refresh", "offline", "logout"}


@dataclass(frozen=True)
class Receipt:
    """What an ID token is known by once it is used up, short enough for a Django session."""

    digest: str
    until: float
    allauth_key: str


@contextmanager
def used_once(id_token: str) -> Iterator[dict[str, Any]]:
    """Use an ID token up and give its claims, unverified; give it back if the block raises.

    Before the verification and not after, so that of two at once only one gets as far as a
    login. Raises `AuthenticationFailed`.
    """
    claims, _until = read(id_token)
    receipt = receipt_of(id_token)
    if not _spend(receipt):
        raise AuthenticationFailed(
            _("The provider's token was used already."), "provider_token_replayed"
        )
    try:
        yield claims
    except BaseException:
        ExpiringMark.objects.clear("id_token", receipt.digest)
        raise


def receipt_of(id_token: str) -> Receipt:
    """Raises `AuthenticationFailed` for what is no ID token."""
    claims, until = read(id_token)
    # Without the signature, of which an ECDSA token has many that fit. The issuer may hold
    # half of a surrogate pair, for nobody has verified it yet.
    text = f"{claims['iss']}\0{id_token.rpartition('.')[0]}".encode(errors="surrogatepass")
    return Receipt(hashlib.sha256(text).hexdigest(), until.timestamp(), _allauth_key(claims))


def use_up(receipt: Receipt) -> bool:
    """Use up a token that was given back, whose login was done elsewhere; False if it is used.

    For allauth, too, which has a memory of its own and takes ID tokens at headless' door.
    """
    now = timezone.now().timestamp()
    cache.set(receipt.allauth_key, True, max(1, int(receipt.until - now)))
    return _spend(receipt)


def _spend(receipt: Receipt) -> bool:
    until = session_state.to_datetime(receipt.until)
    return ExpiringMark.objects.set_once("id_token", receipt.digest, until=until)


def read(id_token: str) -> tuple[dict[str, Any], datetime]:
    """The claims of an ID token and when it expires, to be believed once it is verified.

    Checks what allauth does not: that it is an ID token at all, and that it expires.
    """
    try:
        header = jwt.get_unverified_header(id_token)
        claims = jwt.decode(id_token, options={"verify_signature": False})
        until = session_state.to_datetime(claims["exp"])
    except (
        *(jwt.PyJWTError, KeyError, TypeError, ValueError, OverflowError, OSError),
        RecursionError,
    ):
        raise invalid() from None
    if not _is_id_token(header, claims):
        raise invalid()
    return claims, until


def check(claims: dict[str, Any], client_ids: str, nonce: str) -> None:
    """Hold a verified token against what its client knows of it.

    A client that asked for a nonce must compare it, or a token planted on it is as good as
    its own; so a nonce in the token that the client does not name is refused as well.
    """
    if (claims.get("nonce") or "") != nonce:
        raise AuthenticationFailed(
            _("The nonce is not the one of the provider's token."), "invalid_nonce"
        )
    audience = claims.get("aud")
    # An app of Apple's has several, separated by commas.
    ours = [client_id.strip() for client_id in client_ids.split(",")]
    # OpenID Connect Core, 3.1.3.7: of several audiences, `azp` is whom it was issued to.
    if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") not in ours:
        raise invalid()


def forget_jti(claims: dict[str, Any]) -> None:
    """Let allauth accept a token again that it has verified, since nothing came of it.

    allauth notes each `jti` in the cache under a name of its own (`jwtkit.verify_jti`); a
    test fails when it moves. Only after a verification that succeeded: what allauth refuses
    as used already stays so.
    """
    cache.delete(_allauth_key(claims))


def _allauth_key(claims: dict[str, Any]) -> str:
    return f"jwt:iss={claims['iss']},jti={claims.get('jti')}"


def invalid() -> AuthenticationFailed:
    """One answer for every token that does not verify; why is nobody's business."""
    return AuthenticationFailed(
        _("The provider's token is not acceptable."), "invalid_provider_token"
    )


def _is_id_token(header: dict[str, Any], claims: dict[str, Any]) -> bool:
    subject = claims.get("sub")
    return (
        str(header.get("alg")) in ASYMMETRIC_ALGORITHMS
        and isinstance(header.get("kid"), str)
        and "crit" not in header
        and str(header.get("typ") or "").lower() in HEADER_TYPES
        and str(claims.get("typ") or "").lower() not in FOREIGN_CLAIM_TYPES
        and "events" not in claims
        and isinstance(claims.get("iss"), str)
        and isinstance(subject, str)
        and 0 < len(subject) <= app_settings.UID_MAX_LENGTH
    )
