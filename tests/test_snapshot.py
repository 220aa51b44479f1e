"""Access tokens validated without a query: by the snapshot, or by the signature alone."""

import logging
import os
import threading
import time
import uuid
from datetime import timedelta
from types import SimpleNamespace

import pytest
import requests
from django.contrib.auth import get_user_model
from django.db import OperationalError, connection
from django.db.models import QuerySet
from django.test import Client
from django.test.utils import override_settings
from django.urls import path
from django.utils import timezone
from rest_framework.decorators import api_view
from rest_framework.response import Response

from authmodes import registry, tokens
from authmodes.models import EndReason, LoginSession
from authmodes.tokens import snapshot as tokens_snapshot

from .support.logins import API, PASSWORD, call_with, post_json, refresh
from .support.processes import PATIENCE, serve
from .urls import urlpatterns as project_urlpatterns

INVALID = 'Bearer realm="api", error="invalid_token"'
INTERVAL = timedelta(milliseconds=50)
ID, NOTHING = "/probe/id/", "/probe/nothing/"

User = get_user_model()

# Not `override_settings`: the fixture `settings` is undone after such a decorator, and would put
# the decorator's settings back for the tests of other modules.
SNAPSHOT = pytest.mark.usefixtures("_by_snapshot")

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.test_snapshot"),
]


@api_view(["GET"])
def only_the_id(request):
    return Response({"pk": request.user.pk, "id": request.user.id, "sid": request.auth.sid})


@api_view(["GET"])
def nothing_of_the_user(request):
    return Response({"is_authenticated": request.user.is_authenticated})


@api_view(["GET"])
def much_of_the_user(request):
    user = request.user
    return Response(
        {
            "name": user.get_username(),
            "email": user.email,
            "staff": user.is_staff,
            "equal": user == User.objects.get(pk=user.pk),
            "text": str(user),
        }
    )


urlpatterns = [
    *project_urlpatterns,
    path("probe/id/", only_the_id),
    path("probe/nothing/", nothing_of_the_user),
    path("probe/much/", much_of_the_user),
]


@pytest.fixture(autouse=True)
def _stopped():
    tokens_snapshot.snapshot.stop()
    yield
    tokens_snapshot.snapshot.stop()
    assert "authmodes-snapshot" not in {thread.name for thread in threading.enumerate()}


@pytest.fixture
def _by_snapshot(settings):
    settings.AUTHMODES_ACCESS_TOKEN_CHECK = "snapshot"
    settings.AUTHMODES_SNAPSHOT_INTERVAL = INTERVAL


@pytest.fixture(params=["snapshot", "none"])
def check(request):
    with override_settings(
        AUTHMODES_ACCESS_TOKEN_CHECK=request.param, AUTHMODES_SNAPSHOT_INTERVAL=INTERVAL
    ):
        yield request.param


def eventually(condition):
    """Wait for the background thread.

    Not as long as AUTHMODES_SNAPSHOT_MAX_AGE, after which requests ask the database.
    """
    deadline = time.monotonic() + 25
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


def next_polls(count=2):
    """Wait until the thread has polled so often."""
    seen = []
    snapshot = tokens_snapshot.snapshot
    original = snapshot._poll

    def counted():
        original()
        seen.append(1)

    snapshot._poll = counted
    try:
        assert eventually(lambda: len(seen) >= count)
    finally:
        del snapshot._poll


def is_refused(used, path=ID):
    return call_with(used.access, path).status_code == 401


# -- what a request costs, and what it knows -----------------------------------------------


@pytest.mark.parametrize("where", [ID, NOTHING])
def test_a_request_that_asks_for_the_id_only_costs_no_query(
    where, check, login, alice, django_assert_num_queries
):
    # A poll in the middle of the count belongs to another connection, but the first one
    # is made by the first request.
    used = login("jwt")
    assert call_with(used.access, where).status_code == 200
    with django_assert_num_queries(0):
        for _ in range(20):
            response = call_with(used.access, where)
    if where == ID:
        assert response.json() == {"pk": alice.pk, "id": alice.pk, "sid": used.sid}


