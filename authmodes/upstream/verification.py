"""Verifies a signed message of a provider: cheap checks first, the signature last.

Nothing that the message says may have an effect until `verify()` has returned.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt
from allauth.socialaccount.providers.base import Provider
from django.db import transaction
from django.utils import timezone

from .. import policy
from ..exceptions import UpstreamTokenRefused
from ..models import ExpiringMark, write_database
from ..registry import transactions
from ..sessions import state as session_state
from ..signin import issuers
from ..signin.issuers import Issuer, KeyRefused
from ..tokens.keys import ASYMMETRIC_ALGORITHMS, COMPACT_JWS, MAX_LENGTH

# The tolerated difference between the clocks of two machines.
LEEWAY = timedelta(seconds=60)
TEXT_MAX_LENGTH = 255
YEAR_3000 = 32_503_680_000


@dataclass(frozen=True)
class Message:
    """A decoded token that is not verified yet."""

    raw: str
    header: dict[str, Any]
    claims: dict[str, Any]

    def text(self, claim: str) -> str:
        """Return a claim that is a text, "" if it is missing."""
        value = self.claims.get(claim)
        return "" if value is None else plain_text(value, claim)

    def required_text(self, claim: str) -> str:
        value = self.text(claim)
        if not value:
            raise UpstreamTokenRefused(f"The {claim} is missing.")
        return value

    def moment(self, claim: str) -> datetime:
        """Return a claim that is a NumericDate (RFC 7519, 2)."""
        value = self.claims.get(claim)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UpstreamTokenRefused(f"The {claim} is missing or not a number.")
        if not 0 <= value < YEAR_3000:  # Refuses NaN as well.
            raise UpstreamTokenRefused(f"The {claim} is out of range.")
        return session_state.to_datetime(value)

    def events(self) -> dict[str, dict[str, Any]]:
        """Return what happened, by event type (RFC 8417, 2.2)."""
        events = self.claims.get("events")
        if not isinstance(events, dict) or not events:
            raise UpstreamTokenRefused("The events are missing.")
        if not all(isinstance(event, dict) for event in events.values()):
            raise UpstreamTokenRefused("An event is not an object.")
        return events


def plain_text(value: Any, name: str) -> str:
    """Return a text that a database can store and look up."""
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_MAX_LENGTH:
        raise UpstreamTokenRefused(
            f"The {name} is not a text of 1 to {TEXT_MAX_LENGTH} characters."
        )
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise UpstreamTokenRefused(f"The {name} has invalid characters.")
    return value


def read(raw: Any, types: Collection[str | None]) -> Message:
    """Decode a token whose `typ` must be one of `types`; None stands for a token without one."""
    if not isinstance(raw, str) or len(raw) > MAX_LENGTH or not COMPACT_JWS.match(raw):
        raise UpstreamTokenRefused("This is not a signed token.")
    try:
        parts = jwt.api_jwt.decode_complete(raw, options={"verify_signature": False})
    # A payload may be nested thousands of times, or contain a number of thousands of digits.
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise UpstreamTokenRefused("This is not a signed token.") from error
    message = Message(raw, parts["header"], parts["payload"])
    typ = message.header.get("typ")
    if typ is not None:
        typ = str(typ).lower().removeprefix("application/")
    if typ not in types:
        raise UpstreamTokenRefused("Unexpected typ.")
    if "crit" in message.header:
        raise UpstreamTokenRefused("Critical header parameters are not supported.")
    if str(message.header.get("alg")) not in ASYMMETRIC_ALGORITHMS:
        raise UpstreamTokenRefused("The algorithm is not accepted.", "invalid_key")
    return message


def addressee(message: Message, providers: Iterable[Provider]) -> Provider:
    """Return the provider whose client the message is for, by `aud`."""
    named = message.claims.get("aud")
    audience = named if isinstance(named, list) else [named]
    for provider in providers:
        if provider.app.client_id and provider.app.client_id in audience:
            return provider
    raise UpstreamTokenRefused("The audience is wrong.", "invalid_audience")


def check_claims(message: Message) -> None:
    """Check what every token must have and what needs no key. Raises `UpstreamTokenRefused`."""
    now = timezone.now()
    if "exp" in message.claims and policy.is_over(message.moment("exp") + LEEWAY, now):
        raise UpstreamTokenRefused("The token has expired.")
    if policy.is_ahead(message.moment("iat"), LEEWAY, now):
        raise UpstreamTokenRefused("The token was issued in the future.")
    if "nonce" in message.claims:
        # An ID token, whose `typ` may be the same (Back-Channel Logout, 2.4; RFC 8417, 4.1).
        raise UpstreamTokenRefused("The token must not have a nonce.")
    message.required_text("jti")


def verify(message: Message, find_issuer: Callable[[Any], Issuer]) -> Issuer:
    """Check issuer and signature. Raises `UpstreamTokenRefused` or `ProviderUnavailable`."""
    try:
        issuer = find_issuer(message.claims.get("iss"))
    except KeyRefused as error:
        raise UpstreamTokenRefused(str(error), "invalid_issuer") from None
    try:
        issuers.check_signature(message.raw, message.header, issuer)
    except KeyRefused as error:
        raise UpstreamTokenRefused(str(error), "invalid_key") from None
    return issuer


@transactions.retry_on_conflict
def act_once(
    kind: str, message: Message, provider: Provider, until: datetime, act: Callable[[], int]
) -> int:
    """Mark a verified token as used and call `act`, in one transaction.

    After any failure, even of the process, the provider may send the token again.
    """
    name = _mark_name(kind, message, provider)
    with transaction.atomic(using=write_database()):
        if not ExpiringMark.objects.set_once(*name, until=until):
            raise UpstreamTokenRefused("The token was used before.")
        return act()


def is_used(kind: str, message: Message, provider: Provider) -> bool:
    name = _mark_name(kind, message, provider)
    return ExpiringMark.objects.latest_expiry(name) is not None


def _mark_name(kind: str, message: Message, provider: Provider) -> tuple[str, ...]:
    # By client as well: an issuer may send the same `jti` to each.
    return (kind, provider.sub_id, provider.app.client_id, message.required_text("jti"))
