"""Reads the authentication context from allauth's records and the provider's claims."""

from datetime import datetime
from inspect import signature
from typing import Any

from allauth.account import authentication
from django.http import HttpRequest
from django.utils import timezone

from ..models import AuthenticationContext
from ..sessions import state as session_state

# RFC 8176; "fed" is ours, because the RFC has no value for a federated login.
AMR = {
    "password": ["pwd"],
    "socialaccount": ["fed"],
    "code": ["otp"],
    "mfa:totp": ["otp", "mfa"],
    "mfa:webauthn": ["hwk", "mfa"],
    "mfa:recovery_codes": ["otp", "mfa"],
}
RECORDS_USER_KEY = "_authmodes_records_user"
PROVIDER_SID_KEY = "_authmodes_provider_sid"
PROVIDER_SID_MAX_LENGTH = 255
PROVIDER_IAT_KEY = "_authmodes_provider_iat"
PROVIDER_AUTH_TIME_KEY = "_authmodes_provider_auth_time"
YEAR_3000 = 32_503_680_000
# From allauth 65.21 on, its records belong to one user, and are returned for that user only.
NAMES_USER = "user" in signature(authentication.get_authentication_records).parameters


def records_of(request: HttpRequest, user: Any) -> list[dict[str, Any]]:
    """Return allauth's records of how a user authenticated in this Django session."""
    if NAMES_USER:
        return authentication.get_authentication_records(request, user)
    owner = request.session.get(RECORDS_USER_KEY, str(user.pk))
    return authentication.get_authentication_records(request) if owner == str(user.pk) else []


def drop_records_of_others(request: HttpRequest, user: Any) -> None:
    """Drop those of a login that was abandoned in this Django session, as allauth 65.21 does.

    Called when allauth has added a record.
    """
    if NAMES_USER:
        return
    if request.session.get(RECORDS_USER_KEY, str(user.pk)) != str(user.pk):
        key = authentication.AUTHENTICATION_METHODS_SESSION_KEY
        request.session[key] = request.session[key][-1:]
    request.session[RECORDS_USER_KEY] = str(user.pk)


def read_authentication_context(request: HttpRequest, user: Any) -> AuthenticationContext:
    """Read allauth's authentication records, oldest first.

    The first record names the method; a later one, such as that of a TOTP code, confirms it.
    A sign-in that allauth did not handle, such as the admin's form, has no records.
    """
    records = records_of(request, user)
    if not records:
        return AuthenticationContext()
    amr = [value for record in records for value in AMR.get(_kind(record), [])]
    social = latest_social_record(records) or {}
    return AuthenticationContext(
        method=records[0]["method"],
        provider=social.get("provider", ""),
        provider_uid=social.get("uid", ""),
        provider_sid=provider_sid(request) if social else "",
        amr=" ".join(dict.fromkeys(amr)),
        authenticated_at=_limited(request, records[-1], timezone.now()),
    )


def _kind(record: dict[str, Any]) -> str:
    return f"mfa:{record.get('type')}" if record["method"] == "mfa" else str(record["method"])


def latest_social_record(records: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the latest record of a provider; earlier ones are of unfinished sign-ins."""
    return next((r for r in reversed(records) if r["method"] == "socialaccount"), None)


def last_authenticated_at(request: HttpRequest, user: Any) -> datetime | None:
    """Return when the user last authenticated, by allauth's records; None without records."""
    records = records_of(request, user)
    moments = (_limited(request, each, session_state.to_datetime(each["at"])) for each in records)
    return max(moments, default=None)


def _limited(request: HttpRequest, record: dict[str, Any], moment: datetime) -> datetime:
    """Limit the moment of a record by the provider's `auth_time`.

    Single sign-on may prove no more than that a user authenticated there days ago.
    """
    auth_time = request.session.get(PROVIDER_AUTH_TIME_KEY)
    if record["method"] != "socialaccount" or auth_time is None:
        return moment
    return min(moment, session_state.to_datetime(auth_time))


def store_provider_session(request: HttpRequest, extra_data: dict[str, Any]) -> None:
    """Store `sid`, `iat` and `auth_time` of a social login's ID token in the Django session.

    `extra_data` is that of allauth's `SocialAccount`, empty for a login without a provider.
    """
    for key in (PROVIDER_SID_KEY, PROVIDER_IAT_KEY, PROVIDER_AUTH_TIME_KEY):
        request.session.pop(key, None)
    sid = _claims(extra_data).get("sid")
    if isinstance(sid, str) and 0 < len(sid) <= PROVIDER_SID_MAX_LENGTH:
        request.session[PROVIDER_SID_KEY] = sid
    for key, claim in ((PROVIDER_IAT_KEY, "iat"), (PROVIDER_AUTH_TIME_KEY, "auth_time")):
        moment = _moment(extra_data, claim)
        if moment is not None:
            request.session[key] = moment


def auth_time_of(extra_data: dict[str, Any]) -> float | None:
    """Return the `auth_time` of a social login's ID token; None without one."""
    return _moment(extra_data, "auth_time")


def _moment(extra_data: dict[str, Any], claim: str) -> float | None:
    moment = _claims(extra_data).get(claim)
    return moment if isinstance(moment, int | float) and 0 <= moment < YEAR_3000 else None


def _claims(extra_data: dict[str, Any]) -> dict[str, Any]:
    id_token = extra_data.get("id_token")
    return id_token if isinstance(id_token, dict) else extra_data


def provider_sid(request: HttpRequest) -> str:
    """Return the `sid` that `store_provider_session` stored; "" without one."""
    return str(request.session.get(PROVIDER_SID_KEY, ""))


def provider_issued_at(request: HttpRequest) -> datetime | None:
    """Return when the provider issued the ID token, by its own clock; None without one."""
    iat = request.session.get(PROVIDER_IAT_KEY)
    return None if iat is None else session_state.to_datetime(iat)
