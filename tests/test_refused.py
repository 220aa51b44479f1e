"""Which attempts to sign in were refused, and why: counted once, whatever the entry point."""

from datetime import timedelta
from typing import Any

import pytest
from allauth.mfa.totp.internal.auth import TOTP
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in
from django.db import OperationalError
from django.test import Client

from authmodes.exceptions import LimitReached
from authmodes.models import LoginEvent
from authmodes.registry import refusals
from authmodes.signals import login_refused

from .support.authorization_code import CodeFlow
from .support.browser import Browser
from .support.headless import App, Routes
from .support.logins import (
    PASSWORD,
    admin_login,
    call_with,
    html_login,
    post_json,
    refresh,
    sign_in,
)
from .support.mfa import SECRET, totp_code

HOME, NEIGHBOUR, AWAY = "192.0.2.10", "192.0.2.200", "198.51.100.7"


def refused() -> list[LoginEvent]:
    return list(LoginEvent.objects.filter(kind="refused").order_by("pk"))


def codes() -> list[tuple[str, Any, int]]:
    return [(event.code, event.user_id, event.count) for event in refused()]


def guess(name: str = "alice", address: str = HOME) -> Any:
    body = {"username": name, "password": "wrong", "mode": "jwt"}
    return post_json("/auth/login/", body, REMOTE_ADDR=address)


def by_page(name: str, password: str) -> Any:
    return html_login(Browser(REMOTE_ADDR=HOME), name, password)


def by_admin(name: str, password: str) -> Any:
    return admin_login(Browser(REMOTE_ADDR=HOME), name, password)


def by_login(name: str, password: str) -> Any:
    body = {"username": name, "password": password, "mode": "jwt"}
    return post_json("/auth/login/", body, REMOTE_ADDR=HOME)


def by_token(name: str, password: str) -> Any:
    body = {"username": name, "password": password}
    return post_json("/auth/token/", body, REMOTE_ADDR=HOME)


def by_headless(name: str, password: str) -> Any:
    app = App()
    app.keeps_cookies.defaults["REMOTE_ADDR"] = HOME
    return app.post("auth/login", {"username": name, "password": password})


ENTRY_POINTS = [by_page, by_admin, by_login, by_token, by_headless]
by_every_entry_point = pytest.mark.parametrize("enter", ENTRY_POINTS)


@by_every_entry_point
def test_a_wrong_password_is_counted_for_its_account(enter, alice):
    enter("alice", "wrong")
    (event,) = refused()
    assert (event.code, event.user_id, event.ip_address) == ("no_active_account", alice.pk, HOME)
    assert (event.sid, event.actor_id, event.actor_sid, event.count) == (None, None, None, 1)


@by_every_entry_point
def test_what_was_typed_is_not_kept(enter, alice):
    # Users type their password into the field above.
    enter("hunter2-typed", "hunter2-password")
    (event,) = refused()
    assert (event.code, event.user_id, event.ip_address) == ("no_active_account", None, HOME)
    assert "hunter2" not in str(LoginEvent.objects.values().get())


@by_every_entry_point
def test_an_inactive_user_is_refused_as_such(enter, alice):
    get_user_model().objects.filter(pk=alice.pk).update(is_active=False)
    enter("alice", PASSWORD)
    # Django's form tells a locked account from a wrong password only with a backend of its own.
    code = "no_active_account" if enter is by_admin else "user_inactive"
    assert codes() == [(code, alice.pk, 1)]


@by_every_entry_point
def test_a_login_over_the_limit_is_refused_as_such(enter, alice, settings):
    get_user_model().objects.filter(pk=alice.pk).update(is_staff=True)
    settings.AUTHMODES_MAX_LOGIN_SESSIONS, settings.AUTHMODES_LIMIT_POLICY = 1, "refuse"
    assert sign_in("jwt").status_code == 200
    enter("alice", PASSWORD)
    assert codes() == [("limit_reached", alice.pk, 1)]


@by_every_entry_point
def test_a_login_that_succeeds_is_not_refused(enter, alice):
    get_user_model().objects.filter(pk=alice.pk).update(is_staff=True)
    enter("alice", PASSWORD)
    assert [event.kind for event in LoginEvent.objects.all()] == ["started"]


def test_a_right_password_that_the_admin_refuses_is_counted(alice):
    by_admin("alice", PASSWORD)
    assert codes() == [("login_refused", alice.pk, 1)]


