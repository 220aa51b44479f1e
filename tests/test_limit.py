"""`AUTHMODES_MAX_LOGIN_SESSIONS`: which login goes, who is refused, and what is left behind."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.auth import login as django_login
from django.contrib.sessions.models import Session
from django.core.cache.backends.locmem import LocMemCache
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.urls import path
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from authmodes import registry
from authmodes.models import LoginSession
from authmodes.sessions import state as session_state
from authmodes.sessions import store as session_store

from .support.authorization_code import code_grant
from .support.browser import Browser
from .support.database import connection
from .support.logins import API, PASSWORD, admin_login, html_login, post_json, refresh, social_login
from .urls import urlpatterns as project_urlpatterns

MIXES = list(itertools.product(["session", "jwt"], repeat=3))


@api_view(["POST"])
@permission_classes([AllowAny])
def login_of_the_project(request: Request) -> Response:
    """As dj-rest-auth's; DRF answers its exceptions, so no middleware hears of them."""
    alice = get_user_model().objects.get(username="alice")
    backend = "django.contrib.auth.backends.ModelBackend"
    django_login(request._request, alice, backend=backend)
    return Response()


urlpatterns = [*project_urlpatterns, path("project/login/", login_of_the_project)]


@pytest.fixture
def two(settings):
    settings.AUTHMODES_MAX_LOGIN_SESSIONS = 2


@pytest.fixture
def refuse(two, settings):
    settings.AUTHMODES_LIMIT_POLICY = "refuse"


def active():
    return LoginSession.objects.active()


def assert_no_new_login(before):
    """Neither a row nor a Django session with a user came on top of `before`."""
    assert set(LoginSession.objects.values_list("sid", flat=True)) == before
    alive = {str(sid) for sid in before}
    for session in Session.objects.all():
        data = session.get_decoded()
        assert SESSION_KEY not in data or session_state.sid_in(data) in alive


# -- the oldest ends -----------------------------------------------------------------------


@pytest.mark.parametrize("mix", MIXES, ids="-".join)
def test_the_third_login_ends_exactly_the_oldest(mix, two, login, clock):
    logins = []
    for mode in mix:
        logins.append(login(mode))
        clock.shift(timedelta(seconds=1))
    assert [one.get().status_code for one in logins] == [401, 200, 200]
    assert [one.row.end_reason for one in logins] == ["limit", "", ""]
    if logins[0].mode == "jwt":
        assert refresh(logins[0].refresh_token).status_code == 401


def test_the_oldest_is_the_one_that_signed_in_first_whenever_it_was_used(two, login, clock):
    first, second = login("session"), login("session")
    clock.shift(timedelta(minutes=5))
    assert first.get().status_code == 200
    login("session")
    assert (first.get().status_code, second.get().status_code) == (401, 200)


def test_logins_within_one_instant_end_in_the_order_of_their_making(two, login, clock):
    logins = [login("session") for _ in range(4)]
    assert [one.get().status_code for one in logins] == [401, 401, 200, 200]


def test_only_active_logins_count(two, login, clock, settings):
    settings.SESSION_COOKIE_AGE = 60 * 24 * 60 * 60
    kept, gone = login("session"), login("jwt")
    registry.revoke(gone.row)
    third = login("session")
    assert [kept.get().status_code, third.get().status_code] == [200, 200]

    settings.AUTHMODES_ABSOLUTE_LIFETIME = timedelta(days=90)
    clock.shift(timedelta(days=29))
    fresh = login("session")  # `kept` is the oldest
    assert kept.row.end_reason == "limit"
    clock.shift(timedelta(days=2))  # `third` is past its end and not ended yet
    last = login("session")
    assert [fresh.get().status_code, last.get().status_code] == [200, 200]


def test_other_users_do_not_count(two, login, bob):
    hers = [login("session"), login("jwt")]
    his = [login("session", bob), login("jwt", bob)]
    assert [one.get().status_code for one in (*hers, *his)] == [200] * 4


def test_a_limit_that_was_lowered_ends_all_that_are_too_many(login, settings, clock):
    logins = [login("session") for _ in range(5)]
    settings.AUTHMODES_MAX_LOGIN_SESSIONS = 2
    newest = login("session")
    assert [one.get().status_code for one in logins] == [401] * 4 + [200]
    assert newest.get().status_code == 200


def test_a_limit_of_one_leaves_the_newest(login, settings, mode):
    settings.AUTHMODES_MAX_LOGIN_SESSIONS = 1
    first, second = login(mode), login(mode)
    assert (first.get().status_code, second.get().status_code) == (401, 200)


