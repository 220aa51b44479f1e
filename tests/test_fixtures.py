"""`dumpdata` and `loaddata`: receivers leave rows alone that are loaded as they are."""

import json
from datetime import datetime

import pytest
from django.core.management import call_command
from django.db import connections
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from authmodes import registry
from authmodes.machines import clients
from authmodes.models import EndReason, LoginSession, write_database

from .support.logins import API, PASSWORD, refresh

TABLES = ["auth.User", "sessions", "socialaccount", "token_blacklist", "authmodes"]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "dump.json"


def dump(file):
    call_command("dumpdata", *TABLES, output=str(file), database=write_database(), verbosity=0)
    return json.loads(file.read_text())


def load(file):
    call_command("loaddata", str(file), database=write_database(), verbosity=0)


def rows():
    models = [LoginSession, OutstandingToken, BlacklistedToken]
    found = [row for model in models for row in model.objects.order_by("pk").values()]
    return [{name: in_milliseconds(value) for name, value in row.items()} for row in found]


def in_milliseconds(value):
    """JSON has no more of a moment."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    return value


@pytest.mark.django_db(transaction=True)
def test_a_dump_that_is_loaded_elsewhere_brings_each_login_back_as_it_was(login, bob, file):
    cookie, token, ended = login("session"), login("jwt"), login("jwt")
    by_simplejwt, locked = login("jwt"), login("jwt", bob)
    registry.revoke(ended.row)
    BlacklistedToken.objects.bulk_create(
        [BlacklistedToken(token_id=by_simplejwt.row.refresh_token_id)]
    )
    bob.is_active = False
    bob.save()
    clients.create("reports", "reports:read")
    dump(file)
    before = rows()
    call_command("flush", interactive=False, database=write_database(), verbosity=0)
    assert not LoginSession.objects.exists()

    load(file)

    assert rows() == before
    connections[write_database()].check_constraints()
    assert [used.get(API).status_code for used in (cookie, token)] == [200, 200]
    assert [used.get(API).status_code for used in (ended, by_simplejwt, locked)] == [401] * 3
    assert token.refresh().status_code == 200
    assert refresh(ended.refresh_token).status_code == 401
    assert LoginSession.objects.get(sid=by_simplejwt.sid).end_reason == EndReason.REVOKED


@pytest.mark.parametrize("is_reversed", [False, True])
def test_rows_in_any_order_are_loaded_over_those_that_exist(login, alice, file, is_reversed):
    """With a blacklist entry before its token, and a login before its user."""
    used, ended = login("jwt"), login("jwt")
    registry.revoke(ended.row)
    dumped = dump(file)
    file.write_text(json.dumps(dumped[::-1] if is_reversed else dumped))
    before = rows()
    load(file)
    assert rows() == before
    assert used.get().status_code == 200


def test_a_blacklist_entry_is_loaded_before_its_token(login, file):
    used, other = login("jwt"), login("jwt")
    BlacklistedToken.objects.bulk_create([BlacklistedToken(token_id=used.row.refresh_token_id)])
    dumped = dump(file)
    BlacklistedToken.objects.all().delete()
    LoginSession.objects.all().delete()
    OutstandingToken.objects.all().delete()
    first = [each for each in dumped if each["model"].endswith(".blacklistedtoken")]
    file.write_text(json.dumps([*first, *(each for each in dumped if each not in first)]))
    load(file)
    assert used.get().status_code == 401
    assert used.row.end_reason == EndReason.REVOKED
    assert other.get().status_code == 200


def test_a_user_who_is_loaded_with_a_new_password_ends_no_login(login, alice, file):
    """The login is refused, because its password is an earlier one."""
    used = login("jwt")
    dumped = dump(file)
    [user] = [each for each in dumped if each["model"] == "auth.user"]
    alice.set_password("new " + PASSWORD)
    file.write_text(
        json.dumps([{**user, "fields": {**user["fields"], "password": alice.password}}])
    )
    load(file)
    assert used.get().status_code == 401
    assert used.row.ended_at is None
    user["fields"]["is_active"] = False
    file.write_text(json.dumps([user]))
    load(file)
    assert used.row.ended_at is None
    assert used.get().status_code == 401
    assert used.row.end_reason == EndReason.USER_DISABLED
