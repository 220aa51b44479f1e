"""Logout tokens: a provider says that a session of its own is over.

OpenID Connect Back-Channel Logout 1.0; the rules are those of its section 2.6, and each is
required here, the `typ` included.
"""

from collections.abc import Iterable

from allauth.socialaccount.providers.base import Provider
from django.db import transaction
from django.utils import timezone

from .. import policy, registry
from ..errors import UpstreamTokenRefused
from ..models import SpentToken
from . import ending, issuers, verifying
from .issuers import Issuer
from .verifying import LEEWAY, Message

EVENT = "http://schemas.openid.net/event/backchannel-logout"


def log_out(providers: Iterable[Provider], raw_token: object) -> int:
    """End the logins a logout token is about; return how many that were, 0 included.

    Raises `UpstreamTokenRefused` or `ProviderUnavailable`, and has ended nothing then.
    """
    message = verifying.read(raw_token, {"logout+jwt"})
    provider = verifying.addressee(message, providers)
    issuer = issuers.openid_issuer(_checked(message, provider))
    verifying.verify(message, issuer)
    return _act_once(provider, message, issuer)


@registry.retried
def _act_once(provider: Provider, message: Message, issuer: Issuer) -> int:
    name = ("logout_token", issuer.name, message.required_text("jti"))
    # Used up together with what comes of it: whatever goes wrong, a process that is killed
    # included, the provider may send it again.
    with transaction.atomic():
        if not SpentToken.objects.spend(*name, until=message.moment("exp") + LEEWAY):
            raise UpstreamTokenRefused("The token was used before.")
        return _end(provider, message)


def _checked(message: Message, provider: Provider) -> Provider:
    """Whatever needs no key: it costs a stranger more than us."""
    now = timezone.now()
    if policy.is_over(message.moment("exp") + LEEWAY, now):
        raise UpstreamTokenRefused("The token has expired.")
    if policy.is_ahead(message.moment("iat"), LEEWAY, now):
        raise UpstreamTokenRefused("The token is from the future.")
    if EVENT not in message.events():
        raise UpstreamTokenRefused("The event is another.")
    if "nonce" in message.claims:
        # This is how an ID token is told from a logout token (section 2.4).
        raise UpstreamTokenRefused("A logout token has no nonce.")
    if not message.text("sid") and not message.text("sub"):
        raise UpstreamTokenRefused("Both sid and sub are missing.")
    message.required_text("jti")
    return provider


def _end(provider: Provider, message: Message) -> int:
    sid, subject, issued_at = message.text("sid"), message.text("sub"), message.moment("iat")
    uids = ending.uids_of(provider, subject) if subject else None
    if sid:
        return ending.end_session(provider, sid, uids, issued_at)
    return ending.end_accounts(provider, uids or [], issued_at)
