"""Ends what came from a provider's session: logins, one-time codes, and logins under way."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from allauth.account import app_settings
from allauth.account.authentication import get_authentication_records
from allauth.socialaccount.providers.base import Provider
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from .. import client, memory, policy, registry
from ..models import EndReason, LoginSession, SpentToken


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
    accounts = _accounts(provider).filter(said)
    return list(accounts.values_list("uid", flat=True))


def end_session(provider: Provider, sid: str, uids: list[str] | None) -> int:
    """End what came from one session at the provider; of these accounts, unless None."""
    _note([(provider.sub_id, "sid", sid)])
    whose: dict[str, Any] = {"provider": provider.sub_id, "provider_sid": sid}
    return _end(whose if uids is None else {**whose, "provider_uid__in": uids})


def end_accounts(provider: Provider, uids: list[str]) -> int:
    """End every login that was made with these accounts of the provider."""
    _note((provider.sub_id, "uid", uid) for uid in uids)
    return _end({"provider": provider.sub_id, "provider_uid__in": uids})


def end_users(provider: Provider, uids: list[str]) -> int:
    """End every login of the users who have these accounts, however they signed in."""
    count = end_accounts(provider, uids)
    accounts = _accounts(provider).filter(uid__in=uids)
    for user in get_user_model()._base_manager.filter(pk__in=accounts.values("user")):
        count += registry.revoke_user(user, EndReason.UPSTREAM_LOGOUT)
    return count


def has_ended(request: HttpRequest, user: Any) -> bool:
    """Whether the provider has ended a login under way, since it was begun there.

    A login may wait at one of allauth's stages, for a second factor say, with nothing yet
    that could be revoked.
    """
    records = get_authentication_records(request, user)
    social = [record for record in records if record["method"] == "socialaccount"]
    if not social:
        return False
    latest = social[-1]
    begun_at = memory.moment_of(latest["at"])
    names = [(latest["provider"], "uid", latest["uid"])]
    if sid := client.provider_session(request):
        names.append((latest["provider"], "sid", sid))
    noted = (SpentToken.objects.spent_until("ended_upstream", *name) for name in names)
    return any(
        policy.has_begun_by(begun_at, until - _window()) for until in noted if until is not None
    )


def _accounts(provider: Provider) -> QuerySet[Any]:
    # Not above: the adapter, which reads this module, does without social accounts too.
    from allauth.socialaccount.models import SocialAccount

    return SocialAccount.objects.filter(provider=provider.sub_id)


def _end(whose: dict[str, Any]) -> int:
    registry.cancel_handoffs(**whose)
    return registry.revoke_all(LoginSession.objects.filter(**whose), EndReason.UPSTREAM_LOGOUT)


def _note(names: Iterable[tuple[str, str, str]]) -> None:
    """Remember, for as long as a login can be under way, what was ended just now."""
    until = timezone.now() + _window()
    for name in names:
        SpentToken.objects.give_back("ended_upstream", *name)
        SpentToken.objects.spend("ended_upstream", *name, until=until)


def _window() -> timedelta:
    # How long a login may wait at a stage (`ACCOUNT_LOGIN_TIMEOUT`).
    return timedelta(seconds=app_settings.LOGIN_TIMEOUT)