def test_signing_in_again_in_one_browser_takes_its_own_place(two, login):
    other = login("jwt")
    browser = Browser()
    for _ in range(3):
        again = login("session", browser=browser)
    assert (other.get().status_code, again.get().status_code) == (200, 200)
    assert not LoginSession.objects.filter(end_reason="limit").exists()


def test_the_code_exchange_counts(two, login, code_flow, clock):
    first = login("session")
    clock.shift(timedelta(seconds=1))
    second = login("jwt")
    code_flow.run()
    assert code_flow.exchange().status_code == 200
    assert (first.get().status_code, second.get().status_code) == (401, 200)


# -- refused -------------------------------------------------------------------------------


@pytest.fixture
def full(refuse, login):
    """alice has as many logins as she may; give them, and their sids."""
    logins = [login("session"), login("jwt")]
    return logins, set(LoginSession.objects.values_list("sid", flat=True))


def test_rest_refuses_with_403(full, mode):
    logins, before = full
    browser = Browser()
    body = {"username": "alice", "password": PASSWORD, "mode": mode}
    response = browser.send_json("/auth/login/", body)
    assert (response.status_code, response.json()["code"]) == (403, "limit_reached")
    assert browser.get(API).status_code == 401
    assert not browser.session_cookie
    assert_no_new_login(before)
    assert [one.get().status_code for one in logins] == [200, 200]


def test_simplejwts_path_refuses_with_403(full):
    _, before = full
    response = post_json("/auth/token/", {"username": "alice", "password": PASSWORD})
    assert (response.status_code, response.json()["code"]) == (403, "limit_reached")
    assert OutstandingToken.objects.count() == 1
    assert_no_new_login(before)


@pytest.mark.parametrize("sign_in", [html_login, admin_login, social_login])
def test_a_browser_is_refused_with_a_page(sign_in, full, admin_user, alice_at_dummy, login):
    name = "alice"
    if sign_in is admin_login:
        for _ in range(2):
            login("session", admin_user)
        name = "root"
    before = set(LoginSession.objects.values_list("sid", flat=True))
    browser = Browser()
    response = sign_in(browser, name) if sign_in is not social_login else sign_in(browser)
    assert response.status_code == 403
    assert "limit_reached" in response.content.decode() or "too often" in response.content.decode()
    assert "text/html" in response["content-type"]
    assert browser.get("/probe/page/").status_code == 302
    assert browser.get("/admin/").status_code == 302
    assert browser.get(API).status_code == 401
    assert_no_new_login(before)


def test_the_code_exchange_refuses_and_mints_nothing(refuse, code_flow, login):
    code_flow.run()
    for mode in ("session", "jwt"):
        login(mode)
    before = set(LoginSession.objects.values_list("sid", flat=True))
    response = code_flow.exchange()
    assert (response.status_code, response.json()["code"]) == (400, "limit_reached")
    assert code_flow.exchange().status_code == 400
    assert_no_new_login(before)


@pytest.mark.urls("tests.test_limit")
def test_a_login_of_the_projects_own_api_is_refused_and_starts_no_login(full):
    _, before = full
    browser = Browser()
    assert browser.post("/project/login/").status_code == 403
    assert (browser.get(API).status_code, browser.get("/probe/page/").status_code) == (401, 302)
    assert_no_new_login(before)


def test_after_a_logout_there_is_room_again(full, login):
    logins, _ = full
    logins[0].logout()
    assert login("session").get().status_code == 200


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("mode", ["session", "jwt"])
def test_a_refusal_survives_atomic_requests(mode, full, atomic_requests):
    _, before = full
    body = {"username": "alice", "password": PASSWORD, "mode": mode}
    browser = Browser()
    assert browser.send_json("/auth/login/", body).status_code == 403
    assert html_login(Browser(), "alice").status_code == 403
    assert_no_new_login(before)


def test_a_user_who_is_signed_in_already_in_this_browser_is_not_locked_out(refuse, login):
    """A login that replaces the browser's own one is not one more."""
    other = login("jwt")
    browser = Browser()
    login("session", browser=browser)
    again = login("session", browser=browser)
    assert (other.get().status_code, again.get().status_code) == (200, 200)
    assert active().count() == 2


# -- cost ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "policy"), [("session", "end_oldest"), ("jwt", "refuse")])
def test_queries_do_not_grow_with_the_number_of_sessions(
    mode, policy, login, alice, settings, clock
):
    settings.AUTHMODES_LIMIT_POLICY = policy
    settings.AUTHMODES_MAX_LOGIN_SESSIONS = 2
    body = {"username": "alice", "password": PASSWORD, "mode": mode}

    def queries():
        browser = Browser()
        browser.csrf()
        with CaptureQueriesContext(connection) as captured:
            browser.send_json("/auth/login/", body)
        return len(captured)

    for _ in range(2):
        login(mode)
    # The first refusal of a minute makes the row that the others are counted in.
    queries()
    few = queries()
    settings.AUTHMODES_MAX_LOGIN_SESSIONS = 20
    settings.AUTHMODES_LIMIT_POLICY = "end_oldest"
    for _ in range(20):
        login(mode)
    settings.AUTHMODES_LIMIT_POLICY = policy
    assert queries() == few


