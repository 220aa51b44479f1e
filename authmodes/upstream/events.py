"""Security event tokens: a provider says that something happened to an account there.

RFC 8417 and RFC 8935, and the event types of RISC, as Google's Cross-Account Protection
sends them (https://developers.google.com/identity/protocols/risc).
"""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from allauth.socialaccount.providers.base import Provider
from django.db import transaction
from django.utils import timezone

from .. import policy
from ..exceptions import UpstreamTokenRefused
from ..models import ExpiringMark
from ..registry import transactions
from . import ending as upstream_ending
from . import issuers, verification
from .issuers import Issuer
from .verification import LEEWAY, Message

logger = logging.getLogger("authmodes")
# Events are history and do not expire (RFC 8417, 2.2); older ones would have to be told
# from replays for ever.
MAX_AGE = timedelta(days=7)
SCHEMA = "https://schemas.openid.net/secevent/"
VERIFICATION = f"{SCHEMA}risc/event-type/verification"
# The account may have been in the wrong hands, and with it every way in that it opens.
ENDS_EVERYTHING = {
    f"{SCHEMA}risc/event-type/sessions-revoked",
    f"{SCHEMA}oauth/event-type/tokens-revoked",
}
ACCOUNT_DISABLED = f"{SCHEMA}risc/event-type/account-disabled"
ENDS_LOGINS_OF_ACCOUNT = {
    ACCOUNT_DISABLED,
    f"{SCHEMA}risc/event-type/account-credential-change-required",
    f"{SCHEMA}risc/event-type/account-purged",
    f"{SCHEMA}caep/event-type/session-revoked",
}
SUBJECT_TYPES = {"iss_sub", "id_token_claims"}


def receive(providers: Iterable[Provider], raw_token: object) -> int:
    """Do what a security event token asks for; return how many logins that ended.

    Raises `UpstreamTokenRefused` or `ProviderUnavailable`, and has ended nothing then.
    """
    # Google sends no `typ` of its own; whoever does must mean this one.
    message = verification.read(raw_token, {"secevent+jwt", "jwt", None})
    provider = verification.addressee(message, providers)
    events = _checked(message)
    issuer = issuers.transmitter_issuer(provider)
    subjects = {kind: _subject(event, message, issuer) for kind, event in _known(events)}
    verification.verify(message, issuer)
    return _act_once(provider, message, issuer, subjects)


@transactions.retry_on_conflict
def _act_once(
    provider: Provider, message: Message, issuer: Issuer, subjects: dict[str, str]
) -> int:
    name = ("security_event", issuer.name, message.required_text("jti"))
    issued_at = message.moment("iat")
    # Used up together with what comes of it: whatever goes wrong, a process that is killed
    # included, the provider may send it again.
    with transaction.atomic():
        if not ExpiringMark.objects.set_once(*name, until=issued_at + MAX_AGE + LEEWAY):
            raise UpstreamTokenRefused("The token was used before.")
        return sum(
            _act(provider, kind, event, subjects.get(kind, ""), issued_at)
            for kind, event in message.events().items()
        )


def _checked(message: Message) -> dict[str, dict[str, Any]]:
    now, issued_at = timezone.now(), message.moment("iat")
    if policy.is_ahead(issued_at, LEEWAY, now):
        raise UpstreamTokenRefused("The token is from the future.")
    if not policy.is_recent(issued_at, MAX_AGE, now):
        raise UpstreamTokenRefused("The token is too old.")
    if "exp" in message.claims and policy.is_over(message.moment("exp") + LEEWAY, now):
        raise UpstreamTokenRefused("The token has expired.")
    if "nonce" in message.claims:
        # The mark of an ID token, whose `typ` may be the same (RFC 8417, 4.1).
        raise UpstreamTokenRefused("A security event token has no nonce.")
    message.required_text("jti")
    return message.events()


def _known(events: dict[str, dict[str, Any]]) -> Iterable[tuple[str, dict[str, Any]]]:
    known = ENDS_EVERYTHING | ENDS_LOGINS_OF_ACCOUNT
    return ((kind, event) for kind, event in events.items() if kind in known)


def _subject(event: dict[str, Any], message: Message, issuer: Issuer) -> str:
    """The `sub` an event is about, which must be one of the transmitter's own."""
    # In the event as Google has it, or beside the events (RFC 9493, 4.1).
    subject = event.get("subject") or message.claims.get("sub_id")
    if not isinstance(subject, dict):
        raise UpstreamTokenRefused("The subject is missing.")
    kind = str(subject.get("subject_type") or subject.get("format")).replace("-", "_")
    if kind not in SUBJECT_TYPES:
        raise UpstreamTokenRefused("The subject is of a kind that is not known.")
    # Google writes its issuer with a slash here and without one in ID tokens.
    if str(subject.get("iss")).rstrip("/") != issuer.name.rstrip("/"):
        raise UpstreamTokenRefused("The subject is another issuer's.", "invalid_issuer")
    return verification.plain_text(subject.get("sub"), "sub")


def _act(
    provider: Provider, kind: str, event: dict[str, Any], subject: str, issued_at: datetime
) -> int:
    is_hijacked = kind == ACCOUNT_DISABLED and event.get("reason") == "hijacking"
    if kind in ENDS_EVERYTHING or is_hijacked:
        ended = upstream_ending.end_users(
            provider, upstream_ending.uids_of(provider, subject), issued_at
        )
    elif kind in ENDS_LOGINS_OF_ACCOUNT:
        ended = upstream_ending.end_accounts(
            provider, upstream_ending.uids_of(provider, subject), issued_at
        )
    elif kind == VERIFICATION:
        logger.info("security events of %s arrive here: verified", provider.sub_id)
        return 0
    else:
        logger.info("security event of %s passed over: %.200r", provider.sub_id, kind)
        return 0
    logger.info("security event of %s ended %s logins: %s", provider.sub_id, ended, kind)
    return ended
