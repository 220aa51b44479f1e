"""What stays in the audit trail of a user who is deleted, or who asks to be forgotten."""

import io
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db.models import Q

from authmodes import registry
from authmodes.models import LoginEvent, LoginSession
from authmodes.registry import events

from .support.browser import Browser
from .support.logins import html_login
from .support.staff import finish, sign_in_to_admin

HOME, AWAY = "192.0.2.10", "198.51.100.7"


@pytest.fixture
def used(login: Any) -> Any:
    html_login(Browser(REMOTE_ADDR=HOME), "alice", "wrong")
    return login("jwt", browser=Browser(REMOTE_ADDR=HOME))


def what(**lookups: Any) -> list[tuple[str, str]]:
    return list(LoginEvent.objects.filter(**lookups).order_by("pk").values_list("kind", "code"))


HAPPENED = [("refused", "no_active_account"), ("started", ""), ("ended", "user_disabled")]


def test_of_a_deleted_user_the_id_stays_and_the_address_goes(used, alice, login, bob):
    login("jwt", user=bob, browser=Browser(REMOTE_ADDR=HOME))
    user_id = alice.pk
    alice.delete()
    assert what(user=user_id) == HAPPENED
    assert set(LoginEvent.objects.filter(user=user_id).values_list("ip_address", "username")) == {
        (None, "")
    }
    assert LoginEvent.objects.get(user=bob).ip_address == HOME


def test_of_a_deleted_administrator_the_address_goes_from_what_they_ended(used, admin_user, alice):
    staff = sign_in_to_admin(admin_user)
    staff.defaults["REMOTE_ADDR"] = AWAY
    staff.submit(f"/admin/authmodes/loginsession/{used.row.pk}/revoke/", {"post": "yes"})
    ended = LoginEvent.objects.get(user=alice, kind="ended")
    assert (ended.actor_id, ended.ip_address) == (admin_user.pk, AWAY)
    admin_user.delete()
    ended.refresh_from_db()
    assert (ended.user_id, ended.ip_address) == (alice.pk, None)


def test_a_project_may_keep_the_name_and_the_address_of_deleted_users(used, alice, settings):
    settings.AUTHMODES_EVENT_KEEP_IDENTITY = True
    assert LoginEvent.objects.filter(username="").count() == 2
    user_id = alice.pk
    alice.delete()
    found = LoginEvent.objects.filter(user=user_id, ip_address=HOME, username="alice")
    assert found.count() == 2


# -- the command ---------------------------------------------------------------------------


def erase(user: Any, *options: str) -> str:
    out = io.StringIO()
    call_command("erase_login_events", f"--user={user}", *options, stdout=out)
    return out.getvalue().strip()


def entry(actor: Any, model: Any, text: str, object_id: Any = None) -> LogEntry:
    return LogEntry.objects.create(
        user=actor,
        content_type=ContentType.objects.get_for_model(model),
        object_repr=text,
        object_id=object_id,
        action_flag=2,
    )


def test_one_person_is_erased_and_what_happened_stays(used, alice, bob, admin_user, login):
    login("jwt", user=bob, browser=Browser(REMOTE_ADDR=HOME))
    by_alice = login("session", user=bob).row
    registry.revoke(by_alice, by=alice)
    everyone = events.new_bulk(f"user={alice.pk}", by=admin_user)
    registry.revoke_all(LoginSession.objects.for_user(alice), by=admin_user, event=everyone)
    erased = [
        entry(admin_user, LoginSession, "Refresh token of alice"),
        entry(admin_user, LoginSession, "alice@example.com"),
        entry(admin_user, get_user_model(), "somebody", alice.pk),
    ]
    kept = [
        entry(admin_user, LoginSession, "malice", alice.pk),
        entry(admin_user, get_user_model(), "bob", bob.pk),
    ]
    before = what()
    assert erase("alice", "--dry-run") == "Would erase 4 login events, 3 log entries."
    assert LoginEvent.objects.filter(user=alice).exists()
    assert erase("alice") == "Erased 4 login events, 3 log entries."
    assert what() == before
    left = Q(user=alice.pk) | Q(actor=alice.pk) | Q(filter__contains="user")
    assert not LoginEvent.objects.filter(left).exists()
    assert not LoginEvent.objects.filter(sid=used.sid).exists()
    assert LoginEvent.objects.filter(ip_address=HOME).count() == 1
    assert set(LoginEvent.objects.filter(user=bob).values_list("kind", flat=True)) == {
        *("started", "ended")
    }
    for each in erased:
        each.refresh_from_db()
        assert (each.object_repr, each.object_id, each.user) == ("-", None, admin_user)
    for each, text in zip(kept, ("malice", "bob"), strict=True):
        each.refresh_from_db()
        assert each.object_repr == text
    assert erase("alice") == "Erased 0 login events, 0 log entries."


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("user={0}&provider=x", True),
        ("user__id__exact={0}&mode__exact=jwt", True),
        ("mode__exact=jwt&user__id__exact={0}", True),
        ("user=0,{0},9", True),
        ("user={0} before=2026-01-01", True),
        ("user={0}1", False),
        ("user=1{0}", False),
    ],
)
def test_no_filter_of_a_bulk_revocation_keeps_the_id(db, alice, query, names):
    event = events.new_bulk(query.format(alice.pk), by=None)
    event.save()
    erase("alice")
    event.refresh_from_db()
    assert (event.filter == "") is names


def test_the_log_of_the_admin_keeps_no_address_of_a_person(used, alice, admin_user):
    EmailAddress.objects.create(user=alice, email="second@example.com")
    named = [
        entry(admin_user, LoginSession, "All that match User: Alice@Example.com · Mode: token"),
        entry(admin_user, EmailAddress, "second@example.com"),
    ]
    staff = sign_in_to_admin(admin_user)
    url = f"/admin/authmodes/loginsession/revoke/?q={HOME}"
    finish(staff, staff.get(url), url)
    assert used.row.ended_by == admin_user
    erase("alice")
    assert not LogEntry.objects.filter(pk__in=[each.pk for each in named]).exclude(object_repr="-")
    assert not LogEntry.objects.filter(object_repr__contains=HOME).exists()
    assert LogEntry.objects.latest("pk").object_repr == "All that match Search: …"


def test_the_log_of_the_admin_keeps_no_name_that_only_the_project_gives(
    alice, admin_user, monkeypatch
):
    monkeypatch.setattr(type(alice), "__str__", lambda user: "Alice Liddell")
    entry(admin_user, LoginSession, "All that match User: Alice Liddell · Mode: token")
    assert erase("alice") == "Erased 0 login events, 1 log entries."


def test_a_user_who_was_deleted_is_erased_by_the_id(used, alice):
    user_id = alice.pk
    alice.delete()
    assert erase(user_id) == "Erased 3 login events, 0 log entries."
    assert what(user=None) == HAPPENED


def test_a_name_that_is_nobodys_is_an_error(db):
    with pytest.raises(CommandError, match="no such user"):
        erase("nobody")