# -- at once -------------------------------------------------------------------------------


def twenty_at_once(modes):
    barrier = threading.Barrier(20)

    def enter(mode):
        browser = Browser()
        browser.csrf()
        barrier.wait(timeout=60)
        try:
            body = {"username": "alice", "password": PASSWORD, "mode": mode}
            return browser.send_json("/auth/login/", body).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as pool:
        return list(pool.map(enter, modes))


@pytest.mark.servers
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("limit", [1, 3])
def test_of_twenty_at_once_the_limit_is_left_on_postgresql(limit, alice, settings):
    settings.AUTHMODES_MAX_LOGIN_SESSIONS = limit
    # A cookie login that another login ends before its response is saved is Django's 400.
    assert set(twenty_at_once(["session", "jwt"] * 10)) <= {200, 400}
    assert active().count() == limit
    assert LoginSession.objects.filter(end_reason="limit").count() == 20 - limit


@pytest.mark.servers
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("limit", [1, 3])
def test_of_twenty_at_once_only_the_limit_gets_in_on_postgresql(limit, alice, settings):
    settings.AUTHMODES_MAX_LOGIN_SESSIONS = limit
    settings.AUTHMODES_LIMIT_POLICY = "refuse"
    statuses = twenty_at_once(["session", "jwt"] * 10)
    assert sorted(statuses) == [200] * limit + [403] * (20 - limit)
    assert LoginSession.objects.count() == active().count() == limit
    signed_in = [row for row in Session.objects.all() if SESSION_KEY in row.get_decoded()]
    assert len(signed_in) == LoginSession.objects.filter(mode="session").count()


def test_a_refused_login_for_tokens_leaves_the_cookie_login_of_the_browser_alone(alice, settings):
    settings.AUTHMODES_MAX_LOGIN_SESSIONS = 1
    settings.AUTHMODES_LIMIT_POLICY = "refuse"
    browser = Browser()
    body = {"username": "alice", "password": PASSWORD}
    assert browser.send_json("/auth/login/", {**body, "mode": "session"}).status_code == 200
    assert browser.send_json("/auth/token/", body).status_code == 403
    assert browser.get(API).status_code == 200


def test_a_login_that_may_not_come_back_takes_no_place(alice, settings, clock):
    settings.AUTHMODES_MAX_LOGIN_SESSIONS = 1
    settings.AUTHMODES_LIMIT_POLICY = "refuse"
    body = {"username": "alice", "password": PASSWORD}
    assert Browser().send_json("/auth/token/", body).status_code == 200
    clock.shift(timedelta(days=1, seconds=1))
    assert Browser().send_json("/auth/token/", body).status_code == 200


# -- who may not come back by their cookie -------------------------------------------------

HOUR = timedelta(hours=1)


@pytest.fixture(params=["db", "cached_db", "cache", "file"])
def engine(request, settings, tmp_path):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{request.param}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    settings.SESSION_COOKIE_AGE = int(HOUR.total_seconds())
    return request.param


def lose(used):
    """The Django session leaves its store, as by `clearsessions` or a cache's own clock."""
    session_store.engine()(used.browser.session_cookie).delete()


def test_whose_cookie_has_run_out_takes_no_place(engine, refuse, settings, login, clock):
    settings.AUTHMODES_MAX_LOGIN_SESSIONS = 1
    used = login("session")
    clock.shift(2 * HOUR)
    if engine == "file":
        lose(used)
    assert login("session").get().status_code == 200
    assert used.row.end_reason == "expired"


def test_whose_cookie_has_run_out_goes_before_the_oldest(two, settings, login, clock):
    settings.SESSION_COOKIE_AGE = int(HOUR.total_seconds())
    oldest = login("jwt")
    clock.shift(timedelta(minutes=1))
    unused = login("session")
    clock.shift(2 * HOUR)
    login("session")
    assert (oldest.row.end_reason, unused.row.end_reason) == ("", "expired")


def test_whose_cookie_is_good_keeps_its_place(engine, refuse, login, clock):
    logins = [login("session"), login("session")]
    clock.shift(HOUR / 2)
    body = {"username": "alice", "password": PASSWORD, "mode": "session"}
    assert Browser().send_json("/auth/login/", body).status_code == 403
    registry.prune()
    assert [one.get().status_code for one in logins] == [200, 200]


