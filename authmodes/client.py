"""What a request tells about its client and how the user signed in; labels, never proof."""

import ipaddress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.authentication import get_authentication_records
from allauth.core.internal.httpkit import is_headless_request
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.utils import timezone

from . import memory
from .models import USER_AGENT_MAX_LENGTH

# RFC 8176 where it has a word; "fed" is ours, it has none for a federated login.
AMR = {
    "password": ["pwd"],
    "socialaccount": ["fed"],
    "code": ["otp"],
    "mfa:totp": ["otp", "mfa"],
    "mfa:webauthn": ["hwk", "mfa"],
    "mfa:recovery_codes": ["otp", "mfa"],
}

PROVIDER_SID_KEY = "_authmodes_provider_sid"
PROVIDER_SID_MAX_LENGTH = 255
PROVIDER_IAT_KEY = "_authmodes_provider_iat"
YEAR_3000 = 32_503_680_000


@dataclass(frozen=True)
class Origin:
    """How and when a user signed in: fields of `LoginSession`, by name."""

    method: str = ""
    provider: str = ""
    provider_uid: str = ""
    provider_sid: str = ""
    amr: str = ""
    authenticated_at: datetime | None = field(default_factory=timezone.now)


def origin(request: HttpRequest, user: Any) -> Origin:
    """Read allauth's authentication records, oldest first.

    The first record names the method, because what follows it (a TOTP code, say) only
    confirms it. A sign-in that allauth did not handle, such as the admin's form, has none.
    """
    records = get_authentication_records(request, user)
    if not records:
        return Origin()
    amr: list[str] = []
    for record in records:
        amr += AMR.get(_kind(record), [])
    social = social_record(records) or {}
    return Origin(
        method=records[0]["method"],
        provider=social.get("provider", ""),
        provider_uid=social.get("uid", ""),
        provider_sid=provider_session(request) if social else "",
        amr=" ".join(dict.fromkeys(amr)),
    )


def social_record(records: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The latest by a provider; an earlier one is of a login that was not finished."""
    return next((r for r in reversed(records) if r["method"] == "socialaccount"), None)


def last_proof(request: HttpRequest, user: Any) -> datetime | None:
    """When the user last proved who they are, by allauth's records; None if there are none."""
    records = get_authentication_records(request, user)
    return max((memory.moment_of(record["at"]) for record in records), default=None)


def note_provider_session(request: HttpRequest, extra_data: dict[str, Any]) -> None:
    """Keep `sid` and `iat` of the ID token of a social login, until the login is done.

    `extra_data` is that of allauth's account, empty for a login without a provider.
    """
    for key in (PROVIDER_SID_KEY, PROVIDER_IAT_KEY):
        request.session.pop(key, None)
    id_token = extra_data.get("id_token")
    claims = id_token if isinstance(id_token, dict) else extra_data
    sid, iat = claims.get("sid"), claims.get("iat")
    if isinstance(sid, str) and 0 < len(sid) <= PROVIDER_SID_MAX_LENGTH:
        request.session[PROVIDER_SID_KEY] = sid
    if isinstance(iat, int | float) and 0 <= iat < YEAR_3000:
        request.session[PROVIDER_IAT_KEY] = iat


def provider_session(request: HttpRequest) -> str:
    """The `sid` that `note_provider_session` noted, "" for nothing."""
    return str(request.session.get(PROVIDER_SID_KEY, ""))


def provider_moment(request: HttpRequest) -> datetime | None:
    """When the provider issued the ID token of a login, by its own clock; None for nothing."""
    iat = request.session.get(PROVIDER_IAT_KEY)
    return None if iat is None else memory.moment_of(iat)


def is_headless(request: HttpRequest) -> bool:
    """Whether allauth.headless is handling the request, for either of its clients."""
    return is_headless_request(request) is not None


def is_app(request: HttpRequest) -> bool:
    """Whether the request is one of headless' client "app", which has no cookies."""
    # A private name of allauth's; a test fails when it moves.
    return is_headless_request(request) == "app"


def _kind(record: dict[str, Any]) -> str:
    return f"mfa:{record.get('type')}" if record["method"] == "mfa" else str(record["method"])


def ip_address(request: HttpRequest) -> str | None:
    """The client's address, in one spelling; None where nobody can tell."""
    told = told_ip(request)
    try:
        return str(parse_ip(told)) if told else None
    except ValueError:
        return None


def told_ip(request: HttpRequest) -> str | None:
    """Ask allauth, which knows the trusted proxies; an address may come in several spellings."""
    try:
        return get_adapter(request).get_client_ip(request)
    except PermissionDenied:
        return None


def parse_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """One address whichever way it is written. Raises `ValueError`.

    A server that listens on IPv6 alone sees IPv4 clients as `::ffff:192.0.2.10`. A zone
    (`fe80::1%eth0`) is a name of this machine's own, of any length.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def user_agent(request: HttpRequest) -> str:
    # Not `request.headers`, which looks through all there are.
    return request.META.get("HTTP_USER_AGENT", "")[:USER_AGENT_MAX_LENGTH].replace("\x00", "")
