"""`AUTHMODES_MODE` decides at once and without a migration which credentials count."""

import pytest
from django.test import Client
from django.test.utils import override_settings

from authmodes.models import LoginSession

from .support.browser import Browser
from .support.logins import (
    API,
    PASSWORD,
    admin_login,
    call_with,
    html_login,
    only_row,
    post_json,
    refresh,
    sign_in,
)

OTHER = {"session": "jwt", "jwt": "session"}


# -- switching -----------------------------------------------------------------------------


def test_a_login_of_a_mode_that_is_switched_off_is_refused_and_comes_back_with_it(mode, login):
    used = login(mode)
    with override_settings(AUTHMODES_MODE=OTHER[mode]):
        response = used.get()
        assert response.status_code == 401
        assert response["WWW-Authenticate"].startswith("Bearer")
    assert used.get().status_code == 200
    with override_settings(AUTHMODES_MODE=mode):
        assert used.get().status_code == 200
    assert used.row.ended_at is None


def test_a_refresh_token_waits_out_the_time_that_tokens_are_off(login):
    used = login("jwt")
    with override_settings(AUTHMODES_MODE="session"):
        response = refresh(used.refresh_token)
        assert (response.status_code, response.json()["code"]) == (401, "mode_disabled")
        verified = post_json("/auth/token/verify/", {"token": used.access})
        assert verified.status_code == 401
    assert refresh(used.refresh_token).status_code == 200


def test_a_refused_access_token_says_that_tokens_are_off(login):
    used = login("jwt")
    with override_settings(AUTHMODES_MODE="session"):
        response = call_with(used.access, "/auth/user/")
    assert (response.status_code, response.json()["code"]) == (401, "mode_disabled")


@pytest.mark.parametrize("only", ["session", "jwt"])
def test_a_login_for_a_mode_that_is_off_is_400_and_makes_nothing(only, alice):
    with override_settings(AUTHMODES_MODE=only):
        response = sign_in(OTHER[only])
    assert (response.status_code, response.json()["code"]) == (400, "mode_disabled")
    assert not LoginSession.objects.exists()
    assert "sessionid" not in response.cookies


def test_simplejwts_own_endpoint_makes_no_tokens_in_session_mode(alice):
    with override_settings(AUTHMODES_MODE="session"):
        response = post_json("/auth/token/", {"username": "alice", "password": PASSWORD})
    assert (response.status_code, response.json()["code"]) == (400, "mode_disabled")
    assert not LoginSession.objects.exists()


def test_a_code_is_not_exchanged_once_tokens_are_off_and_still_can_be_when_they_are_on(code_flow):
    code_flow.run()
    with override_settings(AUTHMODES_MODE="session"):
        response = code_flow.exchange()
        assert (response.status_code, response.json()["code"]) == (400, "mode_disabled")
    assert code_flow.exchange().status_code == 200


def test_an_unknown_mode_is_400_and_makes_nothing(alice):
    response = sign_in("cookie")
    assert (response.status_code, response.json()["code"]) == (400, "invalid_mode")
    assert not LoginSession.objects.exists()


# -- which mode ----------------------------------------------------------------------------


@pytest.mark.parametrize("only", ["session", "jwt"])
def test_a_login_that_names_no_mode_gets_the_only_one(only, alice):
    with override_settings(AUTHMODES_MODE=only):
        assert sign_in(None).json()["mode"] == only


@pytest.mark.parametrize("default", ["session", "jwt"])
@pytest.mark.parametrize("named", [None, ""])
def test_in_both_a_login_that_names_no_mode_gets_the_default(default, named, alice):
    with override_settings(AUTHMODES_DEFAULT_MODE=default):
        response = sign_in(named)
    assert response.json()["mode"] == default
    assert only_row().mode == default


@pytest.mark.parametrize("default", ["session", "jwt"])
def test_a_mode_is_named_in_the_body_or_in_the_query(mode, default, alice):
    with override_settings(AUTHMODES_DEFAULT_MODE=default):
        assert sign_in(mode).json()["mode"] == mode
        assert sign_in(None, query=f"?mode={mode}").json()["mode"] == mode


def test_the_body_outranks_the_query(mode, alice):
    assert sign_in(mode, query=f"?mode={OTHER[mode]}").json()["mode"] == mode


