"""What allauth.usersessions and django-axes do with each kind of login."""

import pytest
from allauth.usersessions.models import UserSession
from axes.models import AccessAttempt, AccessLog
from django.contrib.sessions.models import Session

from authmodes.models import LoginSession
from tests.support.browser import Browser
from tests.support.logins import API, PASSWORD, call_with, html_login, post_json, sign_in


def fail(count, mode):
    for _ in range(count):
        assert sign_in(mode, password="wrong").status_code in (401, 429, 403)


def password(mode, code_flow):
    answer = sign_in(mode)
    assert answer.status_code == 200, answer.content
    return answer.json()


def simplejwts_endpoint(mode, code_flow):
    answer = post_json("/auth/token/", {"username": "alice", "password": PASSWORD})
    assert answer.status_code == 200, answer.content
    return answer.json()


def code(mode, code_flow):
    assert code_flow.run().status_code == 302
    return code_flow.tokens()


WAYS = [
    (password, "jwt"),
    (password, "session"),
    (simplejwts_endpoint, "jwt"),
    (code, "jwt"),
]


@pytest.mark.parametrize(("way", "mode"), WAYS)
def test_a_login_makes_one_row_and_is_logged_once(way, mode, alice, code_flow):
    answer = way(mode, code_flow)
    assert LoginSession.objects.get().mode == mode
    assert AccessLog.objects.filter(username="alice").count() == 1
    assert Session.objects.count() == (1 if mode == "session" else 0)
    if mode == "jwt":
        assert call_with(answer["access"]).status_code == 200


def test_a_page_login_for_token_cookies_leaves_no_django_session(alice, settings):
    settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"
    browser = Browser()
    assert html_login(browser, "alice", query="?mode=jwt").status_code == 302
    assert browser.get(API).status_code == 200
    assert not Session.objects.exists()


@pytest.mark.parametrize(("way", "mode"), WAYS)
def test_a_login_resets_the_failures_that_axes_has_counted(way, mode, alice, code_flow):
    fail(2, mode)
    assert AccessAttempt.objects.exists()
    way(mode, code_flow)
    # A code's client failed at nothing itself, and the browser's name is not known to axes.
    assert not AccessAttempt.objects.exists()


@pytest.mark.parametrize("mode", ["session", "jwt"])
def test_a_user_whom_axes_has_locked_out_gets_no_login(mode, alice):
    fail(3, mode)
    assert sign_in(mode).status_code >= 400
    assert not LoginSession.objects.exists()


def test_usersessions_lists_the_cookie_login_of_its_user_only(alice, bob):
    browser = Browser()
    assert sign_in("session", browser).status_code == 200
    assert sign_in("jwt", browser, username="bob").status_code == 200
    kept = UserSession.objects.get(session_key=browser.session_cookie)
    assert kept.user == alice
    assert [row.user for row in UserSession.objects.purge_and_list(bob)] == []
