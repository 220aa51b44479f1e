"""The user's own page about login sessions, as a browser without JavaScript uses it."""

import re
import uuid

import pytest

from authmodes.models import LoginSession

from .support.browser import Browser

URL = "/auth/sessions/manage/"


@pytest.fixture
def here(login):
    """alice's browser, signed in."""
    return login("session")


def forms(html):
    """What each form of the page would send, without the CSRF token."""
    found = []
    for form in re.findall(r"<form.*?</form>", html, re.S):
        fields = dict(re.findall(r'<input type="hidden" name="(sid|others)" value="([^"]*)"', form))
        if fields:
            found.append(fields)
    return found


def text_of(response):
    assert response.status_code == 200
    return response.content.decode()


def test_it_lists_ones_logins_in_both_modes(here, login):
    other, token = login("session"), login("jwt")
    html = text_of(here.browser.get(URL))
    assert html.count("last seen") == 3
    assert html.count("This one") == 1
    assert {form["sid"] for form in forms(html) if "sid" in form} == {other.sid, token.sid}


def test_it_shows_no_other_users_logins_and_no_ended_ones(here, login, bob):
    his = login("session", bob)
    ended = login("jwt")
    ended.logout()
    html = text_of(here.browser.get(URL))
    assert his.sid not in html
    assert ended.sid not in html


def test_it_shows_no_credential(here, login):
    token = login("jwt")
    html = text_of(here.browser.get(URL))
    for row in LoginSession.objects.exclude(session_key=None):
        assert row.session_key not in html
    assert token.access not in html
    assert token.refresh_token not in html


def test_its_buttons_end_one(here, login):
    other, token = login("session"), login("jwt")
    response = here.browser.submit(URL, {"sid": other.sid})
    assert (response.status_code, response.url) == (302, URL)
    assert (other.get().status_code, token.get().status_code) == (401, 200)
    row = other.row
    assert (row.end_reason, row.ended_by) == ("revoked_by_user", row.user)
    assert "The selected login sessions were ended." in text_of(here.browser.get(URL))


def test_its_form_works_as_it_is_in_the_page(here, login):
    """With the token of the page itself, as a browser without JavaScript sends it."""
    other = login("session")
    html = text_of(here.browser.get(URL))
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', html).group(1)
    (fields,) = [form for form in forms(html) if form.get("sid") == other.sid]
    fields["csrfmiddlewaretoken"] = token
    assert here.browser.post(URL, fields).status_code == 302
    assert other.get().status_code == 401


def test_it_ends_all_others(here, login, bob):
    others = [login("session"), login("jwt")]
    his = login("session", bob)
    assert here.browser.submit(URL, {"others": "1"}).status_code == 302
    assert [one.get().status_code for one in others] == [401, 401]
    assert (here.get().status_code, his.get().status_code) == (200, 200)


def test_it_ends_all_of_them_this_one_too(here, login, bob):
    others = [login("session"), login("jwt")]
    his = login("session", bob)
    response = here.browser.submit(URL, {"all": "1"}, follow=True)
    assert response.redirect_chain[-1][0].startswith("/accounts/login/")
    assert [one.get().status_code for one in (here, *others)] == [401, 401, 401]
    assert his.get().status_code == 200


def test_alone_there_is_nothing_to_end(here):
    assert forms(text_of(here.browser.get(URL))) == []


def test_another_users_login_does_not_exist(here, login, bob):
    his = login("session", bob)
    assert here.browser.submit(URL, {"sid": his.sid}).status_code == 404
    assert his.get().status_code == 200


@pytest.mark.parametrize("sid", ["", "junk", str(uuid.UUID(int=0)), "\x00", "é" * 500])
def test_a_login_that_does_not_exist_is_404(sid, here):
    assert here.browser.submit(URL, {"sid": sid}).status_code == 404


def test_without_a_csrf_token_nothing_ends(here, login):
    other = login("session")
    assert here.browser.post(URL, {"sid": other.sid}).status_code == 403
    assert here.browser.post(URL, {"others": "1"}).status_code == 403
    assert other.get().status_code == 200


@pytest.mark.parametrize("method", ["get", "head", "put", "delete", "options"])
def test_only_a_post_ends_anything(method, here, login):
    other = login("session")
    getattr(here.browser, method)(f"{URL}?sid={other.sid}&others=1", headers=here.browser.csrf())
    assert other.get().status_code == 200


def test_strangers_are_sent_to_sign_in(db):
    for response in (Browser().get(URL), Browser().submit(URL, {"others": "1"})):
        assert response.status_code == 302
        assert response.url.startswith("/accounts/login/")


def test_a_token_does_not_open_the_page(login):
    assert login("jwt").get(URL).status_code == 302


def test_it_is_not_kept_by_caches(here):
    assert "no-store" in here.browser.get(URL).headers["Cache-Control"]


def test_a_user_agent_is_only_text(login):
    browser = Browser(HTTP_USER_AGENT="<script>alert(1)</script>")
    used = login("session", browser=browser)
    assert "<script>alert" not in text_of(used.browser.get(URL))


def test_its_queries_do_not_grow_with_the_logins(here, login, django_assert_num_queries):
    here.browser.get(URL)

    def count():
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        with CaptureQueriesContext(connection) as captured:
            text_of(here.browser.get(URL))
        return len(captured)

    login("session")
    few = count()
    for _ in range(10):
        login("session")
        login("jwt")
    assert count() == few


def test_ending_all_others_costs_the_same_for_many(here, login):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    # The first ending of all leaves a note, which the next ones only renew.
    here.browser.submit(URL, {"others": "1"})
    counts = []
    for number in (1, 10):
        for _ in range(number):
            login("session")
            login("jwt")
        with CaptureQueriesContext(connection) as captured:
            assert here.browser.submit(URL, {"others": "1"}).status_code == 302
        counts.append(len(captured))
    assert counts[0] == counts[1]
