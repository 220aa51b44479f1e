"""Every way in makes exactly one row, and none before allauth's last stage is done."""

import re
from datetime import datetime, timedelta

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import TOTP
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth import get_user_model
from django.contrib.auth import login as django_login
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.signals import got_request_exception
from django.http import HttpRequest
from django.test import Client
from django.test.utils import CaptureQueriesContext, override_settings
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from authmodes import registry
from authmodes.models import AuthorizationCode, LoginSession
from authmodes.signals import login_session_started

from .support.authorization_code import CodeFlow
from .support.browser import Browser
from .support.database import connection
from .support.logins import (
    API,
    PASSWORD,
    UID,
    admin_login,
    assert_signed_out,
    call_with,
    html_login,
    only_row,
    post_json,
    refresh,
    sign_in,
    social_login,
)
from .support.mfa import SECRET, totp_code
from .support.tokens import claims_of

VERIFICATION = override_settings(ACCOUNT_EMAIL_VERIFICATION="mandatory")


def credentials(mode="session", **changed):
    return {"username": "alice", "password": PASSWORD, "mode": mode, **changed}


@pytest.fixture
def second_factor(alice):
    TOTP.activate(alice, SECRET)
    return alice


def assert_nothing_was_made():
    assert not LoginSession.objects.exists()
    assert not OutstandingToken.objects.exists()
    assert not AuthorizationCode.objects.exists()


# -- every way in --------------------------------------------------------------------------


def test_a_rest_login_makes_one_row(mode, login, alice):
    used = login(mode)
    row = only_row()
    assert (str(row.sid), row.user, row.mode, row.method) == (used.sid, alice, mode, "password")
    assert (row.provider, row.amr, row.ended_at) == ("", "pwd", None)
    assert used.get().status_code == 200


def test_a_rest_login_in_session_mode_holds_no_token(login):
    row = login("session").row
    assert row.refresh_token is None
    assert Session.objects.filter(session_key=row.session_key).exists()


def test_a_rest_login_in_jwt_mode_holds_no_cookie(login):
    used = login("jwt")
    assert used.row.session_key is None
    assert "sessionid" not in used.browser.cookies
    assert not Session.objects.exists()


def test_the_answer_to_a_login_for_tokens_is_the_documented_one(alice, clock):
    response = sign_in("jwt")
    answer = response.json()
    assert set(answer) == {
        *("mode", "sid", "user", "access", "refresh"),
        *("access_expires_at", "refresh_expires_at", "idle_expires_at"),
    }
    assert answer["user"]["username"] == "alice"
    now = timezone.now()
    assert datetime.fromisoformat(answer["access_expires_at"]) == now + timedelta(minutes=5)
    assert datetime.fromisoformat(answer["refresh_expires_at"]) == now + timedelta(days=1)


def test_the_answer_to_a_login_for_a_cookie_is_the_same_without_tokens(alice, clock):
    with_tokens = sign_in("jwt")
    response = sign_in("session")
    answer = response.json()
    assert set(answer) == set(with_tokens.json()) - {"access", "refresh"}
    now = timezone.now()
    assert datetime.fromisoformat(answer["access_expires_at"]) == now + timedelta(days=14)
    assert datetime.fromisoformat(answer["refresh_expires_at"]) == now + timedelta(days=30)


@pytest.mark.parametrize("hours", [None, 2, 24 * 31])
def test_the_answer_says_when_an_unused_login_ends(hours, mode, alice, clock, settings):
    settings.AUTHMODES_IDLE_TIMEOUT = hours and timedelta(hours=hours)
    said = sign_in(mode).json()["idle_expires_at"]
    # Never later than the absolute end.
    expected = hours and timezone.now() + min(timedelta(hours=hours), timedelta(days=30))
    assert (said and datetime.fromisoformat(said)) == expected


def test_a_user_may_sign_in_by_email_address(mode, alice):
    EmailAddress.objects.create(user=alice, email=alice.email, verified=True, primary=True)
    body = {"email": alice.email, "password": PASSWORD, "mode": mode}
    response = Browser().send_json("/auth/login/", body)
    assert response.status_code == 200
    assert only_row().user == alice


