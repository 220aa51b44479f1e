"""Fills the example site: its people and their past logins; safe to run again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import django

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from authmodes.models import LoginSession
    from example_project.people import Person

FIREFOX_UBUNTU = "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0"
FIREFOX_MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 14.6; rv:142.0) Gecko/20100101 Firefox/142.0"
SAFARI_IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15"
    " (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1"
)
SAFARI_MAC = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15"
    " (KHTML, like Gecko) Version/18.6 Safari/605.1.15"
)
CHROME_WINDOWS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36"
    " (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
)
CHROME_ANDROID = (
    "Mozilla/5.0 (Linux; Android 15; Pixel 8) AppleWebKit/537.36"
    " (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36"
)
EDGE_WINDOWS = f"{CHROME_WINDOWS} Edg/140.0.0.0"
COMMAND_LINE = "example-cli/1.4.2"


@dataclass(frozen=True, slots=True)
class Past:
    """One login that happened before the demo began; times count back from now."""

    username: str
    mode: str
    user_agent: str
    ip_address: str
    began: timedelta
    seen: timedelta
    method: str = "socialaccount"
    end_reason: str = ""
    ended_by: str = ""


def ago(days: float = 0, hours: float = 0, minutes: float = 0) -> timedelta:
    """Say how long before now."""
    return timedelta(days=days, hours=hours, minutes=minutes)


# Addresses from the ranges kept for documentation (RFC 5737, RFC 3849).
PAST = (
    Past("alice", "session", FIREFOX_UBUNTU, "203.0.113.24", ago(6), ago(hours=3)),
    Past("alice", "jwt", SAFARI_IPHONE, "2001:db8:4c1::7", ago(2), ago(minutes=24)),
    Past(
        "alice", "jwt", CHROME_ANDROID, "198.51.100.61", ago(19), ago(12),
        end_reason="revoked_by_user", ended_by="alice",
    ),
    Past(
        "alice", "jwt", COMMAND_LINE, "192.0.2.180", ago(9), ago(8, 4),
        method="password", end_reason="reuse",
    ),
    Past(
        "alice", "session", CHROME_WINDOWS, "203.0.113.24", ago(44), ago(14),
        end_reason="expired",
    ),
    Past(
        "bob", "session", EDGE_WINDOWS, "198.51.100.12", ago(1, 2), ago(minutes=51),
        method="password",
    ),
    Past("bob", "jwt", CHROME_ANDROID, "2001:db8:9a::31", ago(4), ago(hours=9)),
    Past("bob", "session", SAFARI_MAC, "198.51.100.12", ago(16), ago(15), end_reason="logout"),
    Past(
        "bob", "jwt", COMMAND_LINE, "192.0.2.77", ago(23), ago(22),
        method="password", end_reason="revoked", ended_by="admin",
    ),
    Past(
        "admin", "session", FIREFOX_MAC, "203.0.113.5", ago(3), ago(2, 22),
        method="", end_reason="logout",
    ),
)  # fmt: skip


def main() -> None:
    """Bring the database up to date and write what the demo needs into it."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "example_project.settings"
    django.setup()
    from django.core.management import call_command

    from example_project.people import SITE_PEOPLE

    call_command("migrate", verbosity=0)
    users = {person.username: seed_person(person) for person in SITE_PEOPLE}
    seed_past(users)


def seed_person(person: Person) -> User:
    """Make one user with a verified address, and the account at the provider, if there is one."""
    from allauth.account.models import EmailAddress
    from allauth.socialaccount.models import SocialAccount
    from django.contrib.auth.models import User

    from example_project.environment import OIDC_PROVIDER_ID

    user, _ = User.objects.update_or_create(
        username=person.username,
        defaults={
            "email": person.email,
            "first_name": person.first_name,
            "last_name": person.last_name,
            "is_active": True,
            "is_staff": person.is_admin,
            "is_superuser": person.is_admin,
        },
    )
    # Only if it differs: a new hash would sign the user out.
    if not user.check_password(person.password):
        user.set_password(person.password)
        user.save()
    EmailAddress.objects.update_or_create(
        user=user, email=person.email, defaults={"verified": True, "primary": True}
    )
    if person.subject is not None:
        SocialAccount.objects.update_or_create(
            provider=OIDC_PROVIDER_ID, uid=str(person.subject), defaults={"user": user}
        )
    return user


def seed_past(users: dict[str, User]) -> None:
    """Add past logins of users that have none yet, so that a second run adds nothing."""
    from authmodes.models import LoginSession

    have_a_past = set(LoginSession.objects.values_list("user__username", flat=True))
    # Oldest first, so that ids grow with time, as on a real site.
    for past in sorted(PAST, key=lambda past: past.began, reverse=True):
        if past.username not in have_a_past:
            replay(past, users)


def replay(past: Past, users: dict[str, User]) -> None:
    """Start one login session as the site would, then move it into the past."""
    from django.contrib.sessions.backends.db import SessionStore
    from django.test import RequestFactory

    from authmodes import registry
    from authmodes.models import AuthenticationContext
    from example_project.environment import OIDC_PROVIDER_ID
    from example_project.people import SITE_PEOPLE

    user = users[past.username]
    request = RequestFactory().get(
        "/", REMOTE_ADDR=past.ip_address, headers={"user-agent": past.user_agent}
    )
    request.user, request.session = user, SessionStore()
    social = past.method == "socialaccount"
    subject = next(str(p.subject) for p in SITE_PEOPLE if p.username == past.username)
    login_session = registry.start(
        request,
        user,
        past.mode,
        authentication_context=AuthenticationContext(
            method=past.method,
            provider=OIDC_PROVIDER_ID if social else "",
            provider_uid=subject if social else "",
        ),
    )
    if past.end_reason:
        registry.revoke(login_session, past.end_reason, by=users.get(past.ended_by))
    backdate(login_session, past)


def backdate(login_session: LoginSession, past: Past) -> None:
    """Move a login session into the past.

    Only the registry writes these rows, and it never writes times in the past. This seed
    invents the times and nothing else.
    """
    from django.utils import timezone

    from authmodes.models import LoginSession

    now = timezone.now()
    created_at, last_seen_at = now - past.began, now - past.seen
    lifetime = login_session.expires_at - login_session.created_at
    times: dict[str, datetime] = {
        "created_at": created_at,
        "last_seen_at": last_seen_at,
        "expires_at": created_at + lifetime,
    }
    if past.end_reason:
        times["ended_at"] = min(last_seen_at + timedelta(minutes=2), created_at + lifetime)
    if past.mode == "jwt":
        times["rotated_at"] = last_seen_at
    LoginSession.objects.filter(pk=login_session.pk).update(**times)
    if token := login_session.refresh_token:
        token.created_at, token.expires_at = last_seen_at, created_at + lifetime
        token.save()


if __name__ == "__main__":
    main()
