"""Refresh tokens: single use, the grace, and what reuse does."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import connections
from django.http import HttpRequest
from django.test.utils import CaptureQueriesContext, override_settings
from django.urls import path
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.views import TokenRefreshView

from authmodes import registry
from authmodes.api.serializers import TokenRefreshSerializer
from authmodes.models import LoginSession
from authmodes.signals import refresh_token_reused

from .support.database import connection
from .support.logins import call_with, only_row, post_json, refresh
from .support.tokens import claims_of
from .urls import urlpatterns as project_urlpatterns

SECOND = timedelta(seconds=1)
STRICT = override_settings(AUTHMODES_REFRESH_GRACE=timedelta(0))

# A project that keeps simplejwt's routes and names our serializers in SIMPLE_JWT.
urlpatterns = [
    *project_urlpatterns,
    path(
        "simplejwt/refresh/",
        TokenRefreshView.as_view(serializer_class=TokenRefreshSerializer),
    ),
]


def successor_of(raw_token):
    response = refresh(raw_token)
    assert response.status_code == 200, response.content
    return response.json()["refresh"]


def assert_family_is_dead(login, *raw_tokens, reason="reuse"):
    for raw_token in raw_tokens:
        assert refresh(raw_token).status_code == 401
    assert call_with(login.access).status_code == 401
    assert login.row.end_reason == reason
    assert BlacklistedToken.objects.filter(token=login.row.refresh_token).exists()


# -- the plain case ------------------------------------------------------------------------


def test_a_refresh_answers_with_a_new_pair(login, clock):
    used = login("jwt")
    clock.shift(SECOND)
    answer = refresh(used.refresh_token).json()
    assert answer["sid"] == used.sid
    assert answer["mode"] == "jwt"
    assert answer["user"]["username"] == "alice"
    assert answer["refresh"] != used.refresh_token
    assert claims_of(answer["access"])["jti"] != claims_of(used.access)["jti"]
    assert call_with(answer["access"]).status_code == 200
    assert call_with(used.access).status_code == 200


def test_a_chain_of_refreshes_works(login, clock):
    used = login("jwt")
    seen = {used.refresh_token}
    for _ in range(20):
        clock.shift(timedelta(minutes=4))
        assert used.refresh().status_code == 200
        assert used.get().status_code == 200
        seen.add(used.refresh_token)
    assert len(seen) == 21


def test_rows_do_not_grow_with_refreshes(login, clock):
    used = login("jwt")
    for _ in range(30):
        clock.shift(timedelta(minutes=1))
        used.refresh()
    assert LoginSession.objects.count() == 1
    assert OutstandingToken.objects.count() == 1
    assert BlacklistedToken.objects.count() == 0


def test_a_refresh_is_one_read_and_one_write_and_no_transaction(login, clock):
    used = login("jwt")
    clock.shift(timedelta(seconds=1))
    with CaptureQueriesContext(connection) as captured:
        assert used.refresh().status_code == 200
    assert [query["sql"].partition(" ")[0] for query in captured] == ["SELECT", "UPDATE"]


def test_no_token_rests_in_the_database(login, clock):
    used = login("jwt")
    for _ in range(3):
        clock.shift(SECOND)
        used.refresh()
    assert OutstandingToken.objects.get().token == ""
    dump = str(list(LoginSession.objects.values())) + str(list(OutstandingToken.objects.values()))
    assert used.refresh_token.split(".")[2] not in dump
    # What does rest there is no credential.
    for value in (used.row.previous_jti, used.row.current_jti, used.row.auth_hash):
        assert refresh(value).status_code == 401


def test_exp_never_moves(login, clock):
    used = login("jwt")
    first = claims_of(used.refresh_token)["exp"]
    assert first == int(used.row.expires_at.timestamp())
    for _ in range(5):
        clock.shift(timedelta(hours=12))
        assert used.refresh().status_code == 200
        assert claims_of(used.refresh_token)["exp"] == first
        assert claims_of(used.refresh_token)["auth_time"] == claims_of(used.access)["auth_time"]


def test_activity_does_not_extend_the_absolute_lifetime(login, clock):
    used = login("jwt")
    for _ in range(60):
        clock.shift(timedelta(hours=11))
        assert used.refresh().status_code == 200
    clock.shift(timedelta(hours=60))
    response = used.refresh()
    assert (response.status_code, response.json()["code"]) == (401, "token_expired")


def test_the_last_access_token_expires_with_the_login(login, clock):
    with override_settings(AUTHMODES_ABSOLUTE_LIFETIME=timedelta(minutes=2)):
        used = login("jwt")
    assert claims_of(used.access)["exp"] == claims_of(used.refresh_token)["exp"]
    expires = datetime.fromisoformat(used.answer["refresh_expires_at"])
    assert expires == used.row.expires_at
    clock.shift(timedelta(minutes=2))
    assert used.get().status_code == 401


def test_refresh_expires_at_is_when_the_token_idles_out(login, clock):
    used = login("jwt")
    for _ in range(3):
        expires = datetime.fromisoformat(used.answer["refresh_expires_at"])
        assert expires == timezone.now() + timedelta(days=1)
        clock.shift(timedelta(hours=3))
        used.refresh()


def test_an_unused_refresh_token_expires_before_its_login(login, clock):
    used = login("jwt")
    clock.shift(timedelta(days=1))
    response = refresh(used.refresh_token)
    assert (response.status_code, response.json()["code"]) == (401, "token_expired")
    assert used.row.end_reason == "expired"


def test_just_before_it_still_works(login, clock):
    used = login("jwt")
    clock.shift(timedelta(days=1) - SECOND)
    assert refresh(used.refresh_token).status_code == 200


def test_refreshing_keeps_a_login_from_idling(login, clock):
    with override_settings(AUTHMODES_IDLE_TIMEOUT=timedelta(minutes=10)):
        used = login("jwt")
        for _ in range(10):
            clock.shift(timedelta(minutes=9))
            assert used.refresh().status_code == 200
        clock.shift(timedelta(minutes=10, seconds=1))
        assert used.refresh().status_code == 401
    assert used.row.end_reason == "expired"


def test_a_refresh_of_a_user_who_is_gone_is_401(login, alice):
    used = login("jwt")
    alice.delete()
    response = refresh(used.refresh_token)
    assert (response.status_code, response.json()["code"]) == (401, "token_not_valid")


def test_a_refresh_of_a_disabled_user_is_401_and_ends_the_row(login, alice):
    used = login("jwt")
    get_user_model().objects.filter(pk=alice.pk).update(is_active=False)
    assert refresh(used.refresh_token).status_code == 401
    assert used.row.end_reason == "user_disabled"
    get_user_model().objects.filter(pk=alice.pk).update(is_active=True)
    assert refresh(used.refresh_token).status_code == 401


# -- grace ---------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 1, 10])
def test_within_the_grace_the_predecessor_gets_the_same_successor(login, clock, after):
    used = login("jwt")
    successor = successor_of(used.refresh_token)
    clock.shift(after * SECOND)
    assert successor_of(used.refresh_token) == successor
    assert successor_of(used.refresh_token) == successor
    assert used.row.ended_at is None


def test_the_same_successor_works_on(login, clock):
    used = login("jwt")
    successor_of(used.refresh_token)
    second = successor_of(used.refresh_token)
    clock.shift(timedelta(minutes=1))
    assert refresh(second).status_code == 200


def test_asking_again_does_not_extend_the_grace(login, clock):
    used = login("jwt")
    successor_of(used.refresh_token)
    clock.shift(6 * SECOND)
    successor_of(used.refresh_token)
    clock.shift(6 * SECOND)
    assert refresh(used.refresh_token).json()["code"] == "token_reused"


def test_after_the_grace_the_predecessor_is_reuse(login, clock):
    used = login("jwt")
    successor = successor_of(used.refresh_token)
    clock.shift(timedelta(seconds=10, microseconds=1))
    response = refresh(used.refresh_token)
    assert (response.status_code, response.json()["code"]) == (401, "token_reused")
    assert_family_is_dead(used, used.refresh_token, successor)


def test_an_older_ancestor_is_reuse_even_within_the_grace(login):
    used = login("jwt")
    second = successor_of(used.refresh_token)
    third = successor_of(second)
    response = refresh(used.refresh_token)
    assert (response.status_code, response.json()["code"]) == (401, "token_reused")
    assert_family_is_dead(used, used.refresh_token, second, third)


@STRICT
def test_a_grace_of_zero_is_strict(login):
    used = login("jwt")
    successor = successor_of(used.refresh_token)
    assert refresh(used.refresh_token).json()["code"] == "token_reused"
    assert_family_is_dead(used, successor)


def test_the_grace_is_no_way_around_a_revocation(login):
    used = login("jwt")
    successor = successor_of(used.refresh_token)
    registry.revoke(used.row)
    assert refresh(used.refresh_token).status_code == 401
    assert_family_is_dead(used, successor, reason="revoked")


def test_reuse_ends_this_family_only(login, clock):
    used, other = login("jwt"), login("jwt")
    successor_of(used.refresh_token)
    clock.shift(timedelta(minutes=1))
    refresh(used.refresh_token)
    assert other.get().status_code == 200
    assert other.refresh().status_code == 200


def test_reuse_is_announced_once_without_the_token(login, clock):
    seen = []

    def listen(**kwargs):
        seen.append(kwargs)

    used = login("jwt")
    successor_of(used.refresh_token)
    clock.shift(timedelta(minutes=1))
    refresh_token_reused.connect(listen)
    try:
        refresh(used.refresh_token)
        refresh(used.refresh_token)
    finally:
        refresh_token_reused.disconnect(listen)
    (event,) = seen
    assert event["login_session"].end_reason == "reuse"
    assert isinstance(event["request"], HttpRequest)
    assert used.refresh_token not in str(event)


def test_reuse_is_logged_without_the_token(login, clock, caplog):
    used = login("jwt")
    successor = successor_of(used.refresh_token)
    clock.shift(timedelta(minutes=1))
    with caplog.at_level("INFO", "authmodes"):
        refresh(used.refresh_token)
    assert used.sid in caplog.text
    for raw_token in (used.refresh_token, successor, used.access):
        assert raw_token.split(".")[2] not in caplog.text


def test_verify_knows_only_the_current_refresh_token(login):
    used = login("jwt")
    successor = successor_of(used.refresh_token)
    verify = lambda raw: post_json("/auth/token/verify/", {"token": raw}).status_code  # noqa: E731
    assert (verify(used.refresh_token), verify(successor), verify(used.access)) == (401, 200, 200)
    # Asking is not using.
    assert refresh(successor).status_code == 200


@pytest.mark.parametrize("which", ["current", "previous", "ancestor"])
def test_blacklisting_any_token_of_the_family_ends_it(login, which):
    used = login("jwt")
    ancestor = used.refresh_token
    previous = successor_of(ancestor)
    current = successor_of(previous)
    presented = {"current": current, "previous": previous, "ancestor": ancestor}[which]
    assert post_json("/auth/token/blacklist/", {"refresh": presented}).status_code == 200
    assert_family_is_dead(used, current, reason="logout")


# -- ATOMIC_REQUESTS -----------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("route", ["/auth/token/refresh/", "/simplejwt/refresh/"])
@pytest.mark.urls("tests.test_rotation")
@STRICT
def test_the_revocation_of_reuse_survives_atomic_requests(login, atomic_requests, route):
    used = login("jwt")
    successor = post_json(route, {"refresh": used.refresh_token}).json()["refresh"]
    response = post_json(route, {"refresh": used.refresh_token})
    assert response.status_code == 401
    assert only_row().end_reason == "reuse"
    assert post_json(route, {"refresh": successor}).status_code == 401
    assert call_with(used.access).status_code == 401


@pytest.mark.django_db(transaction=True)
def test_a_revoked_login_stays_revoked_under_atomic_requests(login, atomic_requests, alice):
    """The revocation happens in a request that is rolled back; it must happen again."""
    used = login("jwt")
    get_user_model().objects.filter(pk=alice.pk).update(is_active=False)
    assert used.get().status_code == 401
    assert refresh(used.refresh_token).status_code == 401
    assert only_row().end_reason == "user_disabled"


def _break(user, login_session):
    raise RuntimeError


def _load_anew(user, login_session):
    login_session.refresh_from_db()
    return {}


def test_a_refresh_whose_claims_fail_leaves_the_token_as_it_was(login, clock, settings):
    used = login("jwt")
    settings.AUTHMODES_CLAIMS = _break
    with pytest.raises(RuntimeError):
        used.refresh()
    clock.shift(timedelta(hours=1))
    settings.AUTHMODES_CLAIMS = _load_anew
    assert [used.refresh().status_code for _ in range(2)] == [200, 200]


def _change_password(user, login_session):
    get_user_model().objects.filter(pk=user.pk).update(password="changed")
    user.refresh_from_db()
    return {}


def test_a_password_changed_while_claims_are_made_still_ends_the_login(login, settings):
    used = login("jwt")
    settings.AUTHMODES_CLAIMS = _change_password
    used.refresh()
    assert used.get().status_code == 401
    assert used.refresh().status_code == 401


# -- races ---------------------------------------------------------------------------------


def _refresh_at_once(raw_token, count=20):
    barrier = threading.Barrier(count)

    def swap(_number):
        barrier.wait(timeout=30)
        try:
            response = refresh(raw_token)
            return response.status_code, response.json().get("refresh")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(swap, range(count)))


def _assert_all_get_the_same_successor(login):
    used = login("jwt")
    results = _refresh_at_once(used.refresh_token)
    assert [status for status, _ in results] == [200] * 20
    (successor,) = {raw for _, raw in results}
    assert used.row.ended_at is None
    assert refresh(successor).status_code == 200
    assert OutstandingToken.objects.count() == 1


def _assert_exactly_one_wins(login):
    used = login("jwt")
    results = _refresh_at_once(used.refresh_token)
    assert sorted(status for status, _ in results) == [200] + [401] * 19
    assert used.row.end_reason == "reuse"
    (successor,) = {raw for _, raw in results if raw}
    assert refresh(successor).status_code == 401


@pytest.mark.django_db(transaction=True)
def test_twenty_at_once_get_the_same_successor(login):
    _assert_all_get_the_same_successor(login)


@pytest.mark.django_db(transaction=True)
@STRICT
def test_of_twenty_at_once_without_a_grace_exactly_one_wins(login):
    _assert_exactly_one_wins(login)


@pytest.mark.servers
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("repetition", range(5))
def test_twenty_at_once_get_the_same_successor_on_postgresql(login, repetition):
    _assert_all_get_the_same_successor(login)


@pytest.mark.servers
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("repetition", range(5))
@STRICT
def test_of_twenty_at_once_without_a_grace_exactly_one_wins_on_postgresql(login, repetition):
    _assert_exactly_one_wins(login)


@pytest.mark.servers
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("repetition", range(5))
def test_a_revocation_beside_refreshes_always_wins(login, repetition):
    used = login("jwt")
    barrier = threading.Barrier(9)
    row = used.row

    def swap(_number):
        barrier.wait(timeout=30)
        try:
            return refresh(used.refresh_token)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        swaps = [pool.submit(swap, number) for number in range(8)]
        barrier.wait(timeout=30)
        assert registry.revoke(row) is True
        responses = [one.result() for one in swaps]
    assert {response.status_code for response in responses} <= {200, 401}
    assert used.row.end_reason == "revoked"
    for response in responses:
        if response.status_code == 200:
            assert refresh(response.json()["refresh"]).status_code == 401
            assert call_with(response.json()["access"]).status_code == 401


def test_an_unused_refresh_token_is_not_called_live_when_it_no_longer_refreshes(login, clock):
    used = login("jwt")
    clock.shift(timedelta(days=1, seconds=1))
    assert post_json("/auth/token/verify/", {"token": used.refresh_token}).status_code == 401
    assert refresh(used.refresh_token).status_code == 401


def test_pruning_ends_a_login_whose_refresh_token_was_not_used_in_time(login, clock):
    used = login("jwt")
    clock.shift(timedelta(days=1, seconds=1))
    registry.prune()
    assert used.row.end_reason == "expired"


def test_a_rotation_in_the_future_gives_no_grace(login):
    """A clock that was set back must not extend the grace."""
    used = login("jwt")
    first = used.refresh_token
    assert used.refresh().status_code == 200
    LoginSession.objects.update(rotated_at=timezone.now() + timedelta(hours=1))
    assert refresh(first).json()["code"] == "token_reused"
