"""When the cookie is sent again, for how long, and what it never outlives."""

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth import login as django_login
from django.http import HttpRequest, JsonResponse
from django.urls import path

from authmodes.models import LoginSession

from .support.browser import Browser
from .support.logins import API, PAGE, PASSWORD, admin_login, html_login, sign_in
from .urls import urlpatterns as project_urlpatterns

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def put(request: HttpRequest, name: str) -> JsonResponse:
    request.session[name] = True
    return JsonResponse({})


def until_close(request: HttpRequest) -> JsonResponse:
    request.session.set_expiry(0)
    return JsonResponse({})


def for_a_minute(request: HttpRequest) -> JsonResponse:
    request.session.set_expiry(60)
    return JsonResponse({})


def for_a_year(request: HttpRequest) -> JsonResponse:
    request.session.set_expiry(365 * 24 * 3600)
    return JsonResponse({})


def nothing(request: HttpRequest) -> JsonResponse:
    return JsonResponse({})


def sign_in_again(request: HttpRequest) -> JsonResponse:
    user = get_user_model().objects.get(pk=request.user.pk)
    django_login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return JsonResponse({})


urlpatterns = [
    *project_urlpatterns,
    path("put/<str:name>/", put),
    path("until-close/", until_close),
    path("for-a-minute/", for_a_minute),
    path("for-a-year/", for_a_year),
    path("nothing/", nothing),
    path("sign-in-again/", sign_in_again),
]
pytestmark = [pytest.mark.urls("tests.test_renewal"), pytest.mark.usefixtures("clock")]


@pytest.fixture(autouse=True)
def _one_hour(settings):
    settings.SESSION_COOKIE_AGE = 3600


@pytest.fixture
def renewing(settings):
    settings.AUTHMODES_RENEW_AFTER = timedelta(minutes=30)


def sent_age(response):
    """The age in seconds of the cookie that an answer sends, None if it sends none."""
    morsel = response.cookies.get("sessionid")
    return None if morsel is None else morsel["max-age"]


# -- renewal -------------------------------------------------------------------------------


def test_minute_10_sends_no_cookie_and_minute_40_extends_it_by_an_hour(renewing, login, clock):
    used = login("session")
    clock.shift(10 * MINUTE)
    assert sent_age(used.get()) is None
    clock.shift(30 * MINUTE)
    key = used.browser.session_cookie
    assert sent_age(used.get()) == 3600
    assert used.browser.session_cookie == key
    clock.shift(59 * MINUTE)
    assert used.get().status_code == 200


def test_after_a_renewal_the_next_one_waits_again(renewing, login, clock):
    used = login("session")
    ages = []
    for _ in range(6):
        clock.shift(20 * MINUTE)
        ages.append(sent_age(used.get()))
    assert ages == [None, 3600, None, 3600, None, 3600]


@pytest.mark.parametrize("page", ["/for-a-minute/", "/probe/whoami/"])
def test_a_view_may_shorten_the_age_however_old_the_cookie_is(page, login, clock):
    used = login("session")
    clock.shift(30 * MINUTE)
    # Whether the user was asked for before it or not.
    used.browser.get(page)
    assert sent_age(used.browser.get("/for-a-minute/")) == 60
    clock.shift(timedelta(seconds=59))
    assert used.get().status_code == 200
    clock.shift(timedelta(seconds=2))
    assert used.get().status_code == 401


@pytest.mark.parametrize("saves_always", [False, True])
def test_a_view_that_never_asks_for_the_user_does_not_revive_a_cookie_that_is_over(
    saves_always, login, clock, settings
):
    used = login("session")
    clock.shift(50 * MINUTE)
    # Noted, which keeps it in the store for longer, and sends no cookie.
    assert sent_age(used.get()) is None
    settings.SESSION_SAVE_EVERY_REQUEST = saves_always
    clock.shift(20 * MINUTE)
    key = used.browser.session_cookie
    used.browser.get("/for-a-year/")
    copy = Browser()
    copy.cookies["sessionid"] = key
    assert copy.get(API).status_code == 401
    assert used.get().status_code == 401