def test_simplejwts_endpoint_makes_one_row(alice):
    response = post_json("/auth/token/", {"username": "alice", "password": PASSWORD})
    assert response.status_code == 200
    row = only_row()
    assert (row.mode, row.method) == ("jwt", "password")
    assert call_with(response.json()["access"]).status_code == 200


def test_allauths_page_makes_one_row(alice):
    browser = Browser()
    assert html_login(browser, "alice").status_code == 302
    row = only_row()
    assert (row.mode, row.method, row.session_key) == (
        "session",
        "password",
        browser.session_cookie,
    )
    assert browser.get(API).status_code == 200


def test_the_admins_form_makes_one_row(admin_user):
    browser = Browser()
    assert admin_login(browser, "root").status_code == 302
    row = only_row()
    assert (row.mode, row.user, row.session_key) == ("session", admin_user, browser.session_cookie)
    assert browser.get(API).status_code == 200


def test_force_login_makes_one_row(alice):
    client = Client()
    client.force_login(alice)
    assert only_row().user == alice
    assert client.get(API).status_code == 200


def test_djangos_login_makes_one_row(alice):
    request = HttpRequest()
    request.META.update(REMOTE_ADDR="192.0.2.1", HTTP_USER_AGENT="curl/8")
    request.session = SessionStore()
    django_login(request, alice, backend="django.contrib.auth.backends.ModelBackend")
    request.session.save()
    row = only_row()
    assert (row.session_key, row.ip_address) == (request.session.session_key, "192.0.2.1")
    client = Client()
    client.cookies["sessionid"] = request.session.session_key
    assert client.get(API).status_code == 200


def test_a_social_login_in_session_mode_makes_one_row(alice_at_dummy):
    browser = Browser()
    assert social_login(browser).status_code == 302
    row = only_row()
    assert (row.mode, row.method, row.provider) == ("session", "socialaccount", "dummy")
    assert (row.provider_uid, row.amr) == (UID, "fed")
    assert browser.get(API).status_code == 200


def test_a_social_login_from_allauths_own_button_makes_one_row(alice_at_dummy):
    browser = Browser()
    started = browser.submit("/accounts/dummy/login/")
    assert browser.submit(started.url, {"id": UID}).status_code == 302
    assert only_row().mode == "session"


def test_a_social_sign_up_makes_one_row(db):
    browser = Browser()
    social_login(browser, uid="99", username="newcomer", email="new@example.com")
    row = only_row()
    assert (row.user.get_username(), row.provider) == ("newcomer", "dummy")


def test_a_code_flow_makes_one_row_when_the_code_is_exchanged(code_flow, alice):
    code_flow.run()
    assert not LoginSession.objects.exists()
    response = code_flow.exchange()
    assert response.status_code == 200
    row = only_row()
    assert (row.mode, row.user, row.method, row.provider) == (
        "jwt",
        alice,
        "socialaccount",
        "dummy",
    )
    assert (row.provider_uid, row.amr) == (UID, "fed")
    assert claims_of(response.json()["access_token"])["amr"] == ["fed"]


def test_a_sign_up_on_allauths_page_makes_one_row(db):
    browser = Browser()
    browser.get("/accounts/signup/")
    form = {
        "username": "newcomer",
        "email": "new@example.com",
        "password1": PASSWORD,
        "password2": PASSWORD,
    }
    assert browser.submit("/accounts/signup/", form).status_code == 302
    assert only_row().user.get_username() == "newcomer"


@pytest.mark.django_db(transaction=True)
def test_the_started_signal_is_sent_once_with_the_row(mode, login):
    seen = []

    def listen(login_session, request, **kwargs):
        seen.append((str(login_session.sid), login_session.pk, request is not None))

    login_session_started.connect(listen)
    try:
        used = login(mode)
    finally:
        login_session_started.disconnect(listen)
    assert seen == [(used.sid, used.row.pk, True)]


