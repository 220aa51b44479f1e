"""Ends what came from a provider's session: logins, authorization codes and pending logins."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from allauth.socialaccount.providers.base import Provider
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from .. import policy
from ..models import AuthorizationCode, EndReason, ExpiringMark, LoginSession
from ..registry import authentication_context, ending
from ..sessions import state as session_state

# How long the mark of an ended session or account is kept: longer than a login waits at a stage
# (`ACCOUNT_LOGIN_TIMEOUT`), and longer than an ID token is usually valid.
MARK_LIFETIME = timedelta(days=7)
# The kinds of marks: when we were told by our clock, and when the provider told by its clock.
ENDED, ISSUED = "ended_upstream", "ended_upstream_by_its_clock"

Names = Sequence[tuple[str, ...]]


def uids_of(provider: Provider, subject: str) -> list[str]:
    """Return the `uid` that allauth gives to the account of a provider's `sub`.

    That is the `sub` itself, unless the app's `uid_field` names a different claim. Then the
    `sub` is looked up in the provider's data of the account's last sign-in.
    """
    if provider.app.settings.get("uid_field", "sub") == "sub":
        return [subject]
    has_subject = (
        Q(extra_data__id_token__sub=subject)
        | Q(extra_data__userinfo__sub=subject)
        | Q(extra_data__sub=subject)
    )
    accounts = _accounts(provider).filter(has_subject).values_list("provider", "uid", "extra_data")
    return [
        uid for name, uid, data in accounts if name == provider.sub_id and _has_sub(data, subject)
    ]


def end_session(provider: Provider, sid: str, uids: list[str] | None, issued_at: datetime) -> int:
    """End what came from one session at the provider; with `uids`, only of these accounts.

    `issued_at` is when the provider issued its message, by its own clock.
    """
    lookup = {"provider": provider.sub_id, "provider_sid": sid}
    if uids is None:
        _set_marks(provider, [("sid", sid)], issued_at)
        return _end(lookup)
    _set_marks(provider, [("sid", sid, uid) for uid in uids], issued_at)
    return sum(_end({**lookup, "provider_uid": uid}) for uid in uids)


def end_accounts(provider: Provider, uids: list[str], issued_at: datetime) -> int:
    """End every login that was made with these accounts of the provider."""
    _set_marks(provider, [("uid", uid) for uid in uids], issued_at)
    return sum(_end({"provider": provider.sub_id, "provider_uid": uid}) for uid in uids)


def end_users(provider: Provider, uids: list[str], issued_at: datetime) -> int:
    """End every login of the users who have these accounts, however they signed in."""
    count = end_accounts(provider, uids, issued_at)
    for uid in uids:
        lookup = {"provider": provider.sub_id, "uid": uid}
        accounts = _accounts(provider).filter(pk__in=_exact_pks(_accounts(provider), lookup))
        for user in get_user_model()._base_manager.filter(pk__in=accounts.values("user")):
            count += ending.revoke_user(user, EndReason.UPSTREAM_LOGOUT)
    return count


def has_ended(request: HttpRequest, user: Any) -> bool:
    """Whether the provider has ended the session or the account of a login before it is made.

    The login may have waited at one of allauth's stages without a row that could be revoked,
    or the client may have waited before it presented the ID token.
    """
    records = authentication_context.records_of(request, user)
    latest = authentication_context.latest_social_record(records)
    if latest is None:
        return False
    uid, sid = str(latest["uid"]), authentication_context.provider_sid(request)
    names = [("uid", uid), *([("sid", sid), ("sid", sid, uid)] if sid else [])]
    ended_at = _latest(ENDED, latest["provider"], names)
    if ended_at and policy.has_begun_by(session_state.to_datetime(latest["at"]), ended_at):
        return True
    token_issued_at = authentication_context.provider_issued_at(request)
    if token_issued_at is None:
        return False
    # Both by the provider's clock, which may differ from ours and counts in seconds. A user who
    # signs in again in the second of the logout is accepted.
    logout_issued_at = _latest(ISSUED, latest["provider"], names)
    return bool(logout_issued_at and not policy.has_begun_by(logout_issued_at, token_issued_at))


def _accounts(provider: Provider) -> QuerySet[Any]:
    # Imported here, because the adapter imports this module without social accounts too.
    from allauth.socialaccount.models import SocialAccount

    return SocialAccount.objects.filter(provider=provider.sub_id)


def _end(lookup: dict[str, str]) -> int:
    codes = _exact_pks(AuthorizationCode.objects.all(), lookup)
    ending.cancel_authorization_codes(pk__in=codes)
    not_ended = LoginSession.objects.filter(ended_at=None)
    login_sessions = LoginSession.objects.filter(pk__in=_exact_pks(not_ended, lookup))
    return ending.revoke_all(login_sessions, EndReason.UPSTREAM_LOGOUT)


def _exact_pks(rows: QuerySet[Any], lookup: dict[str, str]) -> list[Any]:
    """Return the keys of the rows with these values, compared letter by letter.

    MariaDB's collations treat "A", "á" and "a " like "a", which may be different accounts.
    """
    found = _with_values(rows, lookup).values_list("pk", *lookup)
    return [pk for pk, *values in found if values == list(lookup.values())]


def _with_values(rows: QuerySet[Any], lookup: dict[str, str]) -> QuerySet[Any]:
    for name in lookup.keys() - {"provider"}:
        # The conditions of the indexes; SQLite uses them only for a query that repeats them. Not
        # that of the provider, or SQLite may choose its index, which leads to many more rows.
        rows = rows.exclude(**{name: ""})
    return rows.filter(**lookup)


def _has_sub(extra_data: Any, subject: str) -> bool:
    """Whether the data have this `sub`: as in `uids_of`, letter by letter for MariaDB."""
    sources = [extra_data, *(extra_data.get(name) for name in ("id_token", "userinfo"))]
    return any(isinstance(claims, dict) and claims.get("sub") == subject for claims in sources)


def _set_marks(provider: Provider, names: Names, issued_at: datetime) -> None:
    """Keep when something ended, by our clock and by the provider's."""
    moments = {ENDED: timezone.now(), ISSUED: issued_at.replace(microsecond=0)}
    for name in names:
        for kind, moment in moments.items():
            until = moment + MARK_LIFETIME
            ExpiringMark.objects.extend((kind, provider.sub_id, *name), until=until)


def _latest(kind: str, provider: str, names: Names) -> datetime | None:
    until = ExpiringMark.objects.latest_expiry(*((kind, provider, *name) for name in names))
    return None if until is None else until - MARK_LIFETIME