def test_an_active_user_stays_signed_in_for_days(renewing, login, clock):
    used = login("session")
    for _ in range(200):
        clock.shift(31 * MINUTE)
        assert used.get().status_code == 200


def test_an_inactive_user_is_signed_out_when_the_cookie_ends(renewing, login, clock):
    used = login("session")
    clock.shift(61 * MINUTE)
    assert used.get().status_code == 401
    assert used.row.end_reason in ("", "expired")
    assert not used.browser.get("/probe/whoami/").json()["username"]


def test_a_cookie_that_a_page_had_sent_counts_as_renewed(renewing, login, clock):
    used = login("session")
    clock.shift(20 * MINUTE)
    assert sent_age(used.browser.get("/put/cart/")) == 3600
    clock.shift(20 * MINUTE)
    assert sent_age(used.get()) is None
    clock.shift(10 * MINUTE)
    assert sent_age(used.get()) == 3600


def test_the_touch_sends_no_cookie(login, clock):
    used = login("session")
    for _ in range(10):
        before = used.row.last_seen_at
        clock.shift(2 * MINUTE)
        assert sent_age(used.get()) is None
        assert used.row.last_seen_at > before


@pytest.mark.parametrize("page", [API, PAGE])
def test_without_renewal_the_cookie_lives_as_long_as_with_stock_django(page, login, clock):
    """The touch saves the session, but must not make an old cookie live longer."""
    used = login("session")
    for _ in range(11):
        clock.shift(5 * MINUTE)
        response = used.browser.get(page)
        assert (response.status_code, sent_age(response)) == (200, None)
    clock.shift(5 * MINUTE + timedelta(seconds=1))
    assert used.browser.get(page).status_code in (302, 401)
    assert used.row.end_reason == "expired"


def test_without_renewal_a_page_that_writes_extends_the_cookie_as_with_stock_django(login, clock):
    used = login("session")
    for name in "abcdef":
        clock.shift(50 * MINUTE)
        assert sent_age(used.browser.get(f"/put/{name}/")) == 3600
    assert used.get().status_code == 200


def test_saving_every_request_extends_the_cookie_as_with_stock_django(login, clock, settings):
    settings.SESSION_SAVE_EVERY_REQUEST = True
    used = login("session")
    for page in (API, PAGE, "/nothing/") * 3:
        clock.shift(50 * MINUTE)
        assert sent_age(used.browser.get(page)) == 3600
    assert used.get().status_code == 200


# -- browser-length sessions ---------------------------------------------------------------


def test_a_browser_length_cookie_stays_one_when_it_is_renewed(
    renewing, admin_user, clock, settings
):
    settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = True
    browser = Browser()
    assert sent_age(admin_login(browser, "root")) == ""
    clock.shift(40 * MINUTE)
    response = browser.get(API)
    assert sent_age(response) == ""
    assert response.cookies["sessionid"]["expires"] == ""
    clock.shift(50 * MINUTE)
    assert browser.get(API).status_code == 200


def test_what_a_view_made_browser_length_stays_so(renewing, login, clock):
    used = login("session")
    assert sent_age(used.browser.get("/until-close/")) == ""
    clock.shift(40 * MINUTE)
    assert sent_age(used.get()) == ""


def test_not_to_be_remembered_by_allauth_stays_so(renewing, alice, clock, settings):
    settings.ACCOUNT_SESSION_REMEMBER = False
    browser = Browser()
    assert sent_age(html_login(browser, "alice")) == ""
    clock.shift(40 * MINUTE)
    assert sent_age(browser.get(API)) == ""


def test_a_browser_length_cookie_opens_nothing_after_the_absolute_end(
    renewing, admin_user, clock, settings
):
    settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = True
    settings.AUTHMODES_ABSOLUTE_LIFETIME = 2 * HOUR
    browser = Browser()
    admin_login(browser, "root")
    for _ in range(3):
        clock.shift(35 * MINUTE)
        assert browser.get(API).status_code == 200
    clock.shift(15 * MINUTE)
    assert browser.get(API).status_code == 401


# -- the absolute end ----------------------------------------------------------------------