def test_a_row_labels_its_client_and_trusts_no_forwarded_address(mode, alice):
    browser = Browser(REMOTE_ADDR="192.0.2.7")
    browser.send_json(
        "/auth/login/",
        credentials(mode),
        headers={"user-agent": "curl/8.5", "x-forwarded-for": "203.0.113.9"},
    )
    row = only_row()
    assert (row.ip_address, row.user_agent) == ("192.0.2.7", "curl/8.5")


def test_a_very_long_user_agent_is_cut(mode, alice):
    browser = Browser()
    headers = {"user-agent": "x" * 5000}
    assert browser.send_json("/auth/login/", credentials(mode), headers=headers).status_code == 200
    assert len(only_row().user_agent) == 512


# -- none before the last stage ------------------------------------------------------------


@pytest.mark.parametrize("path", ["/auth/login/", "/auth/token/"])
@pytest.mark.parametrize("body", [{"password": "wrong"}, {"username": "nobody"}])
def test_wrong_credentials_are_one_and_the_same_401(path, body, alice):
    response = post_json(path, credentials("jwt", **body))
    assert (response.status_code, response.json()["code"]) == (401, "no_active_account")
    assert_nothing_was_made()


@pytest.mark.parametrize("path", ["/auth/login/", "/auth/token/"])
def test_an_inactive_user_gets_no_login(path, mode, alice):
    alice.is_active = False
    alice.save()
    browser = Browser()
    response = browser.send_json(path, credentials(mode))
    assert response.status_code == 401
    assert response.json()["code"] in ("user_inactive", "no_active_account")
    assert_nothing_was_made()
    assert_signed_out(browser)


def test_an_inactive_user_gets_none_on_allauths_page_nor_socially(alice_at_dummy):
    alice_at_dummy.is_active = False
    alice_at_dummy.save()
    for enter in (lambda b: html_login(b, "alice"), social_login):
        browser = Browser()
        enter(browser)
        assert_signed_out(browser)
    assert_nothing_was_made()


def test_an_inactive_user_gets_no_authorization_code(code_flow, alice):
    alice.is_active = False
    alice.save()
    response = code_flow.run()
    assert "code=" not in response.url
    assert_nothing_was_made()


@pytest.mark.parametrize("path", ["/auth/login/", "/auth/token/"])
def test_a_pending_second_factor_is_401_stage_pending(path, mode, second_factor):
    browser = Browser()
    response = browser.send_json(path, credentials(mode))
    assert response.status_code == 401
    answer = response.json()
    assert (answer["code"], answer["stage"]) == ("stage_pending", "mfa_authenticate")
    assert not {"access", "refresh", "sid"} & set(answer)
    assert_nothing_was_made()
    assert_signed_out(browser)


def test_a_second_factor_completes_a_rest_login_for_a_cookie(second_factor):
    browser = sign_in("session").client
    browser.get("/accounts/2fa/authenticate/")
    assert browser.submit("/accounts/2fa/authenticate/", {"code": totp_code()}).status_code == 302
    row = only_row()
    assert (row.method, row.amr) == ("password", "pwd otp mfa")
    assert browser.get(API).status_code == 200


@pytest.mark.parametrize("transport", ["body", "cookie"])
def test_a_pending_login_for_tokens_leaves_nothing_to_go_on_with(transport, second_factor):
    with override_settings(AUTHMODES_TOKEN_TRANSPORT=transport):
        browser = sign_in("jwt").client
        browser.submit("/accounts/2fa/authenticate/", {"code": totp_code()})
        assert_signed_out(browser)
    assert_nothing_was_made()


def test_a_pending_second_factor_holds_up_allauths_page(second_factor):
    browser = Browser()
    assert html_login(browser, "alice").url == "/accounts/2fa/authenticate/"
    assert_nothing_was_made()
    assert_signed_out(browser)
    browser.get("/accounts/2fa/authenticate/")
    browser.submit("/accounts/2fa/authenticate/", {"code": totp_code()})
    assert only_row().amr == "pwd otp mfa"


