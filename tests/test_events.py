"""The audit trail: what is written when, and what it answers."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext, override_settings
from django.utils import timezone

from authmodes import registry
from authmodes.models import EndReason, LoginEvent, LoginSession, write_database
from authmodes.registry import events, pruning

from .support.authorization_code import CodeFlow
from .support.browser import Browser
from .support.logins import API, PASSWORD, admin_login, html_login, post_json, sign_in
from .support.staff import sign_in_to_admin

HOME, AWAY = "192.0.2.10", "198.51.100.7"


def trail(**lookups: Any) -> list[LoginEvent]:
    """The events, oldest first."""
    return list(LoginEvent.objects.filter(**lookups).order_by("pk"))


def kinds() -> list[tuple[str, str]]:
    return [(event.kind, event.code) for event in trail()]


@pytest.fixture
def from_home(login):
    """Sign alice in from HOME."""

    def make(mode, **kwargs):
        return login(mode, browser=Browser(REMOTE_ADDR=HOME), **kwargs)

    return make


# -- started -------------------------------------------------------------------------------


def test_a_login_is_an_event(mode, from_home, alice):
    used = from_home(mode)
    (event,) = trail()
    assert (event.kind, event.code, event.count) == ("started", "", 1)
    assert (event.user_id, str(event.sid), event.ip_address) == (alice.pk, used.sid, HOME)
    assert (event.mode, event.method, event.provider) == (mode, "password", "")
    assert (event.actor_id, event.actor_sid, event.filter) == (None, None, "")


@pytest.mark.parametrize("entry_point", ["page", "admin", "token", "code"])
def test_every_entry_point_makes_one(entry_point, alice_at_dummy):
    get_user_model().objects.filter(pk=alice_at_dummy.pk).update(is_staff=True, is_superuser=True)
    if entry_point == "page":
        html_login(Browser(), "alice")
    elif entry_point == "admin":
        admin_login(Browser(), "alice")
    elif entry_point == "token":
        post_json("/auth/token/", {"username": "alice", "password": PASSWORD})
    else:
        flow = CodeFlow()
        flow.run()
        assert trail() == []
        assert flow.exchange().status_code == 200
        assert trail()[0].provider == "dummy"
    (event,) = trail()
    assert (event.kind, event.sid) == ("started", LoginSession.objects.get().sid)


def test_a_refused_login_is_not_started(login, settings, alice):
    settings.AUTHMODES_MAX_LOGIN_SESSIONS, settings.AUTHMODES_LIMIT_POLICY = 1, "refuse"
    login("jwt")
    assert sign_in("jwt").status_code == 403
    assert [event.kind for event in trail() if event.kind == "started"] == ["started"]


def test_all_sign_ins_of_a_user_in_ninety_days(login, bob, alice, clock, settings):
    settings.AUTHMODES_ABSOLUTE_LIFETIME = timedelta(days=1)
    settings.AUTHMODES_RETENTION = timedelta(days=-1)
    login("jwt")
    clock.shift(timedelta(days=20))
    expected = [login("session").sid]
    login("session", user=bob)
    clock.shift(timedelta(days=80))
    expected.append(login("jwt").sid)
    registry.prune()
    assert LoginSession.objects.for_user(alice).count() == 1
    since = timezone.now() - timedelta(days=90)
    found = trail(user=alice, kind="started", created_at__gte=since)
    assert [str(event.sid) for event in found] == expected


# -- ended ---------------------------------------------------------------------------------


def test_who_ended_this_login_the_user_by_signing_out(mode, from_home):
    used = from_home(mode)
    used.browser.defaults["REMOTE_ADDR"] = AWAY
    used.logout()
    (event,) = trail(kind="ended", sid=used.sid)
    assert (event.code, event.ip_address) == ("logout", AWAY)
    assert (event.actor_id, str(event.actor_sid)) == (None, used.sid)
    assert (event.mode, event.method) == (mode, "password")


def test_who_ended_this_login_the_user_by_a_different_login(mode, from_home, login, alice):
    lost, used = from_home(mode), login(mode, browser=Browser(REMOTE_ADDR=AWAY))
    assert used.delete(f"/auth/sessions/{lost.sid}/").status_code == 204
    (event,) = trail(kind="ended", sid=lost.sid)
    assert (event.code, event.ip_address) == ("revoked_by_user", AWAY)
    assert (event.actor_id, str(event.actor_sid)) == (alice.pk, used.sid)


def test_who_ended_this_login_an_administrator(mode, from_home, admin_user):
    used, staff = from_home(mode), sign_in_to_admin(admin_user)
    own = LoginSession.objects.get(user=admin_user)
    staff.defaults["REMOTE_ADDR"] = AWAY
    staff.submit(f"/admin/authmodes/loginsession/{used.row.pk}/revoke/", {"post": "yes"})
    (event,) = trail(kind="ended", sid=used.sid)
    assert (event.user_id, event.code) == (used.row.user_id, "revoked")
    assert (event.actor_id, event.actor_sid, event.ip_address) == (admin_user.pk, own.sid, AWAY)


def test_code_without_a_request_is_nobody_from_nowhere(from_home):
    used = from_home("jwt")
    registry.revoke(used.row)
    (event,) = trail(kind="ended")
    assert (event.ip_address, event.actor_id, event.actor_sid) == (None, None, None)


def test_a_login_that_expires_makes_no_event(mode, login, clock, settings):
    settings.AUTHMODES_IDLE_TIMEOUT = timedelta(minutes=5)
    used = login(mode)
    clock.shift(timedelta(hours=1))
    assert used.get().status_code == 401
    registry.prune()
    assert used.row.end_reason == "expired"
    assert kinds() == [("started", "")]


def test_a_login_ends_once(login):
    used = login("jwt")
    assert registry.revoke(used.row)
    assert not registry.revoke(used.row)
    assert kinds() == [("started", ""), ("ended", "revoked")]


def test_an_end_and_its_event_are_committed_together(mode, login, monkeypatch):
    used = login(mode)

    def killed(*args, **kwargs):
        raise SystemExit

    monkeypatch.setattr(LoginEvent.objects, "bulk_create", killed)
    monkeypatch.setattr(events, "insert", killed)
    with pytest.raises(SystemExit):
        registry.revoke(used.row)
    assert used.row.ended_at is None
    with pytest.raises(SystemExit):
        sign_in(mode)
    assert LoginSession.objects.count() == 1
    assert Session.objects.count() == (1 if mode == "session" else 0)


def test_what_is_rolled_back_leaves_no_event(login):
    used = login("jwt")
    with transaction.atomic(using=write_database()):
        registry.revoke(used.row)
        assert len(trail(kind="ended")) == 1
        transaction.set_rollback(True, using=write_database())
    assert trail(kind="ended") == []


@pytest.mark.django_db(transaction=True)
def test_an_end_after_the_view_has_the_address_of_its_request(login, settings, atomic_requests):
    settings.AUTHMODES_BIND_IP = True
    used = login("jwt", browser=Browser(REMOTE_ADDR=HOME))
    assert used.get(API, REMOTE_ADDR=AWAY).status_code == 401
    (event,) = trail(kind="ended")
    assert (event.code, event.ip_address) == ("revoked", AWAY)


# -- reuse ---------------------------------------------------------------------------------


def test_who_presented_the_reused_token(from_home, clock):
    used = from_home("jwt")
    stolen = used.refresh_token
    assert used.refresh().status_code == 200
    clock.shift(timedelta(minutes=1))
    body = {"refresh": stolen}
    assert post_json("/auth/token/refresh/", body, REMOTE_ADDR=AWAY).status_code == 401
    assert kinds() == [("started", ""), ("reuse", "token_reused"), ("ended", "reuse")]
    (event,) = trail(kind="reuse")
    assert (str(event.sid), event.user_id) == (used.sid, used.row.user_id)
    assert (event.ip_address, event.created_at) == (AWAY, timezone.now())


# -- step-up -------------------------------------------------------------------------------


def test_a_reauthentication_is_an_event(alice):
    browser = Browser(REMOTE_ADDR=AWAY)
    html_login(browser, "alice")
    own = LoginSession.objects.get()
    browser.get("/accounts/reauthenticate/")
    browser.submit("/accounts/reauthenticate/", {"password": "wrong"})
    assert trail(kind="step_up") == []
    browser.submit("/accounts/reauthenticate/", {"password": PASSWORD})
    (event,) = trail(kind="step_up")
    assert (event.user_id, event.sid, event.actor_sid) == (alice.pk, own.sid, own.sid)
    assert (event.method, event.mode, event.ip_address) == ("password", "session", AWAY)


# -- bulk ----------------------------------------------------------------------------------


def test_a_bulk_revocation_is_one_event(login, admin_user, monkeypatch):
    monkeypatch.setattr("authmodes.registry.ending.BATCH", 2)
    for _ in range(5):
        login("jwt")
    event = events.new_bulk("mode=jwt", by=admin_user)
    assert registry.revoke_all(LoginSession.objects.all(), by=admin_user, event=event) == 5
    (stored,) = trail(kind="ended")
    assert (stored.pk, stored.count, stored.code) == (event.pk, 5, "revoked")
    assert (stored.filter, stored.actor_id) == ("mode=jwt", admin_user.pk)
    assert (stored.user_id, stored.sid) == (None, None)


def test_a_later_request_continues_a_bulk_revocation(login, admin_user):
    one, two = login("jwt").row, login("jwt").row
    event = events.new_bulk("mode=jwt", EndReason.REVOKED, by=admin_user)
    registry.revoke_all(LoginSession.objects.filter(pk=one.pk), by=admin_user, event=event)
    again = LoginEvent.objects.get(pk=event.pk)
    registry.revoke_all(LoginSession.objects.filter(pk=two.pk), by=admin_user, event=again)
    assert [stored.count for stored in trail(kind="ended")] == [2] == [again.count]


def test_a_bulk_revocation_counts_what_was_committed(login):
    one, two = login("jwt").row, login("jwt").row
    event = events.new_bulk("all")
    with transaction.atomic(using=write_database()):
        registry.revoke_all(LoginSession.objects.filter(pk=one.pk), event=event)
        transaction.set_rollback(True, using=write_database())
    assert trail(kind="ended") == []
    registry.revoke_all(LoginSession.objects.filter(pk=two.pk), event=event)
    assert [stored.count for stored in trail(kind="ended")] == [1]


def test_a_bulk_revocation_that_ends_nothing_is_no_event(db):
    assert registry.revoke_all(LoginSession.objects.all(), event=events.new_bulk("all")) == 0
    assert trail() == []


# -- cost, retention, deletion -------------------------------------------------------------


def statements(captured: CaptureQueriesContext) -> list[str]:
    return [query["sql"] for query in captured if "authmodes_loginevent" in query["sql"]]


def test_a_login_costs_one_insert_and_a_request_none(mode, login, clock):
    connection = connections[write_database()]
    with CaptureQueriesContext(connection) as captured:
        used = login(mode)
    assert [sql.split()[0] for sql in statements(captured)] == ["INSERT"]
    clock.shift(timedelta(minutes=2))
    with CaptureQueriesContext(connection) as captured:
        assert used.get().status_code == 200
        if mode == "jwt":
            assert used.refresh().status_code == 200
    assert statements(captured) == []
    with CaptureQueriesContext(connection) as captured:
        used.logout()
    assert [sql.split()[0] for sql in statements(captured)] == ["INSERT"]


def test_pruning_deletes_old_events_in_batches(login, clock, monkeypatch):
    monkeypatch.setattr(pruning, "BATCH", 2)
    for _ in range(5):
        login("jwt")
    clock.shift(timedelta(days=300))
    login("jwt")
    clock.shift(timedelta(days=70))
    with CaptureQueriesContext(connections[write_database()]) as captured:
        registry.prune()
    assert [sql.split()[0] for sql in statements(captured)].count("DELETE") == 3
    assert len(trail()) == 1
    with override_settings(AUTHMODES_EVENT_RETENTION=timedelta(days=60)):
        registry.prune()
    assert trail() == []


def test_the_id_of_a_deleted_user_stays(login, bob):
    used, user_id = login("jwt", user=bob), bob.pk
    bob.delete()
    found = trail(user_id=user_id)
    assert [(event.kind, event.code) for event in found] == [
        ("started", ""),
        ("ended", "user_disabled"),
    ]
    assert {str(event.sid) for event in found} == {used.sid}
    # `select_related` beside a filter by the user would make an inner join.
    assert LoginEvent.objects.filter(user=user_id).prefetch_related("user")[0].user is None
