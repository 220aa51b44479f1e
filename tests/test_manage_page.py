"""The user's own page about login sessions, as a browser without JavaScript uses it."""

import re
import uuid
from unittest import mock

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from authmodes import request_client
from authmodes.models import LoginSession

from .support.browser import Browser

URL = "/auth/sessions/manage/"


@pytest.fixture
def here(login):
    """alice's browser, signed in."""
    return login("session")


def forms(html):
    """What each form that ends logins would send, without the CSRF token."""
    found = []
    for form in re.findall(r"<form.*?</form>", html, re.S):
        fields = dict(re.findall(r'<input type="hidden" name="(sid|others)" value="([^"]*)"', form))
        if fields and 'name="name"' not in form:
            found.append(fields)
    return found


def text_of(response):
    assert response.status_code == 200
    return response.content.decode()


def test_it_lists_ones_logins_in_both_modes(here, login):
    other, token = login("session"), login("jwt")
    html = text_of(here.browser.get(URL))
    assert html.count("last seen") == 3
    assert html.count("This login") == 1
    assert {form["sid"] for form in forms(html) if "sid" in form} == {other.sid, token.sid}


def test_it_shows_no_other_users_logins_and_no_ended_ones(here, login, bob):
    his = login("session", bob)
    ended = login("jwt")
    ended.logout()
    html = text_of(here.browser.get(URL))
    assert his.sid not in html
    assert ended.sid not in html


def test_a_login_is_named_and_the_name_is_removed_again(here, login):
    other = login("jwt")
    assert (
        here.browser.submit(URL, {"sid": other.sid, "name": "my <b>phone</b>\x00"}).status_code
        == 302
    )
    html = text_of(here.browser.get(URL))
    assert "my &lt;b&gt;phone&lt;/b&gt;" in html
    assert other.get().status_code == 200
    here.browser.submit(URL, {"sid": other.sid, "name": ""})
    assert "phone" not in text_of(here.browser.get(URL))


def test_the_login_of_a_mail_is_asked_about(here, login, bob):
    other, his = login("session"), login("session", bob)
    html = text_of(here.browser.get(URL, {"login": other.sid}))
    question = html.split("Was this you?")[1].split("All your logins")[0]
    assert {form["sid"] for form in forms(question)} == {other.sid}
    assert "/accounts/password/change/" in question
    for unknown in (his.sid, "junk", "\x00", ""):
        assert "Was this you?" not in text_of(here.browser.get(URL, {"login": unknown}))


def test_the_provider_is_named_as_the_site_names_it(here, login):
    for provider in ("example", "removed"):
        LoginSession.objects.filter(sid=login("jwt").sid).update(provider=provider)
    html = text_of(here.browser.get(URL))
    assert "token · <bdi>Example ID</bdi> ·" in html
    assert "token · <bdi>removed</bdi> ·" in html


def test_many_logins_are_paged(here, login):
    for _ in range(3):
        login("jwt")
    with mock.patch("authmodes.api.fields.PAGE_SIZE", 2):
        first = text_of(here.browser.get(URL))
        second = text_of(here.browser.get(URL, {"page": "2"}))
        assert "Page 1 of 2" in first
        assert first.count("last seen") == second.count("last seen") == 2
        for junk in ("0", "99", "junk", "\x00"):
            assert text_of(here.browser.get(URL, {"page": junk})).count("last seen") == 2


def test_the_place_of_an_address_is_shown_where_the_project_has_geoip2(here, settings, tmp_path):
    database = MMDBWriter(database_type="GeoLite2-City", languages=["en"])
    berlin = {
        "city": {"names": {"en": "Berlin"}},
        "country": {"iso_code": "DE", "names": {"en": "Germany"}},
    }
    database.insert_network(IPSet(["127.0.0.0/8"]), berlin)
    database.to_db_file(str(tmp_path / "GeoLite2-City.mmdb"))
    settings.GEOIP_PATH = tmp_path
    request_client.place_of.cache_clear()
    assert "Berlin, Germany" in text_of(here.browser.get(URL))
    # Not in the database, no database, and a damaged one.
    assert request_client.place_of("192.0.2.1") == ""
    settings.GEOIP_PATH = tmp_path / "missing"
    assert request_client.place_of("127.0.0.2") == ""
    (tmp_path / "GeoLite2-City.mmdb").write_bytes(b"junk")
    settings.GEOIP_PATH = tmp_path
    assert request_client.place_of("127.0.0.3") == ""
    request_client.place_of.cache_clear()


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