def test_a_pending_second_factor_holds_up_a_code_flow_which_then_goes_on(code_flow, second_factor):
    response = code_flow.run()
    assert response.url == "/accounts/2fa/authenticate/"
    assert_nothing_was_made()
    assert_signed_out(code_flow.browser)
    code_flow.browser.get("/accounts/2fa/authenticate/")
    done = code_flow.browser.submit("/accounts/2fa/authenticate/", {"code": totp_code()})
    assert done.url.startswith("https://spa.example/callback?code=")
    code_flow.code = re.search("code=([^&]+)", done.url)[1]
    assert code_flow.exchange().status_code == 200
    assert only_row().amr == "fed otp mfa"


def test_an_abandoned_code_flow_leaves_nothing_to_the_next_login(code_flow, bob):
    """Started for an SPA, never finished; then another user signs in on allauth's own page."""
    code_flow.start()
    response = html_login(code_flow.browser, "bob")
    assert response.url == "/probe/page/"
    assert only_row().mode == "session"


def test_a_code_flow_that_stopped_at_a_stage_leaves_nothing_either(code_flow, second_factor, bob):
    code_flow.run()
    # What the page of the second factor offers for "Cancel".
    code_flow.browser.submit("/accounts/logout/")
    response = html_login(code_flow.browser, "bob")
    assert response.url == "/probe/page/"
    row = only_row()
    assert (row.user, row.mode) == (bob, "session")
    assert not AuthorizationCode.objects.exists()


@pytest.mark.parametrize("path", ["/auth/login/", "/auth/token/"])
@VERIFICATION
def test_an_unverified_email_address_is_401_stage_pending(path, mode, alice):
    browser = Browser()
    response = browser.send_json(path, credentials(mode))
    assert response.status_code == 401
    assert (response.json()["code"], response.json()["stage"]) == ("stage_pending", "verify_email")
    assert len(mail.outbox) == 1
    assert_nothing_was_made()
    assert_signed_out(browser)


@VERIFICATION
def test_an_unverified_email_address_holds_up_a_social_sign_up(db):
    code_flow = CodeFlow()
    code_flow.run(uid="99", username="newcomer", email="new@example.com")
    assert code_flow.code == ""
    assert_nothing_was_made()
    assert_signed_out(code_flow.browser)


@VERIFICATION
def test_a_verified_email_address_lets_a_login_pass(mode, alice):
    EmailAddress.objects.create(user=alice, email=alice.email, verified=True, primary=True)
    response = sign_in(mode)
    assert response.status_code == 200


def test_too_many_attempts_are_429(alice):
    with override_settings(ACCOUNT_RATE_LIMITS={"login_failed": "3/m/key"}):
        for _ in range(3):
            response = sign_in("jwt", password="wrong")
            assert response.status_code == 401
        response = sign_in("jwt")
    assert response.status_code == 429
    assert response.json()["code"] == "throttled"
    assert_nothing_was_made()


# -- over an older login -------------------------------------------------------------------


def sign_in_by_rest(browser, name):
    body = {"username": name, "password": PASSWORD, "mode": "session"}
    assert browser.send_json("/auth/login/", body).status_code == 200


def sign_in_on_the_admins_form(browser, name):
    get_user_model().objects.filter(username=name).update(is_staff=True)
    assert admin_login(browser, name).status_code == 302


def sign_in_socially(browser, name):
    user = get_user_model().objects.get(username=name)
    account, _ = SocialAccount.objects.get_or_create(
        user=user, provider="dummy", defaults={"uid": str(9000 + user.pk)}
    )
    assert social_login(browser, account.uid).status_code == 302


ENTRY_POINTS = [sign_in_by_rest, sign_in_on_the_admins_form, sign_in_socially]


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
@pytest.mark.parametrize("second", ["alice", "bob"])
def test_signing_in_over_a_login_ends_the_old_one(entry_point, second, login, bob):
    browser = Browser()
    first = login("session", browser=browser)
    old_cookie = browser.session_cookie

    entry_point(browser, second)

    row = LoginSession.objects.active().get()
    assert row.user.get_username() == second
    assert first.row.end_reason == "logout"
    assert browser.session_cookie not in ("", old_cookie)
    assert browser.get(API).json()["username"] == second
    replay = Browser()
    replay.cookies["sessionid"] = old_cookie
    assert_signed_out(replay)
    assert not Session.objects.filter(session_key=old_cookie).exists()


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_a_planted_session_cookie_is_worthless(entry_point, alice):
    """Session fixation: the attacker keeps the cookie that the victim signs in over."""
    attacker = Browser()
    attacker.submit("/auth/social/dummy/start/?mode=session")
    planted = attacker.session_cookie
    assert planted
    victim = Browser()
    victim.cookies["sessionid"] = planted

    entry_point(victim, "alice")

    assert victim.session_cookie != planted
    assert victim.get(API).status_code == 200
    assert_signed_out(attacker)