def test_the_row_is_loaded_once_at_the_first_use_of_anything_else(
    check, login, alice, django_assert_num_queries
):
    used = login("jwt")
    call_with(used.access, ID)
    with django_assert_num_queries(1):
        assert call_with(used.access).json() == {"username": "alice", "mode": "jwt"}
    # The second query is the view's own.
    with django_assert_num_queries(2):
        assert call_with(used.access, "/probe/much/").json() == {
            "name": "alice",
            "email": alice.email,
            "staff": False,
            "equal": True,
            "text": "alice",
        }


def test_a_promotion_is_seen_on_the_next_request(check, login, alice):
    used = login("jwt")
    assert call_with(used.access, "/probe/much/").json()["staff"] is False
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    assert call_with(used.access, "/probe/much/").json()["staff"] is True


def test_nothing_is_written_by_a_request(check, login):
    used = login("jwt")
    before = LoginSession.objects.values().get()
    for path_ in (ID, API, "/auth/user/"):
        assert call_with(used.access, path_).status_code == 200
    assert LoginSession.objects.values().get() == before


def test_our_own_endpoints_work_as_ever(check, login):
    used = login("jwt")
    assert call_with(used.access, "/auth/user/").json()["sid"] == used.sid
    (listed,) = call_with(used.access, "/auth/sessions/").json()["results"]
    assert listed["is_current"] is True
    assert used.refresh().status_code == 200
    assert used.delete(f"/auth/sessions/{used.sid}/").status_code == 204
    assert refresh(used.refresh_token).status_code == 401


def test_forgeries_are_refused_without_a_query(check, login, django_assert_num_queries):
    used = login("jwt")
    call_with(used.access, ID)
    with django_assert_num_queries(0):
        for bad in (used.access[:-8] + "AAAAAAAA", used.refresh_token, "a.b.c", ""):
            response = call_with(bad, ID)
            assert (response.status_code, response["WWW-Authenticate"]) == (401, INVALID)


# -- users who changed ---------------------------------------------------------------------


def delete(user):
    user.delete()


def disable_in_bulk(user):
    User.objects.filter(pk=user.pk).update(is_active=False)


@pytest.mark.parametrize("change", [delete, disable_in_bulk])
@pytest.mark.parametrize("where", [API, "/probe/much/", "/auth/user/"])
def test_a_user_who_is_gone_or_locked_is_401_when_loaded(change, where, check, login, alice):
    used = login("jwt")
    assert call_with(used.access, where).status_code == 200
    change(alice)
    response = call_with(used.access, where)
    assert response.status_code == 401
    assert response.json()["code"] in {"user_not_found", "user_inactive", "login_session_ended"}


@pytest.mark.parametrize("change", [delete, disable_in_bulk])
def test_a_user_who_is_gone_or_locked_is_no_500_for_a_renderer_that_shows_the_name(
    change, check, login, alice
):
    """DRF's browsable API greets the user, after the view has done without the row."""
    used = login("jwt")
    change(alice)
    headers = {"authorization": f"Bearer {used.access}", "accept": "text/html"}
    assert Client(raise_request_exception=False).get(ID, headers=headers).status_code < 500


@pytest.mark.parametrize("change", [delete, disable_in_bulk])
def test_that_401_says_that_the_token_is_what_is_wrong(change, check, login, alice):
    """RFC 6750, 3.1: `error="invalid_token"` when a token was sent."""
    used = login("jwt")
    change(alice)
    assert call_with(used.access)["WWW-Authenticate"] == INVALID


@SNAPSHOT
def test_a_user_who_is_locked_by_save_is_refused_even_where_the_row_is_not_loaded(login, alice):
    used = login("jwt")
    assert not is_refused(used)
    alice.is_active = False
    alice.save()
    assert eventually(lambda: is_refused(used))


@SNAPSHOT
def test_a_changed_password_is_refused_within_the_interval(login, alice):
    used = login("jwt")
    assert not is_refused(used)
    alice.set_password("another one")
    alice.save()
    assert eventually(lambda: is_refused(used))