@pytest.mark.parametrize("path", ["login", "token"])
def test_a_mode_that_is_off_is_counted(path, alice, settings):
    settings.AUTHMODES_MODE = "session"
    body = {"username": "alice", "password": PASSWORD, "mode": "jwt"}
    assert post_json(f"/auth/{path}/", body).status_code == 400
    assert codes() == [("mode_disabled", None, 1)]


def test_a_code_that_cannot_be_redeemed_is_counted(code_flow: CodeFlow):
    code_flow.run()
    code_flow.verifier = "v" * 43
    assert code_flow.exchange().status_code == 400
    assert codes() == [("invalid_grant", None, 1)]


def test_a_providers_token_that_does_not_verify_is_counted(alice_at_dummy):
    body = {"id_token": "junk", "mode": "jwt"}
    assert post_json("/auth/social/dummy/", body).status_code == 401
    App().post(
        "auth/provider/token",
        {"provider": "dummy", "process": "login", "token": {"client_id": "c", "id_token": "{}"}},
    )
    assert {event.code for event in refused()} == {"invalid_provider_token"}
    assert refused()[0].provider == "dummy"


def test_connecting_is_no_attempt_to_sign_in(alice, login):
    body = {"id_token": "junk", "process": "connect"}
    assert login("jwt").post("/auth/social/dummy/", body).status_code == 401
    assert refused() == []


def test_a_callback_that_fails_is_counted_and_a_cancelled_one_is_not(provider, db):
    browser = Browser()
    for error, expected in (("access_denied", []), ("server_error", ["provider_error"])):
        started = browser.submit("/auth/social/example/start/?mode=session")
        state = started.url.split("state=")[1].split("&")[0]
        browser.get(f"/accounts/oidc/example/login/callback/?error={error}&state={state}")
        assert [event.code for event in refused()] == expected
    assert refused()[0].provider == "example"


@pytest.fixture
def with_totp(alice):
    TOTP.activate(alice, SECRET)
    return alice


def test_a_wrong_second_factor_is_counted_and_a_missing_one_is_not(with_totp):
    body = {"username": "alice", "password": PASSWORD, "mode": "jwt"}
    assert post_json("/auth/login/", body).json()["code"] == "stage_pending"
    browser = Browser()
    html_login(browser, "alice")
    assert refused() == []
    browser.submit("/accounts/2fa/authenticate/", {"code": "000000"})
    assert codes() == [("invalid_mfa_code", with_totp.pk, 1)]
    post_json("/auth/login/", {**body, "mfa_code": "000000"})
    assert codes() == [("invalid_mfa_code", with_totp.pk, 2)]
    assert post_json("/auth/login/", {**body, "mfa_code": totp_code()}).status_code == 200
    assert len(refused()) == 1


def test_a_wrong_mailed_code_is_counted(alice, settings):
    settings.ACCOUNT_LOGIN_BY_CODE_ENABLED = True
    settings.ROOT_URLCONF = Routes()
    app = App()
    assert app.post("auth/code/request", {"email": "alice@example.com"}).status_code == 401
    app.post("auth/code/confirm", {"code": "wrong"})
    assert codes() == [("invalid_code", alice.pk, 1)]


def test_bad_credentials_of_a_login_are_no_attempt_to_sign_in(login, settings):
    used = login("jwt")
    assert call_with("junk").status_code == refresh("junk").status_code == 401
    assert used.refresh().status_code == 200
    used.logout()
    assert used.get().status_code == 401
    assert refused() == []


def test_a_malformed_or_forged_call_is_no_attempt_to_sign_in(alice):
    assert post_json("/auth/login/", {"username": "alice"}).status_code == 400
    strict = Client(enforce_csrf_checks=True)
    body = {"username": "alice", "password": PASSWORD, "mode": "session"}
    assert post_json("/auth/login/", body, strict).status_code == 403
    Browser().submit("/accounts/login/", {"login": "alice"})
    assert refused() == []


def test_a_call_over_the_rate_is_not_counted(alice, settings):
    settings.ACCOUNT_RATE_LIMITS = {"login_failed": "2/m/key"}
    assert [guess().status_code for _ in range(4)] == [401, 401, 429, 429]
    assert codes() == [("no_active_account", alice.pk, 2)]


# -- how they are counted ------------------------------------------------------------------


def test_one_row_for_an_account_a_code_and_a_minute(alice, bob, clock):
    for address in (HOME, HOME, AWAY):
        guess("alice", address)
    # Whichever way the account is named.
    guess("alice@example.com")
    guess("bob")
    get_user_model().objects.filter(pk=alice.pk).update(is_active=False)
    by_login("alice", PASSWORD)
    clock.shift(timedelta(minutes=1))
    guess("bob")
    assert codes() == [
        ("no_active_account", alice.pk, 4),
        ("no_active_account", bob.pk, 1),
        ("user_inactive", alice.pk, 1),
        ("no_active_account", bob.pk, 1),
    ]
    assert refused()[0].ip_address == HOME


