"""Ends what came from a provider's session: logins, one-time codes, and logins under way."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from allauth.account.authentication import get_authentication_records
from allauth.socialaccount.providers.base import Provider
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from .. import policy
from ..models import AuthorizationCode, EndReason, ExpiringMark, LoginSession
from ..registry import authentication_context, ending
from ..sessions import state as session_state

# How long it is remembered that something has ended: longer than a login waits at a stage
# (`ACCOUNT_LOGIN_TIMEOUT`), or an ID token that nobody has presented yet is good for.
KEPT = timedelta(days=7)
ENDED, ISSUED = "ended_upstream", "ended_upstream_by_its_clock"


Names = Sequence[tuple[str, ...]]


def uids_of(provider: Provider, subject: str) -> list[str]:
    """What allauth calls the account of a provider's `sub`.

    That is the `sub` itself, unless the app's `uid_field` names another claim; then it is
    looked up in what the provider said when the account last signed in.
    """
    if provider.app.settings.get("uid_field", "sub") == "sub":
        return [subject]
    said = (
        Q(extra_data__id_token__sub=subject)
        | Q(extra_data__userinfo__sub=subject)
        | Q(extra_data__sub=subject)
    )
    accounts = _accounts(provider).filter(said).values_list("provider", "uid", "extra_data")
    return [uid for name, uid, data in accounts if name == provider.sub_id and _says(data, subject)]


def end_session(provider: Provider, sid: str, uids: list[str] | None, issued_at: datetime) -> int:
    """End what came from one session at the provider; of these accounts, unless None.

    `issued_at` is when the provider said so, by its own clock.
    """
    if uids is None:
        _note(provider, [("sid", sid)], issued_at)
        return _end({"provider": provider.sub_id, "provider_sid": sid})
    _note(provider, [("sid", sid, uid) for uid in uids], issued_at)
    whose = {"provider": provider.sub_id, "provider_sid": sid}
    return sum(_end({**whose, "provider_uid": uid}) for uid in uids)


def end_accounts(provider: Provider, uids: list[str], issued_at: datetime) -> int:
    """End every login that was made with these accounts of the provider."""
    _note(provider, [("uid", uid) for uid in uids], issued_at)
    return sum(_end({"provider": provider.sub_id, "provider_uid": uid}) for uid in uids)


def end_users(provider: Provider, uids: list[str], issued_at: datetime) -> int:
    """End every login of the users who have these accounts, however they signed in."""
    count = end_accounts(provider, uids, issued_at)
    for uid in uids:
        whose = {"provider": provider.sub_id, "uid": uid}
        accounts = _accounts(provider).filter(pk__in=_exactly(_accounts(provider), whose))
        for user in get_user_model()._base_manager.filter(pk__in=accounts.values("user")):
            count += ending.revoke_user(user, EndReason.UPSTREAM_LOGOUT)
    return count


def has_ended(request: HttpRequest, user: Any) -> bool:
    """Whether the provider has ended what a login that is about to be made is from.

    The login may have waited at one of allauth's stages, for a second factor say, with
    nothing yet that could be revoked; or its ID token with whoever presents it.
    """
    latest = authentication_context.latest_social_record(get_authentication_records(request, user))
    if latest is None:
        return False
    uid, sid = str(latest["uid"]), authentication_context.provider_sid(request)
    names = [("uid", uid), *([("sid", sid), ("sid", sid, uid)] if sid else [])]
    end = _noted(ENDED, latest["provider"], names)
    if end and policy.has_begun_by(session_state.to_datetime(latest["at"]), end):
        return True
    # Both by the provider's clock, however far that is from ours, and it counts in seconds:
    # who signs in again in the second of the logout is let in.
    end, issued_at = (
        _noted(ISSUED, latest["provider"], names),
        authentication_context.provider_issued_at(request),
    )
    return bool(end and issued_at and not policy.has_begun_by(end, issued_at))


def _accounts(provider: Provider) -> QuerySet[Any]:
    # Not above: the adapter, which reads this module, does without social accounts too.
    from allauth.socialaccount.models import SocialAccount

    return SocialAccount.objects.filter(provider=provider.sub_id)


def _end(whose: dict[str, str]) -> int:
    ending.cancel_authorization_codes(pk__in=_exactly(AuthorizationCode.objects.all(), whose))
    open_ones = LoginSession.objects.filter(ended_at=None)
    login_sessions = LoginSession.objects.filter(pk__in=_exactly(open_ones, whose))
    return ending.revoke_all(login_sessions, EndReason.UPSTREAM_LOGOUT)


def _exactly(rows: QuerySet[Any], whose: dict[str, str]) -> list[Any]:
    """The keys of the rows with these values, letter by letter.

    MariaDB's index takes "A" for "a", "e" for "é" and "a " for "a": somebody else's names.
    """
    found = rows.filter(**whose).values_list("pk", *whose)
    return [pk for pk, *values in found if values == list(whose.values())]


def _says(extra_data: Any, subject: str) -> bool:
    """The query of `uids_of` again, for MariaDB as well."""
    said = [extra_data, *(extra_data.get(name) for name in ("id_token", "userinfo"))]
    return any(isinstance(claims, dict) and claims.get("sub") == subject for claims in said)


def _note(provider: Provider, names: Names, issued_at: datetime) -> None:
    """Remember what has ended, by our clock and by the provider's."""
    moments = {ENDED: timezone.now(), ISSUED: issued_at.replace(microsecond=0)}
    for name in names:
        for kind, moment in moments.items():
            ExpiringMark.objects.extend(kind, provider.sub_id, *name, until=moment + KEPT)


def _noted(kind: str, provider: str, names: Names) -> datetime | None:
    until = ExpiringMark.objects.latest_expiry(*((kind, provider, *name) for name in names))
    return None if until is None else until - KEPT