# -- revocations ---------------------------------------------------------------------------


@SNAPSHOT
def test_a_revoked_login_is_refused_after_the_next_poll(login, monkeypatch):
    used, other = login("jwt"), login("jwt")
    assert not is_refused(used)
    registry.revoke(used.row)
    stopping, waits = tokens_snapshot.snapshot._stopping, []
    wait = stopping.wait
    monkeypatch.setattr(stopping, "wait", lambda seconds: waits.append(seconds) or wait(seconds))
    next_polls(2)
    assert is_refused(used)
    assert set(waits) == {INTERVAL.total_seconds()}
    response = call_with(used.access, ID)
    assert response.json()["code"] == "login_session_ended"
    assert response["WWW-Authenticate"] == INVALID
    assert not is_refused(other)


@SNAPSHOT
def test_a_login_revoked_before_the_first_request_is_refused_at_once(login):
    used = login("jwt")
    registry.revoke(used.row)
    assert is_refused(used)


@override_settings(AUTHMODES_ACCESS_TOKEN_CHECK="none")
def test_none_looks_at_nothing_but_the_token_itself(login, clock):
    used = login("jwt")
    registry.revoke(used.row)
    assert not is_refused(used)
    assert refresh(used.refresh_token).status_code == 401
    clock.shift(timedelta(minutes=5))
    assert is_refused(used)


@SNAPSHOT
@pytest.mark.parametrize("way", ["logout", "delete", "blacklist", "revoke", "reuse"])
def test_every_way_to_end_a_login_reaches_the_snapshot(way, login, settings):
    settings.AUTHMODES_REFRESH_GRACE = timedelta(0)
    used, other = login("jwt"), login("jwt")
    assert not is_refused(used)
    if way == "logout":
        used.logout()
    elif way == "delete":
        other.delete("/auth/sessions/")
    elif way == "blacklist":
        post_json("/auth/token/blacklist/", {"refresh": used.refresh_token})
    elif way == "revoke":
        post_json("/auth/token/revoke/", {"token": used.access})
    else:
        refresh(used.refresh_token)
        refresh(used.refresh_token)
    assert eventually(lambda: is_refused(used))
    assert not is_refused(other)


@SNAPSHOT
def test_switching_tokens_off_is_seen_at_once(login, settings):
    used = login("jwt")
    assert not is_refused(used)
    settings.AUTHMODES_MODE = "session"
    assert is_refused(used)


# -- late commits, wrong clocks, and forgetting --------------------------------------------


def ended_as_if(used, ago):
    """A row as a slow transaction, or a process whose clock is off, leaves it."""
    LoginSession.objects.filter(sid=used.sid).update(
        ended_at=timezone.now() - ago, end_reason="revoked"
    )


@SNAPSHOT
@pytest.mark.parametrize("seconds", [-2, 0, 2, 10, 30, 55, 65, 150, 299])
def test_a_late_commit_or_a_clock_that_is_off_is_covered(seconds, login):
    used = login("jwt")
    assert not is_refused(used)
    next_polls()
    ended_as_if(used, timedelta(seconds=seconds))
    assert eventually(lambda: is_refused(used))


@SNAPSHOT
def test_a_clock_that_steps_back_by_two_seconds_is_covered(login, clock):
    used = login("jwt")
    assert not is_refused(used)
    clock.shift(-timedelta(seconds=2))
    registry.revoke(used.row)
    tokens_snapshot.snapshot._poll()
    assert is_refused(used)


@SNAPSHOT
def test_an_entry_is_kept_as_long_as_its_access_token_and_then_removed(login, clock):
    used = login("jwt")
    assert not is_refused(used)
    registry.revoke(used.row)
    tokens_snapshot.snapshot._poll()
    clock.shift(timedelta(minutes=5))
    tokens_snapshot.snapshot._poll()
    # Its token has expired; clocks may disagree, so it is not removed to the second.
    assert uuid.UUID(used.sid) in tokens_snapshot.snapshot._ended
    clock.shift(timedelta(minutes=2))
    tokens_snapshot.snapshot._poll()
    assert tokens_snapshot.snapshot._ended == set()
    assert is_refused(used)


