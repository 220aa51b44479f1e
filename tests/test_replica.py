"""A primary that is written and a replica that is read, by the router of Django's documentation.

The replica is a second connection to the same database. Without lag it only does not see
what is not committed yet; `stop` makes it lag until the test is over.
"""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.db import connections
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken

from authmodes import registry
from authmodes.machines import clients as machine_clients
from authmodes.models import LoginSession

from .support.authorization_code import redirect_query
from .support.logins import post_json, refresh

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "replica"])

SNAPSHOTS = {
    "sqlite": "BEGIN DEFERRED",
    "postgresql": "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "mysql": "START TRANSACTION WITH CONSISTENT SNAPSHOT",
}


class PrimaryReplicaRouter:
    def db_for_read(self, model, **hints):
        return "replica"

    def db_for_write(self, model, **hints):
        return "default"

    def allow_relation(self, one, other, **hints):
        return True


@pytest.fixture(scope="module", autouse=True)
def _second_connection(django_db_setup):
    connections.settings["replica"] = dict(connections["default"].settings_dict)
    yield
    del connections["replica"], connections.settings["replica"]


@pytest.fixture
def replica(settings, alice):
    settings.DATABASE_ROUTERS = [PrimaryReplicaRouter()]
    yield connections["replica"]
    connections["replica"].close()


@pytest.fixture
def stop(replica):
    """Have the replica show from now on what it shows now."""

    def stop_now():
        with replica.cursor() as cursor:
            cursor.execute(SNAPSHOTS[replica.vendor])
            cursor.execute("SELECT COUNT(*) FROM authmodes_loginsession")

    return stop_now


def test_a_revocation_brings_both_mirrors_into_line(mode, login, replica):
    used = login(mode)
    row = used.row
    assert registry.revoke(row) is True
    assert row.end_reason == "revoked"
    assert used.get().status_code == 401
    assert not Session.objects.filter(session_key=row.session_key or "-").exists()
    assert BlacklistedToken.objects.count() == (mode == "jwt")


def test_the_limit_is_kept(mode, login, replica, settings):
    settings.AUTHMODES_MAX_LOGIN_SESSIONS = 1
    first, second = login(mode), login(mode)
    assert (first.get().status_code, second.get().status_code) == (401, 200)


def test_a_token_is_judged_by_the_primary_however_far_the_replica_lags(login, stop):
    used = login("jwt")
    stop()
    registry.revoke(used.row)
    assert used.get().status_code == 401
    assert refresh(used.refresh_token).json()["code"] == "login_session_ended"


@pytest.mark.parametrize("ended", ["client", "secret", "token"])
def test_so_is_a_machine_clients_token(ended, stop):
    client, secret = machine_clients.create("Nightly", "reports:read")
    body = {"grant_type": "client_credentials", "client_id": client.client_id}
    token = post_json("/auth/token/", {**body, "client_secret": secret}).json()["access_token"]
    stop()
    assert post_json("/auth/token/verify/", {"token": token}).status_code == 200
    if ended == "client":
        machine_clients.revoke(client)
    elif ended == "secret":
        machine_clients.rotate(client, timedelta(0))
    else:
        assert post_json("/auth/token/revoke/", {"token": token}).status_code == 200
    assert post_json("/auth/token/verify/", {"token": token}).status_code == 401


def test_a_login_that_the_replica_has_not_heard_of_counts(login, stop, settings):
    settings.AUTHMODES_REFRESH_GRACE = timedelta(0)
    stop()
    used = login("jwt")
    assert used.get().status_code == 200
    old = used.refresh_token
    assert used.refresh().status_code == 200
    assert refresh(old).json()["code"] == "token_reused"
    assert used.get().status_code == 401


def test_an_authorization_code_is_redeemed_at_once(code_flow, stop):
    started = code_flow.start()
    stop()
    code_flow.code = redirect_query(code_flow.authenticate(started.url))["code"]
    assert code_flow.exchange().status_code == 200


def test_pruning_ends_what_the_replica_takes_for_good(login, stop, clock):
    used = login("jwt")
    stop()
    clock.shift(timedelta(days=60))
    registry.prune()
    assert LoginSession.objects.get(sid=used.sid).end_reason == "expired"
