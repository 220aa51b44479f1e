"""Login sessions in a database that is not `default`, and databases that conflict or are away.

The second database is a second connection to the same one, and only a transaction on that
connection contains what is written there.
"""

from datetime import timedelta

import pytest
from django.core.checks import run_checks
from django.db import OperationalError, connections, transaction
from django.utils import timezone

from authmodes import registry, signals
from authmodes.machines import clients as machine_clients
from authmodes.models import LoginSession
from authmodes.registry import rotation, transactions

from .support.browser import Browser
from .support.database import LoginsRouter, connection
from .support.headless import App
from .support.logins import API, PAGE, post_json, refresh, sign_in
from .support.sessions import at_once

ROUTED = pytest.mark.django_db(transaction=True, databases=["default", "logins"])


@pytest.fixture(scope="module", autouse=True)
def _second_connection(django_db_setup):
    is_there = "logins" in connections.settings
    if not is_there:
        connections.settings["logins"] = dict(connections["default"].settings_dict)
    yield
    if not is_there:
        connections["logins"].close()
        del connections["logins"], connections.settings["logins"]


@pytest.fixture
def logins(settings):
    """Have a router name a connection of its own for all tables."""
    settings.DATABASE_ROUTERS = [LoginsRouter()]
    yield connections["logins"]
    connections["logins"].close()


class ApartRouter:
    """Users in a database of their own, which nothing can be joined with."""

    def db_for_read(self, model, **hints):
        return "users" if model._meta.app_label == "auth" else None

    db_for_write = db_for_read


@ROUTED
def test_the_limit_refuses_and_takes_back_in_the_database_of_the_logins(
    logins, mode, alice, settings
):
    settings.AUTHMODES_MAX_LOGIN_SESSIONS, settings.AUTHMODES_LIMIT_POLICY = 1, "refuse"
    assert [sign_in(mode).status_code for _ in range(2)] == [200, 403]
    assert LoginSession.objects.count() == 1


@ROUTED
def test_the_limit_ends_the_oldest_in_the_database_of_the_logins(logins, mode, alice, settings):
    settings.AUTHMODES_MAX_LOGIN_SESSIONS = 2
    assert [sign_in(mode).status_code for _ in range(3)] == [200] * 3
    assert LoginSession.objects.active().count() == 2


@ROUTED
def test_an_ending_is_announced_after_the_commit_in_the_database_of_the_logins(logins, login):
    row, heard = login("session").row, []

    def hear(**kwargs):
        heard.append(kwargs["login_session"].sid)

    signals.login_session_ended.connect(hear)
    try:
        with transaction.atomic(using="logins"):
            registry.revoke(row)
            assert heard == []
            transaction.set_rollback(True, using="logins")
        assert heard == []
        registry.revoke(LoginSession.objects.get())
    finally:
        signals.login_session_ended.disconnect(hear)
    assert heard == [row.sid]


@ROUTED
def test_a_lost_rotation_changes_nothing_in_the_database_of_the_logins(logins, login):
    row = login("jwt").row
    assert rotation._rotate_row(row, "not the jti", timezone.now()) is None
    assert LoginSession.objects.get().previous_jti == ""


@ROUTED
def test_a_revocation_survives_the_401_of_atomic_requests_there(
    logins, login, atomic_requests, settings
):
    settings.AUTHMODES_REFRESH_GRACE = timedelta(0)
    used = login("jwt")
    old = used.refresh_token
    assert used.refresh().status_code == 200
    assert refresh(old).json()["code"] == "token_reused"
    assert used.row.end_reason == "reuse"


# Field checks may ask a connection what it supports.
@ROUTED
def test_tables_that_a_router_parts_are_reported(settings):
    settings.DATABASE_ROUTERS = [ApartRouter()]
    (message,) = [each for each in run_checks() if each.id == "authmodes.E010"]
    assert message.msg.endswith("of login sessions: auth.User.")


# -- away, read-only, locked -----------------------------------------------------------------


