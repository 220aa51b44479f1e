"""Login sessions in a database that is not `default`, and databases that conflict or are away.

The second database is a second connection to the same one, and only a transaction on that
connection contains what is written there.
"""

from datetime import timedelta

import pytest
from django.core.checks import run_checks
from django.db import connections, transaction
from django.utils import timezone

from authmodes import registry, signals
from authmodes.models import LoginSession
from authmodes.registry import rotation

from .support.database import LoginsRouter
from .support.logins import refresh, sign_in

ROUTED = pytest.mark.django_db(transaction=True, databases=["default", "logins"])


@pytest.fixture(scope="module", autouse=True)
def _second_connection(django_db_setup):
    is_there = "logins" in connections.settings
    if not is_there:
        connections.settings["logins"] = dict(connections["default"].settings_dict)
    yield
    if not is_there:
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
def test_a_lost_rotation_is_rolled_back_in_the_database_of_the_logins(logins, login):
    row = login("jwt").row
    assert rotation._rotate_row(row, "not the jti", timezone.now()) is False
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


def test_tables_that_a_router_parts_are_reported(settings):
    settings.DATABASE_ROUTERS = [ApartRouter()]
    (message,) = [each for each in run_checks() if each.id == "authmodes.E010"]
    assert message.msg.endswith("but not so auth.User.")