@pytest.mark.parametrize("cookie", ["x" * 32, "short", "'; drop table", "ä" * 8])
def test_a_foreign_cookie_is_in_nobodys_way(cookie, mode, alice):
    browser = Browser()
    browser.cookies["sessionid"] = cookie
    response = browser.send_json("/auth/login/", credentials(mode))
    assert response.status_code == 200
    assert only_row().ended_at is None


def test_a_failed_login_leaves_the_older_one_alone(mode, login):
    browser = Browser()
    login("session", browser=browser)
    response = browser.send_json("/auth/login/", credentials(mode, password="wrong"))
    assert response.status_code == 401
    assert browser.get(API).status_code == 200


@pytest.mark.parametrize("path", ["/auth/login/", "/auth/token/"])
@pytest.mark.parametrize("user", ["alice", "bob"])
def test_a_login_for_tokens_leaves_the_cookie_login_in_the_same_browser_alone(
    path, user, login, bob
):
    browser = Browser()
    cookie = login("session", browser=browser)
    key = browser.session_cookie

    response = browser.send_json(path, credentials("jwt", username=user))

    assert response.status_code == 200
    assert "sessionid" not in response.cookies
    assert browser.session_cookie == key
    assert browser.get(API).json() == {"username": "alice", "mode": "session"}
    assert call_with(response.json()["access"]).json() == {"username": user, "mode": "jwt"}
    assert cookie.row.ended_at is None
    assert Session.objects.count() == 1


def test_a_login_for_tokens_sets_no_cookie(alice):
    response = post_json("/auth/login/", credentials("jwt"))
    assert response.status_code == 200
    assert not response.cookies
    assert not post_json("/auth/token/", credentials()).cookies


def test_a_login_for_a_cookie_is_subject_to_csrf_and_one_for_tokens_is_not(alice):
    strict = Client(enforce_csrf_checks=True)
    assert post_json("/auth/login/", credentials("session"), strict).status_code == 403
    assert_nothing_was_made()
    assert post_json("/auth/login/", credentials("jwt"), strict).status_code == 200


def test_a_cross_site_form_cannot_sign_anybody_in(alice):
    strict = Client(enforce_csrf_checks=True)
    assert strict.post("/auth/login/", credentials("session")).status_code == 403
    text = strict.post("/auth/login/", '{"username": "alice"}', "text/plain")
    assert text.status_code == 415
    assert_nothing_was_made()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("way", "expected"),
    [
        # The account for allauth's limit, the user, the mark of an ending; then one transaction.
        ("session", "SELECT SELECT SELECT UPDATE INSERT INSERT INSERT"),
        ("jwt", "SELECT SELECT SELECT INSERT INSERT INSERT UPDATE"),
    ],
)
def test_the_statements_of_a_login(way, expected, login, settings):
    settings.AUTHMODES_NOTIFY_NEW_LOGIN = False
    login(way)
    with CaptureQueriesContext(connection) as captured:
        login(way)
    verbs = [query["sql"].partition(" ")[0] for query in captured]
    counted = ("SELECT", "INSERT", "UPDATE", "DELETE")
    assert " ".join(verb for verb in verbs if verb in counted) == expected


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", ["session", "jwt"])
def test_a_login_that_replaces_one_writes_first_in_each_transaction(way, login, settings):
    """SQLite refuses a write after a read if a different connection has written since."""
    settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"
    browser = login("jwt").browser
    with CaptureQueriesContext(connection) as captured:
        assert browser.send_json("/auth/login/", credentials(way)).status_code == 200
    verbs = [query["sql"].partition(" ")[0].rstrip(";") for query in captured]
    first = [verbs[i + 1] for i, verb in enumerate(verbs) if verb == "BEGIN"]
    assert first
    assert "SELECT" not in first