def only_reads(execute, sql, *args):
    if sql.startswith(("INSERT", "UPDATE", "DELETE")):
        raise OperationalError("cannot execute in a read-only transaction")
    return execute(sql, *args)


def is_away(execute, sql, *args):
    raise OperationalError("the connection is closed")


@pytest.mark.parametrize("rotates", [False, True])
def test_a_request_is_answered_by_a_database_that_only_reads(
    mode, rotates, login, clock, settings, caplog
):
    if rotates:
        settings.AUTHMODES_ROTATE_SESSION_AFTER = timedelta(minutes=1)
    used = login(mode)
    seen_at = used.row.last_seen_at
    clock.shift(timedelta(minutes=2))
    with connection.execute_wrapper(only_reads):
        assert [used.get().status_code for _ in range(2)] == [200, 200]
    assert used.row.last_seen_at == seen_at
    assert used.get().status_code == 200
    assert used.row.last_seen_at > seen_at


def test_skipped_writes_are_counted_in_the_log(login, clock, caplog, monkeypatch):
    monkeypatch.setattr(transactions, "logged_at", -transactions.LOG_INTERVAL)
    used = login("jwt")
    clock.shift(timedelta(minutes=2))
    with connection.execute_wrapper(only_reads):
        used.get()
        used.get()
    assert caplog.text.count("writes_skipped") == 1
    assert transactions.skipped == 1


def test_the_look_at_the_row_refuses_what_ended_on_a_database_that_only_reads(mode, login, clock):
    used = login(mode)
    LoginSession.objects.update(ended_at=timezone.now())
    clock.shift(timedelta(minutes=2))
    with connection.execute_wrapper(only_reads):
        used.browser.raise_request_exception = False
        assert used.get().status_code in (401, 503)


def test_a_machine_client_is_given_a_token_by_a_database_that_only_reads(db):
    client, secret = machine_clients.create("Nightly", "reports:read")
    body = {"grant_type": "client_credentials", "client_id": client.client_id}
    with connection.execute_wrapper(only_reads):
        response = post_json("/auth/token/", {**body, "client_secret": secret})
    assert response.status_code == 200


def assert_unavailable(response):
    assert response.status_code == 503
    assert response.json()["code"] == "unavailable"
    assert response.json()["detail"]
    assert int(response["Retry-After"]) > 0


@pytest.mark.parametrize("path", [API, "/auth/user/", "/auth/sessions/"])
def test_a_request_is_503_while_the_database_is_away(path, mode, login):
    used = login(mode)
    headers = used.headers()
    with connection.execute_wrapper(is_away):
        assert_unavailable(used.browser.get(path, headers=headers))
    assert used.get(path).status_code == 200


def test_a_page_is_503_while_the_database_is_away(login):
    used = login("session")
    with connection.execute_wrapper(is_away):
        assert_unavailable(used.browser.get(PAGE))
        # As if a provider had sent the browser back.
        assert_unavailable(used.browser.get(PAGE + "?state=x"))
    assert used.browser.get(PAGE).status_code == 200


def test_an_app_of_headless_is_503_while_the_database_is_away(alice):
    app = App()
    app.login()
    with connection.execute_wrapper(is_away):
        assert_unavailable(app.get("auth/session"))
    assert app.get("auth/session").status_code == 200


# A refresh has no savepoint, so its error would break the transaction of a test.
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("fault", [is_away, only_reads])
def test_signing_in_and_refreshing_are_503_meanwhile(fault, mode, login):
    used = login("jwt")
    browser = Browser()
    browser.csrf()
    with connection.execute_wrapper(fault):
        assert_unavailable(sign_in(mode, browser))
        assert_unavailable(refresh(used.refresh_token))
    assert used.refresh().status_code == 200


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite locks no rows")
def test_a_request_does_not_wait_for_a_locked_row(mode, login, clock):
    used = login(mode)
    clock.shift(timedelta(minutes=2))
    with transaction.atomic(using=connection.alias):
        LoginSession.objects.select_for_update().get()
        (status,) = at_once(1, lambda _: used.get().status_code)
    assert status == 200