def test_one_row_for_a_network_where_no_account_was_named(db, clock):
    for address in (HOME, NEIGHBOUR, AWAY, "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"):
        guess("nobody", address)
        guess("nobody-either", address)
    assert [(event.ip_address, event.count) for event in refused()] == [
        (HOME, 4),
        (AWAY, 2),
        ("2001:db8::1", 4),
        ("2001:db8:0:1::1", 2),
    ]


def test_a_flood_makes_a_limited_number_of_rows(db, clock, monkeypatch):
    monkeypatch.setattr(refusals, "ROWS_PER_MINUTE", 3)
    for number in range(7):
        guess("nobody", f"10.0.{number}.1")
    rows = [(event.ip_address, event.count) for event in refused()]
    assert rows == [("10.0.0.1", 1), ("10.0.1.1", 1), ("10.0.2.1", 1), (None, 4)]
    clock.shift(timedelta(minutes=1))
    guess("nobody", "10.0.9.1")
    assert refused()[-1].ip_address == "10.0.9.1"


def test_the_count_of_a_row_is_limited(alice, clock, monkeypatch):
    monkeypatch.setattr(refusals, "COUNT_MAX", 2)
    for _ in range(4):
        guess()
    assert codes() == [("no_active_account", alice.pk, 2)]


def test_of_two_at_once_both_are_counted(alice, clock, monkeypatch):
    guess()
    plain, calls = refusals._increment, []

    def too_early(bucket):
        calls.append(bucket)
        return plain(bucket) if len(calls) > 1 else 0

    monkeypatch.setattr(refusals, "_increment", too_early)
    guess()
    assert codes() == [("no_active_account", alice.pk, 2)]


@pytest.mark.django_db(transaction=True)
def test_a_refusal_is_counted_outside_of_the_views_transaction(alice, atomic_requests):
    by_page("alice", "wrong")
    by_login("alice", "wrong")
    assert codes() == [("no_active_account", alice.pk, 2)]


@pytest.mark.django_db(transaction=True)
def test_a_login_that_a_receiver_refuses_is_counted(alice):
    def refuse(**kwargs):
        raise LimitReached

    user_logged_in.connect(refuse)
    try:
        assert by_page("alice", PASSWORD).status_code == 403
    finally:
        user_logged_in.disconnect(refuse)
    assert codes() == [("limit_reached", alice.pk, 1)]


def test_a_refusal_that_cannot_be_counted_is_answered_all_the_same(alice, monkeypatch):
    def away(*args):
        raise OperationalError("gone")

    monkeypatch.setattr(refusals, "_add", away)
    assert guess().status_code == 401
    assert refused() == []


def test_the_signal_is_sent_once_for_each_request(alice):
    heard = []

    def listen(request, code, provider, **kwargs):
        heard.append((request.path, code, provider))

    login_refused.connect(listen)
    try:
        get_user_model().objects.filter(pk=alice.pk).update(is_active=False)
        by_login("alice", PASSWORD)
        by_page("alice", PASSWORD)
    finally:
        login_refused.disconnect(listen)
    assert heard == [
        ("/auth/login/", "user_inactive", ""),
        ("/accounts/login/", "user_inactive", ""),
    ]


def test_which_login_a_wrong_password_at_a_step_up_came_from(alice):
    browser = Browser(REMOTE_ADDR=AWAY)
    html_login(browser, "alice")
    browser.get("/accounts/reauthenticate/")
    browser.submit("/accounts/reauthenticate/", {"password": "wrong"})
    (event,) = refused()
    own = LoginEvent.objects.get(kind="started")
    assert (event.code, event.user_id) == ("no_active_account", alice.pk)
    assert (event.ip_address, event.actor_sid) == (AWAY, own.sid)


def test_which_attempts_were_refused_and_why(alice, clock):
    guess(address=AWAY)
    clock.shift(timedelta(minutes=5))
    get_user_model().objects.filter(pk=alice.pk).update(is_active=False)
    by_login("alice", PASSWORD)
    asked = LoginEvent.objects.filter(user=alice, kind="refused").order_by("-created_at")
    assert list(asked.values_list("code", "ip_address", "count")) == [
        ("user_inactive", HOME, 1),
        ("no_active_account", AWAY, 1),
    ]
