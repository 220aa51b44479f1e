"""What a request tells about its client and how the user signed in; labels, never proof."""

from dataclasses import dataclass
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.authentication import get_authentication_records
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

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


@dataclass(frozen=True)
class Origin:
    """How a user signed in: fields of `LoginSession`, by name."""

    method: str = ""
    provider: str = ""
    provider_uid: str = ""
    amr: str = ""


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
    social: dict[str, Any] = next((r for r in records if r["method"] == "socialaccount"), {})
    return Origin(
        method=records[0]["method"],
        provider=social.get("provider", ""),
        provider_uid=social.get("uid", ""),
        amr=" ".join(dict.fromkeys(amr)),
    )


def _kind(record: dict[str, Any]) -> str:
    return f"mfa:{record.get('type')}" if record["method"] == "mfa" else str(record["method"])


def ip_address(request: HttpRequest) -> str | None:
    """Ask allauth, which knows the trusted proxies; None where nobody can tell."""
    try:
        return get_adapter(request).get_client_ip(request)
    except PermissionDenied:
        return None


def user_agent(request: HttpRequest) -> str:
    return request.headers.get("user-agent", "")[:USER_AGENT_MAX_LENGTH].replace("\x00", "")
