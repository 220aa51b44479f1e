"""Judges a signed message of a provider: what is cheap first, the signature last.

Until `verify()` has returned, nothing that the message says may have an effect.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import jwt
from allauth.socialaccount.providers.base import Provider

from ..exceptions import UpstreamTokenRefused
from ..sessions import state as session_state
from ..tokens.keys import ASYMMETRIC_ALGORITHMS, COMPACT_JWS, MAX_LENGTH
from . import issuers
from .issuers import Issuer

# How far the clocks of two machines may be apart.
LEEWAY = timedelta(seconds=60)
TEXT_MAX_LENGTH = 255
YEAR_3000 = 32_503_680_000


@dataclass(frozen=True)
class Message:
    """A signed token taken apart, not verified yet."""

    raw: str
    header: dict[str, Any]
    claims: dict[str, Any]

    def text(self, claim: str) -> str:
        """A claim that is a text, "" where it is missing."""
        value = self.claims.get(claim)
        return "" if value is None else plain_text(value, claim)

    def required_text(self, claim: str) -> str:
        value = self.text(claim)
        if not value:
            raise UpstreamTokenRefused(f"The {claim} is missing.")
        return value

    def moment(self, claim: str) -> datetime:
        """A claim that is a NumericDate (RFC 7519, 2)."""
        value = self.claims.get(claim)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UpstreamTokenRefused(f"The {claim} is missing or no number.")
        if not 0 <= value < YEAR_3000:  # neither is NaN
            raise UpstreamTokenRefused(f"The {claim} is out of range.")
        return session_state.to_datetime(value)

    def events(self) -> dict[str, dict[str, Any]]:
        """What happened, by event type (RFC 8417, 2.2)."""
        events = self.claims.get("events")
        if not isinstance(events, dict) or not events:
            raise UpstreamTokenRefused("The events are missing.")
        if not all(isinstance(event, dict) for event in events.values()):
            raise UpstreamTokenRefused("An event is no object.")
        return events


def plain_text(value: Any, name: str) -> str:
    """A text that a column can hold and a query can be asked for."""
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_MAX_LENGTH:
        raise UpstreamTokenRefused(f"The {name} is no text of 1 to {TEXT_MAX_LENGTH} characters.")
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise UpstreamTokenRefused(f"The {name} has characters that no text has.")
    return value


def read(raw: Any, types: Collection[str | None]) -> Message:
    """Take a token apart whose `typ` must be one of `types`; None is a token without one."""
    if not isinstance(raw, str) or len(raw) > MAX_LENGTH or not COMPACT_JWS.match(raw):
        raise UpstreamTokenRefused("This is no signed token.")
    try:
        parts = jwt.api_jwt.decode_complete(raw, options={"verify_signature": False})
    # A payload may be nested by the thousand, or hold a number of as many digits.
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise UpstreamTokenRefused("This is no signed token.") from error
    message = Message(raw, parts["header"], parts["payload"])
    if _type(message) not in types:
        raise UpstreamTokenRefused("The typ is another.")
    if "crit" in message.header:
        raise UpstreamTokenRefused("There are critical header parameters, and none is known.")
    if str(message.header.get("alg")) not in ASYMMETRIC_ALGORITHMS:
        raise UpstreamTokenRefused("The algorithm is not accepted.", "invalid_key")
    return message


def addressee(message: Message, providers: Iterable[Provider]) -> Provider:
    """The provider whose client the message is for, by `aud`."""
    named = message.claims.get("aud")
    audience = named if isinstance(named, list) else [named]
    for provider in providers:
        if provider.app.client_id and provider.app.client_id in audience:
            return provider
    raise UpstreamTokenRefused("The audience is another.", "invalid_audience")


def verify(message: Message, issuer: Issuer) -> None:
    """Check issuer and signature. Raises `UpstreamTokenRefused` or `ProviderUnavailable`."""
    if message.claims.get("iss") != issuer.name:
        raise UpstreamTokenRefused("The issuer is another.", "invalid_issuer")
    algorithm = message.header["alg"]
    if issuer.algorithms is not None and algorithm not in issuer.algorithms:
        raise UpstreamTokenRefused("The provider does not use this algorithm.", "invalid_key")
    found = issuers.keys(issuer, partial(_fits, message))
    # A token that does not name its key can only be judged by an only key (RFC 7515, 4.1.4).
    if not found or ("kid" not in message.header and len(found) > 1):
        raise UpstreamTokenRefused("The key is not known.", "invalid_key")
    if not any(_is_signed(message, key) for key in found):
        raise UpstreamTokenRefused("The signature is wrong.", "invalid_key")


def _type(message: Message) -> str | None:
    value = message.header.get("typ")
    return None if value is None else str(value).lower().removeprefix("application/")


def _fits(message: Message, key: dict[str, Any]) -> bool:
    algorithm, kid = message.header["alg"], message.header.get("kid")
    return (
        key.get("kty") == ASYMMETRIC_ALGORITHMS[algorithm]
        and key.get("alg", algorithm) == algorithm
        and key.get("use", "sig") == "sig"
        and (kid is None or key.get("kid") == kid)
    )


def _is_signed(message: Message, key: dict[str, Any]) -> bool:
    algorithm = message.header["alg"]
    try:
        verifying = jwt.PyJWK(key, algorithm=algorithm).key
        jwt.PyJWS().decode(message.raw, verifying, algorithms=[algorithm])
    # A published key may be as broken as a signature.
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return False
    return True