@SNAPSHOT
def test_leeway_keeps_an_entry_for_longer(login, clock, settings):
    settings.SIMPLE_JWT = {"LEEWAY": 300}
    used = login("jwt")
    assert not is_refused(used)
    registry.revoke(used.row)
    for _ in range(9):
        clock.shift(timedelta(minutes=1))
        tokens_snapshot.snapshot._poll()
        assert call_with(used.access, ID).json()["code"] == "login_session_ended"


@SNAPSHOT
def test_what_ended_long_ago_is_not_loaded(login, clock):
    old = login("jwt")
    registry.revoke(old.row)
    clock.shift(timedelta(hours=1))
    fresh = login("jwt")
    assert not is_refused(fresh)
    assert tokens_snapshot.snapshot._ended == set()


@SNAPSHOT
def test_a_login_that_was_seen_to_end_stays_refused_when_its_row_is_deleted(login, alice):
    used = login("jwt")
    registry.revoke(used.row)
    assert is_refused(used)
    alice.delete()
    next_polls()
    assert call_with(used.access, ID).json()["code"] == "login_session_ended"


@SNAPSHOT
def test_only_logins_with_tokens_that_did_not_merely_expire_are_read(login):
    revoked, expired, cookie = login("jwt"), login("jwt"), login("session")
    registry.revoke(revoked.row)
    registry.revoke(expired.row, EndReason.EXPIRED)
    registry.revoke(cookie.row)
    assert is_refused(revoked)
    assert tokens_snapshot.snapshot._ended == {uuid.UUID(revoked.sid)}


@SNAPSHOT
def test_a_poll_reads_no_row_again_and_new_ones_in_slices(
    login, monkeypatch, settings, django_assert_num_queries
):
    settings.AUTHMODES_SNAPSHOT_INTERVAL = timedelta(hours=1)
    monkeypatch.setattr(tokens_snapshot, "BATCH", 2)
    logins = [login("jwt") for _ in range(5)]
    assert not is_refused(logins[0])
    registry.revoke_all(LoginSession.objects.all())
    with django_assert_num_queries(1 + 3):
        tokens_snapshot.snapshot._poll()
    with django_assert_num_queries(1):
        tokens_snapshot.snapshot._poll()
    assert all(is_refused(used) for used in logins)


@SNAPSHOT
def test_no_poll_opens_a_server_side_cursor(login, monkeypatch):
    """PgBouncer's transaction pooling loses it between two statements."""

    def refuse(self, *args, **kwargs):
        raise AssertionError("a cursor on the server")

    used = login("jwt")
    registry.revoke(used.row)
    monkeypatch.setattr(QuerySet, "iterator", refuse)
    monkeypatch.setattr(connection, "chunked_cursor", refuse)
    assert is_refused(used)


# -- the database is away ------------------------------------------------------------------


class Away:
    """A database that the polls cannot reach while `is_away` is set."""

    def __init__(self, monkeypatch):
        self.is_away = False
        self.attempts = 0
        original = LoginSession.objects.filter

        def guarded(*args, **kwargs):
            if "ended_at__gte" in kwargs and self.is_away:
                self.attempts += 1
                raise OperationalError("server closed the connection unexpectedly")
            return original(*args, **kwargs)

        monkeypatch.setattr(LoginSession.objects, "filter", guarded)


def ours(caplog):
    """What the polls have logged."""
    return [record.levelname for record in caplog.records if record.module == "snapshot"]