@pytest.mark.parametrize(
    ("configured", "modes"),
    [("session", ["session"]), ("jwt", ["jwt"]), ("both", ["session", "jwt"])],
)
def test_the_index_tells_a_client_which_modes_there_are(configured, modes, db):
    with override_settings(AUTHMODES_MODE=configured):
        answer = Client().get("/auth/").json()
    assert (answer["mode"], answer["modes"]) == (configured, modes)
    assert answer["default_mode"] in modes


# -- what each mode opens ------------------------------------------------------------------


def test_a_token_opens_the_api_and_no_page(login):
    used = login("jwt")
    assert used.get().json() == {"username": "alice", "mode": "jwt"}
    assert used.get("/probe/page/").status_code == 302
    assert used.get("/probe/whoami/").json() == {"username": None}


def test_a_cookie_opens_the_api_and_the_pages(login):
    used = login("session")
    assert used.get().json() == {"username": "alice", "mode": "session"}
    assert used.get("/probe/page/").json() == {"username": "alice"}


def test_in_jwt_mode_a_cookie_opens_the_admin_and_nothing_else(admin_user):
    browser = Browser()
    with override_settings(AUTHMODES_MODE="jwt"):
        assert admin_login(browser, "root").status_code == 302
        assert browser.get("/admin/").status_code == 200
        assert browser.get(API).status_code == 401
        assert browser.get("/auth/user/").status_code == 401
        assert browser.get("/auth/sessions/").status_code == 401
        assert browser.get("/probe/page/").status_code == 302
        assert browser.get("/probe/whoami/").json() == {"username": None}
        assert browser.get("/no/such/page/").status_code == 404
        # And none of these threw the administrator out.
        assert browser.get("/admin/").status_code == 200
    assert only_row().mode == "session"


def test_a_cookie_from_before_jwt_mode_still_opens_the_admin_only(admin_user):
    browser = Browser()
    admin_login(browser, "root")
    with override_settings(AUTHMODES_MODE="jwt"):
        assert browser.get("/admin/").status_code == 200
        assert browser.get("/probe/page/").status_code == 302
    assert browser.get("/probe/page/").status_code == 200


def test_in_jwt_mode_the_admin_ends_its_own_login(admin_user):
    browser = Browser()
    with override_settings(AUTHMODES_MODE="jwt"):
        admin_login(browser, "root")
        assert browser.submit("/admin/logout/").status_code == 200
        assert browser.get("/admin/").status_code == 302
    assert only_row().end_reason == "logout"


@pytest.mark.parametrize("configured", ["session", "jwt", "both"])
def test_the_admin_always_signs_in_with_a_cookie(configured, admin_user):
    with override_settings(AUTHMODES_MODE=configured, AUTHMODES_DEFAULT_MODE="jwt"):
        browser = Browser()
        assert admin_login(browser, "root").status_code == 302
        assert browser.get("/admin/").status_code == 200


# -- allauth's own pages -------------------------------------------------------------------


def test_in_jwt_mode_allauths_page_makes_no_login_where_nobody_could_fetch_the_tokens(alice):
    browser = Browser()
    with override_settings(AUTHMODES_MODE="jwt"):
        response = html_login(browser, "alice")
    assert response.status_code == 400
    assert b"nowhere_to_send_tokens" in response.content
    assert not LoginSession.objects.exists()
    assert browser.session_cookie == ""
    assert browser.get("/probe/page/").status_code == 302


def test_in_jwt_mode_allauths_page_sets_token_cookies_with_the_cookie_transport(alice):
    browser = Browser()
    with override_settings(AUTHMODES_MODE="jwt", AUTHMODES_TOKEN_TRANSPORT="cookie"):
        response = html_login(browser, "alice")
        assert (response.status_code, response.url) == (302, "/probe/page/")
        assert browser.get(API).json() == {"username": "alice", "mode": "jwt"}
        assert browser.session_cookie == ""
    assert only_row().mode == "jwt"


def test_a_page_login_may_ask_for_a_mode_that_is_off_and_gets_none(alice):
    browser = Browser()
    with override_settings(AUTHMODES_MODE="session"):
        response = html_login(browser, "alice", query="?mode=jwt")
    assert response.status_code == 400
    assert not LoginSession.objects.exists()
    assert browser.get("/probe/page/").status_code == 302
