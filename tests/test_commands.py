"""The commands that revoke, count, prune and adopt, and what a killed one leaves behind."""

import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db.models import F
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from authmodes import registry
from authmodes.management.commands import revoke_login_sessions
from authmodes.models import AuthorizationCode, LoginEvent, LoginSession
from authmodes.registry.events import new_bulk

from .support.database import connection
from .support.logins import PASSWORD

DAY = timedelta(days=1)
ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.django_db


def run(*arguments) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def open_sids() -> set[str]:
    return {str(sid) for sid in LoginSession.objects.active().values_list("sid", flat=True)}


@pytest.fixture
def logins(login, bob):
    """Logins of two users, one through a provider and long ago."""
    made = [login("session"), login("jwt"), login("jwt", bob)]
    LoginSession.objects.filter(sid=made[1].sid).update(
        provider="corp", created_at=timezone.now() - 3 * DAY
    )
    return made


LONG_AGO = (timezone.now() - DAY).date().isoformat()
SELECTIONS = {
    ("--user", "alice"): [0, 1],
    ("--provider", "corp"): [1],
    ("--before", LONG_AGO): [1],
    ("--before", f"{LONG_AGO}T12:30:00+00:00"): [1],
    ("--user", "bob", "--provider", "corp"): [],
    ("--all",): [0, 1, 2],
}


@pytest.mark.parametrize("options", SELECTIONS)
def test_a_selection_is_revoked_and_nothing_else(options, logins):
    ends = {logins[number].sid for number in SELECTIONS[options]}
    kept = open_sids() - ends
    assert run("revoke_login_sessions", *options, "--dry-run") == (
        f"Would revoke {len(ends)} login sessions.\n"
    )
    assert open_sids() == kept | ends
    assert f"Revoked {len(ends)} login" in run("revoke_login_sessions", *options)
    assert open_sids() == kept
    assert [one.get().status_code for one in logins] == [
        401 if one.sid in ends else 200 for one in logins
    ]
    events = LoginEvent.objects.filter(kind="ended")
    assert [event.count for event in events] == ([len(ends)] if ends else [])
    assert "alice" not in str(list(events.values()))
    assert run("revoke_login_sessions", *options) == "Revoked 0 login sessions.\n"


@pytest.mark.parametrize("options", [(), ("--all", "--user", "alice")])
def test_the_selection_must_be_said(options, logins):
    with pytest.raises(CommandError, match="--all"):
        run("revoke_login_sessions", *options)
    assert len(open_sids()) == 3


def test_a_user_or_a_date_that_is_none_revokes_nothing(logins):
    with pytest.raises(CommandError, match="no such user"):
        run("revoke_login_sessions", "--user", "mallory")
    for text in ("yesterday", "2026-02-30", "9999-12-31T23:59:59-12:00"):
        with pytest.raises(CommandError, match="--before: give a date or a time such as 2026"):
            run("revoke_login_sessions", "--before", text)
    assert len(open_sids()) == 3


def test_revoking_a_user_cancels_sign_ins_that_are_not_finished(alice, logins):
    AuthorizationCode.objects.create(user=alice, expires_at=timezone.now() + DAY, digest="x")
    run("revoke_login_sessions", "--user", "alice")
    assert not AuthorizationCode.objects.exists()
    assert registry.ending.latest_revocation_of(alice) is not None


def test_what_has_ended_keeps_its_reason(logins):
    registry.revoke(logins[0].row, "logout")
    run("revoke_login_sessions", "--all")
    assert logins[0].row.end_reason == "logout"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("command", [("revoke_login_sessions", "--all"), ("prune_login_sessions",)])
def test_a_terminal_gets_a_progress_bar(command, logins, monkeypatch):
    monkeypatch.setattr("authmodes.registry.ending.BATCH", 1)
    LoginSession.objects.update(expires_at=timezone.now() - DAY)
    terminal = Terminal()
    call_command(*command, stdout=terminal)
    assert "\r[#############...........................] 1/3" in terminal.getvalue()
    assert "\r[########################################] 3/3\n" in terminal.getvalue()
    assert "\r" not in run(*command)