@pytest.mark.django_db(transaction=True)
def test_a_login_that_is_rolled_back_ends_no_other(alice, bob):
    """SQLite gives its key to the next row."""

    def fail(user, **kwargs):
        if user == alice:
            raise RuntimeError

    def start_next(**kwargs):
        registry.start(None, bob, "jwt")

    user_logged_in.connect(fail)
    got_request_exception.connect(start_next)
    try:
        assert html_login(Browser(raise_request_exception=False), "alice").status_code == 500
    finally:
        user_logged_in.disconnect(fail)
        got_request_exception.disconnect(start_next)
    assert only_row().user == bob
    assert only_row().is_active


@pytest.mark.parametrize("way", ["session", "jwt"])
def test_signing_in_costs_the_same_with_fifty_logins_as_with_none(way, login):
    def count_queries():
        with CaptureQueriesContext(connection) as captured:
            login(way)
        return len(captured)

    first = count_queries()
    for number in range(50):
        login("session" if number % 2 else "jwt")
    assert count_queries() == first


# -- logging out ---------------------------------------------------------------------------


def test_logging_out_takes_the_session_cookie_back(login):
    used = login("session")
    key = used.browser.session_cookie
    response = used.logout()
    assert response.status_code == 204
    assert response.cookies["sessionid"].value == ""
    assert not Session.objects.filter(session_key=key).exists()


def test_logging_out_takes_stray_token_cookies_back_too(mode, login):
    response = login(mode).logout()
    assert response.cookies["__Host-authmodes_access"]["max-age"] == 0
    assert response.cookies["__Host-authmodes_refresh"]["max-age"] == 0


def test_logging_out_without_a_login_is_204(db):
    assert Browser().send_json("/auth/logout/").status_code == 204


@pytest.mark.parametrize("cookie", ["x" * 32, "short", "gone"])
def test_a_stale_cookie_does_not_block_a_logout_and_is_taken_back(cookie, login):
    browser = Browser()
    if cookie == "gone":
        used = login("session", browser=browser)
        registry.revoke(used.row)
    else:
        browser.cookies["sessionid"] = cookie
    response = browser.send_json("/auth/logout/")
    assert response.status_code == 204
    assert response.cookies["sessionid"].value == ""


def test_a_bad_bearer_header_is_401_and_ends_nothing(login):
    cookie = login("session")
    response = cookie.browser.post(
        "/auth/logout/", headers={**cookie.browser.csrf(), "authorization": "Bearer x"}
    )
    assert response.status_code == 401
    assert cookie.get().status_code == 200


def test_a_bearer_logout_leaves_the_cookie_login_in_the_same_browser_alone(login):
    browser = Browser()
    cookie, token = login("session", browser=browser), login("jwt", browser=browser)
    assert token.logout().status_code == 204
    assert cookie.get().status_code == 200
    assert call_with(token.access).status_code == 401


def test_a_client_whose_access_token_expired_logs_out_with_its_refresh_token(clock, login):
    used = login("jwt")
    clock.shift(timedelta(minutes=6))
    response = post_json("/auth/logout/", {"refresh": used.refresh_token})
    assert response.status_code == 204
    assert refresh(used.refresh_token).status_code == 401
    assert used.row.end_reason == "logout"


def test_logging_out_twice_is_as_good_as_once(mode, login):
    used = login(mode)
    assert used.logout().status_code == 204
    second = used.logout()
    assert second.status_code in (204, 401)
    assert used.row.end_reason == "logout"


def test_an_inactive_users_stale_cookie_does_not_block_the_login_of_another(login, alice, bob):
    browser = Browser()
    login("session", browser=browser)
    alice.is_active = False
    alice.save()
    body = {"username": "bob", "password": PASSWORD, "mode": "session"}
    assert browser.send_json("/auth/login/", body).status_code == 200
    assert browser.get(API).json()["username"] == "bob"
