"""Security event tokens: a provider reports what happened to an account there.

RFC 8417 and RFC 8935, and the event types of RISC as Google's Cross-Account Protection sends
them (https://developers.google.com/identity/protocols/risc).
"""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from allauth.socialaccount.providers.base import Provider
from django.utils import timezone

from .. import logs, policy
from ..exceptions import UpstreamTokenRefused
from ..signin import issuers
from . import ending as upstream_ending
from . import verification
from .verification import LEEWAY, Message

# Events do not expire (RFC 8417, 2.2), so the `jti` of an older one would be kept for ever.
MAX_AGE = timedelta(days=7)
SCHEMA = "https://schemas.openid.net/secevent/"
VERIFICATION = f"{SCHEMA}risc/event-type/verification"
# An attacker may have held the account, and may have used it to sign in some other way.
ENDS_LOGINS_OF_USER = {
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
KIND = "security_event"
SUBJECT_TYPES = {"iss_sub", "id_token_claims"}


def receive(providers: Iterable[Provider], raw_token: object) -> int:
    """Do what a security event token asks for; return the number of logins that it ended.

    Raises `UpstreamTokenRefused` or `ProviderUnavailable`; then nothing has ended.
    """
    provider, message, subjects = _verified(providers, raw_token)
    issued_at = message.moment("iat")
    return verification.act_once(
        *(KIND, message, provider, issued_at + MAX_AGE + LEEWAY),
        lambda: sum(
            _act(provider, kind, event, subjects.get(kind), issued_at)
            for kind, event in message.events().items()
        ),
    )


def would_end(providers: Iterable[Provider], raw_token: object) -> bool:
    """Whether a token is genuine, not used yet, and about an account; raises as `receive`."""
    provider, message, subjects = _verified(providers, raw_token)
    return bool(subjects) and not verification.is_used(KIND, message, provider)


def _verified(
    providers: Iterable[Provider], raw_token: object
) -> tuple[Provider, Message, dict[str, str]]:
    """Verify a token; return its message, and the `sub` of each event in it that ends logins."""
    # Google sends no `typ` of its own for these tokens.
    message = verification.read(raw_token, {"secevent+jwt", "jwt", None})
    provider = verification.addressee(message, providers)
    verification.check_claims(message)
    if not policy.is_recent(message.moment("iat"), MAX_AGE, timezone.now()):
        raise UpstreamTokenRefused("The token is too old.")
    known = ENDS_LOGINS_OF_USER | ENDS_LOGINS_OF_ACCOUNT
    events = message.events()
    subjects = {kind: _subject(event, message) for kind, event in events.items() if kind in known}
    verification.verify(message, partial(issuers.transmitter_issuer, provider))
    return provider, message, subjects


def _subject(event: dict[str, Any], message: Message) -> str:
    """Return the `sub` of an event, which must be an account of the transmitter's own."""
    # Inside the event, as Google sends it, or beside the events (RFC 9493, 4.1).
    subject = event.get("subject") or message.claims.get("sub_id")
    if not isinstance(subject, dict):
        raise UpstreamTokenRefused("The subject is missing.")
    kind = str(subject.get("subject_type") or subject.get("format")).replace("-", "_")
    if kind not in SUBJECT_TYPES:
        raise UpstreamTokenRefused("The type of the subject is not supported.")
    # Google writes its issuer with a slash here and without one in ID tokens.
    if str(subject.get("iss")).rstrip("/") != str(message.claims.get("iss")).rstrip("/"):
        raise UpstreamTokenRefused("The subject has a different issuer.", "invalid_issuer")
    return verification.plain_text(subject.get("sub"), "sub")


def _act(
    provider: Provider, kind: str, event: dict[str, Any], subject: str | None, issued_at: datetime
) -> int:
    if subject is None:
        outcome = "verified" if kind == VERIFICATION else "ignored"
        fields = {"provider": provider.sub_id, "kind": kind[:200]}
        logs.log(logging.INFO, f"security_event_{outcome}", **fields)
        return 0
    is_hijacked = kind == ACCOUNT_DISABLED and event.get("reason") == "hijacking"
    ends_all = kind in ENDS_LOGINS_OF_USER or is_hijacked
    end = upstream_ending.end_users if ends_all else upstream_ending.end_accounts
    ended = end(provider, upstream_ending.uids_of(provider, subject), issued_at)
    fields = {"provider": provider.sub_id, "kind": kind, "count": ended}
    logs.log(logging.INFO, "security_event_accepted", **fields)
    return ended