@pytest.fixture
def ninety_minutes(settings):
    settings.AUTHMODES_ABSOLUTE_LIFETIME = timedelta(minutes=90)


def test_at_login_the_cookie_is_cut_to_the_absolute_lifetime(alice, settings):
    settings.AUTHMODES_ABSOLUTE_LIFETIME = timedelta(minutes=20)
    assert sent_age(sign_in()) == 20 * 60
    browser = Browser()
    browser.get("/accounts/login/")
    form = {"login": "alice", "password": PASSWORD, "remember": "on"}
    assert sent_age(browser.submit("/accounts/login/", form)) == 20 * 60


def test_a_renewal_ends_with_the_absolute_lifetime(renewing, ninety_minutes, login, clock):
    used = login("session")
    clock.shift(50 * MINUTE)
    assert sent_age(used.get()) == 40 * 60
    clock.shift(39 * MINUTE)
    assert used.get().status_code == 200
    clock.shift(MINUTE)
    assert used.get().status_code == 401
    assert LoginSession.objects.get().end_reason == "expired"


def test_what_a_page_writes_does_not_push_the_end(ninety_minutes, login, clock):
    used = login("session")
    clock.shift(50 * MINUTE)
    assert sent_age(used.browser.get("/put/a/")) == 40 * 60
    clock.shift(10 * MINUTE)
    assert sent_age(used.browser.get("/put/b/")) == 30 * 60


@pytest.mark.parametrize("page", [API, "/nothing/", "/put/a/"])
def test_saving_every_request_does_not_push_the_end(page, ninety_minutes, login, clock, settings):
    settings.SESSION_SAVE_EVERY_REQUEST = True
    used = login("session")
    clock.shift(50 * MINUTE)
    assert sent_age(used.browser.get(page)) == 40 * 60
    clock.shift(20 * MINUTE)
    assert sent_age(used.browser.get(page)) == 20 * 60


def test_rotation_does_not_push_the_end(ninety_minutes, login, clock, settings):
    settings.AUTHMODES_ROTATE_SESSION_AFTER = timedelta(0)
    used = login("session")
    clock.shift(20 * MINUTE)
    assert sent_age(used.get()) == 3600
    clock.shift(30 * MINUTE)
    assert sent_age(used.get()) == 40 * 60
    clock.shift(39 * MINUTE)
    assert sent_age(used.get()) == 60


def test_an_age_that_a_view_sets_is_capped_too(ninety_minutes, alice, clock, settings):
    settings.SESSION_COOKIE_AGE = 7 * 86400
    assert sent_age(sign_in()) == 90 * 60


def test_a_new_login_in_the_same_session_has_an_end_of_its_own(login, clock, settings):
    """Django keeps the session of a user who signs in again, and with it our cap."""
    settings.SESSION_COOKIE_AGE = 2 * 3600
    settings.AUTHMODES_ABSOLUTE_LIFETIME = 1.5 * HOUR
    used = login("session")
    clock.shift(HOUR)
    assert used.browser.get("/sign-in-again/").status_code == 200
    clock.shift(HOUR)
    assert used.get(PAGE).status_code == 200
    clock.shift(HOUR / 2)
    assert used.get(PAGE).status_code == 302


def test_an_expiry_of_the_project_outlives_a_new_login(login, clock):
    used = login("session")
    used.browser.get("/until-close/")
    response = used.browser.get("/sign-in-again/")
    assert sent_age(response) == ""


@pytest.mark.parametrize("save_every_request", [False, True])
def test_a_page_that_writes_without_asking_for_the_user_does_not_bring_back_a_cookie_that_is_over(
    save_every_request, login, clock, settings
):
    key = login("session").browser.session_cookie
    browser = Browser()
    browser.cookies["sessionid"] = key
    clock.shift(59 * MINUTE)
    assert browser.get(API).status_code == 200  # touched: the store keeps it another hour
    clock.shift(5 * MINUTE)
    settings.SESSION_SAVE_EVERY_REQUEST = save_every_request
    assert browser.get("/put/cart/").status_code == 200
    assert browser.get(API).status_code == 401