def test_pruning_ends_whose_cookie_has_run_out(engine, login, clock):
    used = login("session")
    clock.shift(2 * HOUR)
    kept = login("session")
    if engine == "file":
        lose(used)
    registry.prune()
    assert (used.row.end_reason, kept.row.end_reason) == ("expired", "")


def test_tokens_keep_a_login_whose_cookie_has_run_out(login, settings, clock):
    """A login of an app may hold both."""
    settings.SESSION_COOKIE_AGE = 60
    used, app = login("session"), login("jwt")
    family = app.row.refresh_token
    LoginSession.objects.filter(sid=app.sid).delete()
    LoginSession.objects.filter(sid=used.sid).update(refresh_token=family)
    clock.shift(HOUR)
    registry.prune()
    assert used.row.ended_at is None
    clock.shift(timedelta(days=1))
    registry.prune()
    assert used.row.end_reason == "expired"


def test_a_request_that_is_changing_its_key_loses_nothing(login, clock):
    """Between `cycle_key()` and the answer, the key in the row leads nowhere."""
    used = login("session")
    lose(used)
    clock.shift(timedelta(minutes=5))
    registry.prune()
    assert used.row.ended_at is None


def test_a_store_that_is_away_ends_nothing(login, settings, clock, monkeypatch, caplog):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    used = login("session")
    clock.shift(HOUR)

    def away(*args):
        raise ConnectionError("away")

    monkeypatch.setattr("django.contrib.sessions.backends.cache.SessionStore.exists", away)
    registry.prune()
    assert used.row.ended_at is None
    assert "session_store_unavailable" in caplog.text


class Quiet(LocMemCache):
    """Hides that it is away, as clients do with `ignore_exc` or `IGNORE_EXCEPTIONS`."""

    away = False

    def get(self, *args, **kwargs):
        return None if self.away else super().get(*args, **kwargs)

    def set(self, *args, **kwargs):
        if not self.away:
            super().set(*args, **kwargs)

    def has_key(self, *args, **kwargs):
        return not self.away and super().has_key(*args, **kwargs)


def test_a_cache_that_hides_that_it_is_away_ends_nothing(login, settings, clock, monkeypatch):
    settings.CACHES = {"default": {"BACKEND": f"{__name__}.Quiet", "LOCATION": "quiet"}}
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    used = login("session")
    clock.shift(HOUR)
    monkeypatch.setattr(Quiet, "away", True)
    registry.prune()
    monkeypatch.setattr(Quiet, "away", False)
    assert used.get().status_code == 200


def test_pruning_asks_the_store_once_for_each_batch(login, clock, monkeypatch):
    used = [login("session") for _ in range(5)]
    clock.shift(HOUR)
    monkeypatch.setattr("authmodes.registry.ending.BATCH", 2)
    with CaptureQueriesContext(connection) as captured:
        registry.prune()
    assert sum("django_session" in query["sql"] for query in captured) == 3
    assert [one.row.ended_at for one in used] == [None] * 5


# -- replaced by the login -----------------------------------------------------------------


@pytest.fixture
def token_cookies(settings):
    settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"


JWT = {"username": "alice", "password": PASSWORD, "mode": "jwt"}


def sign_in_by(way, browser, code_flow):
    if way == "login":
        return browser.send_json("/auth/login/", JWT)
    if way == "token":
        return browser.send_json("/auth/token/", JWT)
    if way == "page":
        return html_login(browser, "alice", query="?mode=jwt")
    code_flow.run()
    body = code_grant(code_flow.code, code_flow.verifier)
    return browser.send_json("/auth/token/", body)


@pytest.mark.parametrize("way", ["login", "token", "page", "exchange"])
def test_a_login_for_tokens_takes_the_place_of_the_browsers_own(
    way, code_flow, token_cookies, refuse
):
    other, browser = Browser(), Browser()
    assert other.send_json("/auth/login/", JWT).status_code == 200
    for _ in range(3):
        assert sign_in_by(way, browser, code_flow).status_code in (200, 302)
        assert (browser.get(API).status_code, other.get(API).status_code) == (200, 200)
    ended = LoginSession.objects.ended().values_list("end_reason", flat=True)
    assert list(ended) == ["logout", "logout"]


def test_a_login_that_is_refused_replaces_nothing(alice, token_cookies, refuse, login, settings):
    browser = Browser()
    assert browser.send_json("/auth/login/", JWT).status_code == 200
    login("session")
    settings.AUTHMODES_MAX_LOGIN_SESSIONS = 1
    assert browser.send_json("/auth/login/", JWT).status_code == 403
    assert browser.get(API).status_code == 200
    assert active().count() == 2