@pytest.mark.parametrize(("columns", "bar"), [(24, "[#####............] 1/3"), (6, " 1/3")])
def test_the_progress_bar_fits_on_a_narrow_terminal(columns, bar, logins, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("authmodes.registry.ending.BATCH", 1)
    terminal = Terminal()
    call_command("revoke_login_sessions", "--all", stdout=terminal)
    *shown, last, done, _end = re.split("[\r\n]", terminal.getvalue())
    assert shown[1] == bar
    assert max(map(len, [*shown, last])) < columns
    assert done == "Revoked 3 login sessions."


def test_an_interrupted_command_says_so_and_goes_on_when_it_is_run_again(logins, monkeypatch):
    monkeypatch.setattr("authmodes.registry.ending.BATCH", 1)
    terminal, revoke_in_batches = Terminal(), registry.revoke_in_batches

    def interrupted(*args, **kwargs):
        yield next(revoke_in_batches(*args, **kwargs))
        raise KeyboardInterrupt

    command = revoke_login_sessions.Command(stdout=terminal)
    with monkeypatch.context() as patch:
        patch.setattr(registry, "revoke_in_batches", interrupted)
        # It closes the connection, which would end the transaction of the test.
        patch.setattr("django.core.management.base.connections", mock.Mock())
        with pytest.raises(SystemExit) as ended:
            command.run_from_argv(["manage.py", "revoke_login_sessions", "--all"])
    assert ended.value.code == 130
    assert terminal.getvalue().endswith(
        " 1/3\nInterrupted. What was done remains; run the command again to continue.\n"
    )
    assert run("revoke_login_sessions", "--all") == "Revoked 2 login sessions.\n"


@pytest.mark.parametrize(
    "command",
    [
        ("revoke_login_sessions", "--user"),
        ("revoke_login_sessions", "--provider"),
        ("erase_login_events", "--user"),
        ("make_signing_key", "--kid"),
    ],
)
def test_an_argument_that_is_not_utf_8_is_an_error(command):
    argument = os.fsdecode(b"caf\xe9")
    with pytest.raises(CommandError, match=f"^{command[1]} is not valid UTF-8.$"):
        run(*command, argument)


def test_pruning_says_what_it_did_or_would_do(logins):
    # One has expired, and the refresh token of the other was not used for days.
    LoginSession.objects.filter(sid=logins[0].sid).update(expires_at=timezone.now() - DAY)
    assert run("prune_login_sessions", "--dry-run") == "Would end 2 and delete 0 login sessions.\n"
    assert len(open_sids()) == 2
    assert run("prune_login_sessions") == "Ended 2 and deleted 0 login sessions.\n"
    assert open_sids() == {logins[2].sid}


def test_statistics_count_by_status(logins):
    registry.revoke(logins[0].row)
    LoginSession.objects.filter(sid=logins[2].sid).update(expires_at=timezone.now() - DAY)
    assert json.loads(run("login_session_stats")) == {
        "active": 1,
        "active_by_mode": {"jwt": 1},
        "active_by_provider": {"corp": 1},
        "expired": 1,
        "ended_by_reason": {"revoked": 1},
    }


def fill(user, count: int) -> None:
    """Logins of both modes with their tokens and Django sessions."""
    now = timezone.now()
    OutstandingToken.objects.bulk_create(
        OutstandingToken(user=user, jti=f"jti{number}", created_at=now, expires_at=now + DAY)
        for number in range(count)
    )
    tokens = OutstandingToken.objects.order_by("pk")
    Session.objects.bulk_create(
        Session(session_key=f"key{number}", session_data="", expire_date=now + DAY)
        for number in range(count)
    )
    times = {"created_at": now, "last_seen_at": now, "expires_at": now + DAY}
    LoginSession.objects.bulk_create(
        LoginSession(user=user, mode="jwt", refresh_token=token, **times) for token in tokens
    )
    LoginSession.objects.bulk_create(
        LoginSession(user=user, mode="session", session_key=f"key{number}", **times)
        for number in range(count)
    )


def _killed_ten_times(call: str, longest: float) -> Iterator[None]:
    """Run code in a process of its own, and kill that at a random moment, ten times."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "TEST_DATABASE_NAME": str(connection.settings_dict["NAME"]),
    }
    # Small batches, so that there are many moments to be killed at.
    program = (
        "import django; django.setup(); from django.core.management import call_command\n"
        "from authmodes.registry import ending; ending.BATCH = 20\n"
        "from authmodes.management.commands import adopt_sessions; adopt_sessions.BATCH = 20\n"
        "ready = lambda: print('ready', flush=True)\n"
    )
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", program + call],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(random.uniform(0, longest))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        yield


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_a_killed_command_leaves_nothing_half_done(alice):
    """At random moments: each batch is whole, and the next run goes on."""
    fill(alice, 3_000)
    left = [LoginSession.objects.filter(ended_at=None).count()]
    for _ in _killed_ten_times("ready(); call_command('revoke_login_sessions', '--all')", 0.2):
        _assert_whole()
        left.append(LoginSession.objects.filter(ended_at=None).count())
    assert left == sorted(left, reverse=True)
    assert left[-1] < left[0]
    run("revoke_login_sessions", "--all")
    _assert_whole()
    assert not LoginSession.objects.filter(ended_at=None).exists()
    assert not Session.objects.exists()


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_a_killed_pruning_leaves_no_orphan_and_loses_no_event(alice):
    """Half is to be deleted, the other half to be ended as expired, which makes no event."""
    fill(alice, 1_000)
    rows = LoginSession.objects.annotate(odd=F("pk") % 2)
    registry.revoke_all(rows.filter(odd=1), event=new_bulk("odd"))
    events = list(LoginEvent.objects.values_list("pk", "count"))
    long_ago = timezone.now() - 400 * DAY
    LoginSession.objects.ended().update(ended_at=long_ago, expires_at=long_ago)
    LoginSession.objects.filter(ended_at=None).update(expires_at=timezone.now())
    for _ in _killed_ten_times("ready(); call_command('prune_login_sessions')", 0.2):
        _assert_mirrored()
    run("prune_login_sessions")
    _assert_mirrored()
    assert LoginSession.objects.count() == 1_000
    assert not LoginSession.objects.filter(ended_at=None).exists()
    assert not Session.objects.exists()
    assert OutstandingToken.objects.count() == LoginSession.objects.filter(mode="jwt").count()
    assert list(LoginEvent.objects.values_list("pk", "count")) == events


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_a_killed_adoption_gives_each_session_one_row(alice):
    for _ in range(600):
        session = SessionStore()
        session[SESSION_KEY] = str(alice.pk)
        session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
        session[HASH_SESSION_KEY] = alice.get_session_auth_hash()
        session.save()
    adopted = [0]
    for _ in _killed_ten_times("ready(); call_command('adopt_sessions')", 0.2):
        adopted.append(LoginSession.objects.count())
    assert adopted == sorted(adopted)
    run("adopt_sessions")
    keys = LoginSession.objects.filter(ended_at=None).values_list("session_key", flat=True)
    assert sorted(keys) == sorted(Session.objects.values_list("session_key", flat=True))
    assert len(keys) == 600


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_a_killed_worker_loses_and_doubles_no_event(alice):
    """Logins, sign-outs and reused tokens: each row has its events, and each event its row."""
    program = f"""
from django.test import Client
who = {{"username": "alice", "password": {PASSWORD!r}}}
post = lambda client, path, body: client.post(path, body, "application/json")
while True:
    cookie = Client(headers={{"user-agent": "Firefox"}})
    assert post(cookie, "/auth/login/", {{**who, "mode": "session"}}).status_code == 200
    post(cookie, "/auth/logout/", {{}})
    token = Client()
    first = post(token, "/auth/login/", {{**who, "mode": "jwt"}}).json()["refresh"]
    last = first
    for _ in range(2):
        last = post(token, "/auth/token/refresh/", {{"refresh": last}}).json()["refresh"]
    assert post(token, "/auth/token/refresh/", {{"refresh": first}}).status_code == 401
    ready()
"""
    for _ in _killed_ten_times(program, 0.6):
        _assert_mirrored()
        rows = LoginSession.objects.all()
        for kind, told in (
            ("started", rows),
            ("ended", rows.ended()),
            ("reuse", rows.filter(end_reason="reuse")),
        ):
            events = LoginEvent.objects.filter(kind=kind)
            assert sorted(events.values_list("sid", flat=True)) == sorted(
                told.values_list("sid", flat=True)
            ), kind
    assert LoginEvent.objects.filter(kind="reuse").exists()


def _assert_mirrored() -> None:
    """No login that has ended has a Django session or a usable refresh token."""
    ended = LoginSession.objects.ended()
    keys = set(Session.objects.values_list("session_key", flat=True))
    assert keys <= set(
        LoginSession.objects.filter(ended_at=None).values_list("session_key", flat=True)
    )
    listed = set(BlacklistedToken.objects.values_list("token", flat=True))
    tokens = ended.exclude(refresh_token=None).values_list("refresh_token", flat=True)
    assert listed == set(tokens)


def _assert_whole() -> None:
    """Revoked logins have neither a Django session nor a usable refresh token, others have."""
    ended, going = LoginSession.objects.ended(), LoginSession.objects.filter(ended_at=None)
    keys = set(Session.objects.values_list("session_key", flat=True))
    assert keys == set(going.filter(mode="session").values_list("session_key", flat=True))
    listed = set(BlacklistedToken.objects.values_list("token", flat=True))
    assert listed == set(ended.filter(mode="jwt").values_list("refresh_token", flat=True))
    # The event is counted in the transaction of each batch.
    assert sum(LoginEvent.objects.values_list("count", flat=True)) == ended.count()