@SNAPSHOT
def test_a_database_that_is_away_changes_nothing_and_is_reported_once(login, monkeypatch, caplog):
    revoked, valid, later = login("jwt"), login("jwt"), login("jwt")
    away = Away(monkeypatch)
    registry.revoke(revoked.row)
    assert is_refused(revoked)
    assert not is_refused(valid)

    with caplog.at_level(logging.INFO, "authmodes"):
        caplog.clear()
        away.is_away = True
        assert eventually(lambda: away.attempts >= 10)
        assert is_refused(revoked)
        assert not is_refused(valid)
        assert ours(caplog) == ["ERROR"]

        ended_as_if(later, timedelta(0))
        away.is_away = False
        # What ended in between is read afterwards.
        assert eventually(lambda: is_refused(later))
        next_polls()
        assert ours(caplog) == ["ERROR", "WARNING"]

        away.is_away = True
        assert eventually(lambda: ours(caplog) == ["ERROR", "WARNING", "ERROR"])
    assert is_refused(revoked)
    assert not is_refused(valid)


@SNAPSHOT
def test_a_poll_that_goes_on_failing_is_logged_every_minute(login, monkeypatch, settings, caplog):
    settings.AUTHMODES_SNAPSHOT_INTERVAL = timedelta(hours=1)
    used = login("jwt")
    assert not is_refused(used)
    away = Away(monkeypatch)
    away.is_away = True
    with caplog.at_level(logging.INFO, "authmodes"):
        for moment, count in ((0, 1), (59, 1), (60, 2), (119, 2), (120, 3)):
            clock = SimpleNamespace(monotonic=lambda moment=moment: moment)
            monkeypatch.setattr(tokens_snapshot, "time", clock)
            assert not tokens_snapshot.snapshot._try_poll()
            assert ours(caplog) == ["ERROR"] * count


@SNAPSHOT
def test_a_snapshot_that_is_too_old_is_not_believed(login, monkeypatch, settings):
    """A revoked token must not be accepted for as long as the polls fail."""
    revoked, valid = login("jwt"), login("jwt")
    assert not is_refused(revoked)
    away = Away(monkeypatch)
    away.is_away = True
    assert eventually(lambda: away.attempts >= 2)
    registry.revoke(revoked.row)
    assert not is_refused(revoked)
    settings.AUTHMODES_SNAPSHOT_MAX_AGE = timedelta(milliseconds=10)
    assert call_with(revoked.access, ID).json()["code"] == "login_session_ended"
    assert not is_refused(valid)


@SNAPSHOT
def test_a_request_is_503_where_neither_the_snapshot_nor_the_row_can_be_read(
    login, monkeypatch, settings
):
    used = login("jwt")
    assert not is_refused(used)
    away = Away(monkeypatch)
    away.is_away = True
    assert eventually(lambda: away.attempts >= 2)
    settings.AUTHMODES_SNAPSHOT_MAX_AGE = timedelta(milliseconds=10)

    def gone(*args, **kwargs):
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(LoginSession.objects, "for_credential", gone)
    response = call_with(used.access, ID)
    assert response.status_code == 503
    away.is_away = False
    # On a busy machine, no request would meet a snapshot of ten milliseconds.
    settings.AUTHMODES_SNAPSHOT_MAX_AGE = timedelta(seconds=30)
    assert eventually(lambda: call_with(used.access, ID).status_code == 200)


@SNAPSHOT
def test_the_age_of_the_snapshot_is_a_public_value(login, monkeypatch, clock):
    used = login("jwt")
    assert tokens.snapshot_age() is None
    assert not is_refused(used)
    away = Away(monkeypatch)
    away.is_away = True
    assert eventually(lambda: away.attempts >= 2)
    clock.shift(timedelta(minutes=3))
    assert timedelta(minutes=3) <= tokens.snapshot_age() < timedelta(minutes=4)


@SNAPSHOT
def test_an_outage_longer_than_the_overlap_is_caught_up_with(login, monkeypatch, clock):
    used, valid = login("jwt"), login("jwt")
    away = Away(monkeypatch)
    assert not is_refused(used)
    away.is_away = True
    assert eventually(lambda: away.attempts >= 2)
    registry.revoke(used.row)
    clock.shift(timedelta(minutes=4))
    away.is_away = False
    assert eventually(lambda: is_refused(used))
    assert not is_refused(valid)


@SNAPSHOT
def test_a_snapshot_that_cannot_be_loaded_admits_no_request(login, monkeypatch):
    """The first one of a process; nothing is known yet, so nothing may be taken for granted."""
    revoked = login("jwt")
    registry.revoke(revoked.row)
    away = Away(monkeypatch)
    away.is_away = True
    assert call_with(revoked.access, ID).status_code == 401
    away.is_away = False
    assert call_with(revoked.access, ID).status_code == 401


@SNAPSHOT
def test_a_thread_that_died_is_started_again(login, monkeypatch):
    """Else a process would accept revoked tokens until it is restarted."""
    used = login("jwt")
    assert not is_refused(used)
    snapshot = tokens_snapshot.snapshot
    snapshot._stopping.set()
    snapshot._thread.join()
    snapshot._stopping.clear()
    registry.revoke(used.row)
    assert eventually(lambda: is_refused(used))


# -- threads and processes -----------------------------------------------------------------


@SNAPSHOT
def test_many_first_requests_start_one_thread(login):
    used = login("jwt")
    barrier = threading.Barrier(8)
    results = []

    def ask():
        barrier.wait()
        results.append(tokens_snapshot.snapshot.has_ended(uuid.UUID(used.sid)))
        from django.db import connections

        connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [False] * 8
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("authmodes-snapshot") == 1


@SNAPSHOT
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_worker_starts_its_own(login):
    """It has the parent's copy, but threads do not survive a fork."""
    used = login("jwt")
    assert not is_refused(used)
    sid = uuid.UUID(used.sid)
    to_child, from_parent = os.pipe()
    to_parent, from_child = os.pipe()
    child = os.fork()
    if child == 0:
        # Nothing in here may reach pytest, whatever happens.
        answer = b"failed"
        try:
            from django.db import connections

            # A worker that shared its parent's connection would break both.
            for connection in connections.all(initialized_only=True):
                connection.inc_thread_sharing()
                connection.connection = None
            has_none = tokens_snapshot.snapshot._thread is None
            first = tokens_snapshot.snapshot.has_ended(sid)
            os.write(from_child, b"ready\n")
            os.read(to_child, 1)
            seen = eventually(lambda: tokens_snapshot.snapshot.has_ended(sid))
            answer = f"{has_none} {first} {seen}".encode()
        except BaseException as error:
            answer = repr(error).encode()
        finally:
            os.write(from_child, answer)
            os._exit(0)
    try:
        assert os.read(to_parent, 100) == b"ready\n"
        registry.revoke(used.row)
        os.write(from_parent, b"x")
        assert os.read(to_parent, 1000) == b"True False True"
    finally:
        os.waitpid(child, 0)
        for end in (to_child, from_parent, to_parent, from_child):
            os.close(end)
    assert eventually(lambda: is_refused(used))


def test_a_login_revoked_in_one_process_is_refused_by_the_other(db):
    User.objects.create_user("alice", "alice@example.com", PASSWORD)
    environment = {"AUTHMODES_ACCESS_TOKEN_CHECK": "snapshot", "AUTHMODES_SNAPSHOT_INTERVAL": "0.1"}
    body = {"username": "alice", "password": PASSWORD}
    with serve(2, **environment) as (one, other):
        pairs = [
            requests.post(f"{one}/auth/token/", body, timeout=PATIENCE).json() for _ in range(2)
        ]
        victim, owner = ({"Authorization": f"Bearer {pair['access']}"} for pair in pairs)

        def status(base, headers):
            return requests.get(f"{base}/auth/user/", headers=headers, timeout=PATIENCE).status_code

        assert [status(other, headers) for headers in (victim, owner)] == [200, 200]
        url = f"{one}/auth/sessions/{pairs[0]['sid']}/"
        assert requests.delete(url, headers=owner, timeout=PATIENCE).status_code == 204
        assert eventually(lambda: status(other, victim) == 401)
        assert eventually(lambda: status(one, victim) == 401)
        assert [status(base, owner) for base in (one, other)] == [200, 200]
