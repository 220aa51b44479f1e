"""Cookie requests: limits, the throttled touch, and keeping up with Django's session keys."""

import asyncio
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth import (
    SESSION_KEY,
    alogin,
    alogout,
    get_user_model,
)
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.http import HttpRequest, JsonResponse
from django.test import AsyncClient, Client
from django.test.utils import override_settings
from django.urls import include, path

from authmodes import registry
from authmodes.models import LoginSession

from .support.browser import Browser, browser_with
from .support.logins import API, PAGE, PASSWORD, admin_login, assert_signed_out, only_row
from .support.views import become, change_password, logout
from .urls import urlpatterns as project_urlpatterns

# -- views of a project that does things to sessions ---------------------------------------


def cycle(request: HttpRequest) -> JsonResponse:
    request.session["cart"] = ["book"]
    request.session.cycle_key()
    return JsonResponse({"key": request.session.session_key})


def cycle_twice(request: HttpRequest) -> JsonResponse:
    request.session.cycle_key()
    return cycle(request)


def flush(request: HttpRequest) -> JsonResponse:
    request.session.flush()
    return JsonResponse({})


def flush_and_go_on(request: HttpRequest) -> JsonResponse:
    assert request.user.is_authenticated
    request.session.flush()
    request.session["cart"] = []
    return JsonResponse({})


def change_password_and_forget_the_session(request: HttpRequest) -> JsonResponse:
    user = get_user_model().objects.get(pk=request.user.pk)
    user.set_password("another one")
    user.save()
    return JsonResponse({})


def store(request: HttpRequest) -> JsonResponse:
    request.session["cart"] = ["book"]
    return JsonResponse({})


def revoked_meanwhile(request: HttpRequest) -> JsonResponse:
    """An administrator revokes the login while the request is under way and saves."""
    assert request.user.is_authenticated
    request.session["cart"] = ["book"]
    registry.revoke_all(LoginSession.objects.all())
    return JsonResponse({})


def revoked_before_cycling(request: HttpRequest) -> JsonResponse:
    assert request.user.is_authenticated
    registry.revoke_all(LoginSession.objects.all())
    request.session.cycle_key()
    return JsonResponse({})


def accessed(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"accessed": request.session.accessed})


async def async_whoami(request: HttpRequest) -> JsonResponse:
    user = await request.auser()
    again = await request.auser()
    assert user.pk == again.pk
    return JsonResponse({"username": user.get_username() or None})


async def async_ask_both_ways(request: HttpRequest) -> JsonResponse:
    """Async code in a view, sync code in a decorator or a context processor, and again."""

    def ask() -> str:
        return request.user.get_username()

    names = [
        (await request.auser()).get_username(),
        await sync_to_async(ask)(),
        (await request.auser()).get_username(),
        await sync_to_async(ask)(),
    ]
    return JsonResponse({"names": names})


async def async_login(request: HttpRequest) -> JsonResponse:
    user = await get_user_model().objects.aget(username="alice")
    await alogin(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return JsonResponse({})


async def async_logout(request: HttpRequest) -> JsonResponse:
    await alogout(request)
    return JsonResponse({})


async def async_cycle(request: HttpRequest) -> JsonResponse:
    await request.session.acycle_key()
    return JsonResponse({})


def whoami(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"username": request.user.get_username() or None})


shop = [path("whoami/", whoami), path("admin/", whoami, name="admin")]
urlpatterns = [
    *project_urlpatterns,
    path("shop/", include((shop, "shop"), namespace="admin-like")),
    path("admin-of-the-shop/", whoami, name="admin"),
    path("cycle/", cycle),
    path("cycle-twice/", cycle_twice),
    path("flush/", flush),
    path("flush-and-go-on/", flush_and_go_on),
    path("logout/", logout),
    path("change-password/", change_password),
    path("forget/", change_password_and_forget_the_session),
    path("store/", store),
    path("revoked-meanwhile/", revoked_meanwhile),
    path("revoked-before-cycling/", revoked_before_cycling),
    path("become/<str:name>/", become),
    path("accessed/", accessed),
    path("async/whoami/", async_whoami),
    path("async/both-ways/", async_ask_both_ways),
    path("async/login/", async_login),
    path("async/logout/", async_logout),
    path("async/cycle/", async_cycle),
]
pytestmark = pytest.mark.urls("tests.test_middleware")


@pytest.fixture
def cookie(login, clock):
    """alice's cookie login, at a clock that stands still."""
    return login("session")


# -- limits --------------------------------------------------------------------------------


def test_the_absolute_lifetime_ends_a_login_whatever_its_activity(cookie, clock, settings):
    settings.AUTHMODES_ABSOLUTE_LIFETIME = timedelta(days=2)
    settings.SESSION_COOKIE_AGE = 90 * 86400
    settings.SESSION_SAVE_EVERY_REQUEST = True
    browser = Browser()
    body = {"username": "alice", "password": PASSWORD, "mode": "session"}
    sid = browser.send_json("/auth/login/", body).json()["sid"]
    for _ in range(47):
        clock.shift(timedelta(hours=1))
        assert browser.get(API).status_code == 200
    clock.shift(timedelta(hours=1))
    assert_signed_out(browser)
    row = LoginSession.objects.get(sid=sid)
    assert row.end_reason == "expired"
    assert not Session.objects.filter(session_key=row.session_key).exists()


def test_the_idle_timeout_ends_a_login_that_was_not_used(cookie, clock, settings):
    settings.AUTHMODES_IDLE_TIMEOUT = timedelta(minutes=30)
    clock.shift(timedelta(minutes=30))
    assert cookie.get().status_code == 200
    clock.shift(timedelta(minutes=30, seconds=1))
    assert_signed_out(cookie.browser)
    assert cookie.row.end_reason == "expired"


def test_activity_holds_off_the_idle_timeout(mode, login, clock, settings):
    settings.AUTHMODES_IDLE_TIMEOUT = timedelta(minutes=30)
    settings.SIMPLE_JWT = {"ACCESS_TOKEN_LIFETIME": timedelta(days=1)}
    used = login(mode)
    for _ in range(20):
        clock.shift(timedelta(minutes=29))
        assert used.get().status_code == 200


def test_an_idle_timeout_shorter_than_the_touch_interval_spares_an_active_user(
    mode, login, clock, settings
):
    """Otherwise a user who clicks every 20 seconds is signed out after a minute."""
    settings.AUTHMODES_IDLE_TIMEOUT = timedelta(seconds=50)
    settings.AUTHMODES_TOUCH_INTERVAL = timedelta(minutes=1)
    used = login(mode)
    for _ in range(12):
        clock.shift(timedelta(seconds=20))
        assert used.get().status_code == 200
    clock.shift(timedelta(seconds=51))
    assert used.get().status_code == 401


def test_a_login_that_lapsed_does_not_come_back_with_a_longer_timeout(cookie, clock, settings):
    settings.AUTHMODES_IDLE_TIMEOUT = timedelta(minutes=1)
    clock.shift(timedelta(minutes=5))
    key = cookie.browser.session_cookie
    assert_signed_out(cookie.browser)
    settings.AUTHMODES_IDLE_TIMEOUT = None
    assert_signed_out(browser_with(key))


# -- the touch -----------------------------------------------------------------------------


def test_last_seen_moves_at_most_once_per_interval(mode, login, clock):
    used = login(mode)
    began = used.row.last_seen_at
    clock.shift(timedelta(seconds=59))
    used.get()
    assert used.row.last_seen_at == began
    clock.shift(timedelta(seconds=1))
    used.get()
    assert used.row.last_seen_at == began + timedelta(minutes=1)
    clock.shift(timedelta(seconds=59))
    used.get()
    assert used.row.last_seen_at == began + timedelta(minutes=1)


def test_the_touch_notes_the_last_address_and_keeps_the_first(mode, login, clock):
    used = login(mode)
    clock.shift(timedelta(minutes=2))
    used.get(REMOTE_ADDR="192.0.2.44")
    row = used.row
    assert (row.ip_address, row.last_ip_address) == ("127.0.0.1", "192.0.2.44")


def test_looking_at_public_pages_without_asking_who_it_is_costs_nothing(
    cookie, django_assert_num_queries
):
    with django_assert_num_queries(0):
        cookie.browser.get("/accessed/")


def test_a_store_that_kept_a_dead_session_is_found_out_within_the_interval(cookie, clock):
    """The row is the truth: the Django session is put back as a failed store would leave it."""
    session = Session.objects.get(session_key=cookie.row.session_key)
    registry.revoke(cookie.row)
    session.save(force_insert=True)
    clock.shift(timedelta(minutes=1))
    assert_signed_out(cookie.browser)
    assert not Session.objects.filter(pk=session.pk).exists()


def test_a_login_that_is_revoked_while_its_request_saves_stays_revoked(cookie):
    key = cookie.browser.session_cookie
    cookie.browser.get("/revoked-meanwhile/")
    assert not Session.objects.filter(session_key=key).exists()
    assert_signed_out(cookie.browser)
    assert_signed_out(browser_with(key))


def test_a_login_that_is_revoked_before_its_request_cycles_the_key_stays_revoked(cookie):
    cookie.browser.get("/revoked-before-cycling/")
    assert_signed_out(cookie.browser)
    assert cookie.row.end_reason == "revoked"
    assert not any(SESSION_KEY in session.get_decoded() for session in Session.objects.all())


# -- keys ----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["/cycle/", "/cycle-twice/"])
def test_a_cycled_key_is_followed(page, cookie):
    old = cookie.browser.session_cookie
    assert cookie.browser.get(page).status_code == 200
    new = cookie.browser.session_cookie
    assert new != old
    row = only_row()
    assert (row.session_key, row.ended_at) == (new, None)
    assert cookie.get().status_code == 200
    assert_signed_out(browser_with(old))
    registry.revoke(row)
    assert_signed_out(cookie.browser)
    assert not Session.objects.filter(session_key=new).exists()


@pytest.mark.parametrize("page", ["/flush/", "/flush-and-go-on/", "/logout/"])
def test_a_flush_ends_the_login(page, cookie):
    old = cookie.browser.session_cookie
    cookie.browser.get(page)
    assert only_row().end_reason == "logout"
    assert_signed_out(cookie.browser)
    assert_signed_out(browser_with(old))


def test_storing_something_in_the_session_changes_nothing(cookie):
    cookie.browser.get("/store/")
    assert only_row().session_key == cookie.browser.session_cookie
    assert cookie.get().status_code == 200


def test_updating_the_session_auth_hash_keeps_the_current_login_and_ends_the_others(cookie, login):
    other, token = login("session"), login("jwt")
    old = cookie.browser.session_cookie
    cookie.browser.get("/change-password/")
    assert cookie.browser.session_cookie != old
    assert cookie.row.session_key == cookie.browser.session_cookie
    assert cookie.get().status_code == 200
    assert cookie.browser.get(PAGE).status_code == 200
    assert (other.get().status_code, token.get().status_code) == (401, 401)
    assert (other.row.end_reason, token.row.end_reason) == ("password_changed",) * 2
    assert cookie.row.ended_at is None


def test_changing_the_password_without_it_ends_the_current_login_too(cookie):
    cookie.browser.get("/forget/")
    assert_signed_out(cookie.browser)
    assert only_row().end_reason == "password_changed"


def test_changing_the_password_through_allauth_keeps_the_current_login(cookie, login):
    other, token = login("session"), login("jwt")
    form = {
        "oldpassword": PASSWORD,
        "password1": "an0ther-Long-one",
        "password2": "an0ther-Long-one",
    }
    cookie.browser.get("/accounts/password/change/")
    assert cookie.browser.submit("/accounts/password/change/", form).status_code == 302
    assert cookie.get().status_code == 200
    assert cookie.row.ended_at is None
    assert (other.get().status_code, token.get().status_code) == (401, 401)


def test_changing_the_password_through_the_admin_ends_the_users_logins(cookie, login, admin_user):
    token = login("jwt")
    admin = Browser()
    admin_login(admin, "root")
    user = cookie.row.user
    form = {
        "password1": "an0ther-Long-one",
        "password2": "an0ther-Long-one",
        "usable_password": "true",
    }
    page = f"/admin/auth/user/{user.pk}/password/"
    admin.get(page)
    assert admin.submit(page, form).status_code == 302
    assert (cookie.get().status_code, token.get().status_code) == (401, 401)
    assert admin.get("/admin/").status_code == 200


def test_becoming_another_user_ends_the_old_login(cookie, bob):
    old = cookie.browser.session_cookie
    cookie.browser.get("/become/bob/")
    assert cookie.row.end_reason == "logout"
    row = LoginSession.objects.active().get()
    assert (row.user, row.session_key) == (bob, cookie.browser.session_cookie)
    assert_signed_out(browser_with(old))


def test_becoming_oneself_again_is_a_new_login(cookie, alice):
    old = cookie.browser.session_cookie
    cookie.browser.get("/become/alice/")
    assert cookie.row.end_reason == "logout"
    assert LoginSession.objects.active().get().session_key == cookie.browser.session_cookie
    assert cookie.browser.session_cookie != old
    assert_signed_out(browser_with(old))


# -- a session from before -----------------------------------------------------------------


@pytest.fixture
def unregistered(alice):
    """A browser that was signed in before authmodes was installed."""
    session = SessionStore()
    session[SESSION_KEY] = str(alice.pk)
    session["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
    session["_auth_user_hash"] = alice.get_session_auth_hash()
    session.save()
    return browser_with(session.session_key)


def test_a_session_from_before_is_adopted_once(unregistered, alice):
    for _ in range(3):
        assert unregistered.get(PAGE).status_code == 200
        assert unregistered.get(API).status_code == 200
    row = only_row()
    assert (row.user, row.mode, row.session_key) == (
        alice,
        "session",
        unregistered.session_cookie,
    )


def test_an_adopted_session_can_be_revoked(unregistered):
    unregistered.get(PAGE)
    registry.revoke(only_row())
    assert_signed_out(unregistered)


def test_a_session_from_before_works_at_the_api_first(unregistered):
    assert unregistered.get(API).json() == {"username": "alice", "mode": "session"}


def test_a_session_from_before_is_not_adopted_where_cookies_are_off(unregistered):
    with override_settings(AUTHMODES_MODE="jwt"):
        assert_signed_out(unregistered)
    assert not LoginSession.objects.exists()


# -- anonymous visitors --------------------------------------------------------------------


def test_a_request_without_a_cookie_never_touches_the_session(db, django_assert_num_queries):
    client = Client()
    with django_assert_num_queries(0):
        response = client.get("/accessed/")
    assert response.json() == {"accessed": False}
    assert "Cookie" not in response.headers.get("Vary", "")
    assert not response.cookies


def test_an_anonymous_visitor_gets_no_row(db):
    browser = Browser()
    browser.get("/store/")
    assert browser.session_cookie
    browser.get("/cycle/")
    browser.get("/probe/whoami/")
    browser.get("/flush/")
    assert not LoginSession.objects.exists()


# -- the admin -----------------------------------------------------------------------------


def test_in_jwt_mode_a_cookie_opens_the_admin_and_no_other_namespaced_page(admin_user, settings):
    settings.AUTHMODES_MODE = "jwt"
    browser = Browser()
    admin_login(browser, "root")
    assert browser.get("/admin/").status_code == 200
    for page in ("/shop/whoami/", "/shop/admin/", "/probe/whoami/", "/admin-of-the-shop/"):
        assert browser.get(page).json() == {"username": None}, page
    assert browser.get(API).status_code == 401
    settings.AUTHMODES_MODE = "both"
    assert browser.get("/shop/whoami/").json() == {"username": "root"}


def test_an_admin_cookie_is_validated_like_any_other(admin_user, clock, settings):
    browser = Browser()
    admin_login(browser, "root")
    assert browser.get("/admin/").status_code == 200
    registry.revoke(only_row())
    assert browser.get("/admin/").status_code == 302
    admin_login(browser, "root")
    settings.AUTHMODES_IDLE_TIMEOUT = timedelta(minutes=1)
    clock.shift(timedelta(minutes=2))
    assert browser.get("/admin/").status_code == 302


def test_the_admins_logout_ends_the_row(admin_user):
    browser = Browser()
    admin_login(browser, "root")
    browser.submit("/admin/logout/")
    assert only_row().end_reason == "logout"


# -- async ---------------------------------------------------------------------------------
# With real transactions: an async view reaches the database from another thread.


@pytest.fixture
def async_client(alice):
    client = AsyncClient()
    async_to_sync(client.get)("/async/login/")
    return client


def get_async(client, page):
    return async_to_sync(client.get)(page)


@pytest.mark.django_db(transaction=True)
def test_an_async_login_makes_one_row_that_opens_an_async_view(async_client):
    row = only_row()
    assert row.session_key == async_client.cookies["sessionid"].value
    assert get_async(async_client, "/async/whoami/").json() == {"username": "alice"}


@pytest.mark.django_db(transaction=True)
def test_a_revoked_login_is_refused_by_an_async_view(async_client):
    registry.revoke(only_row())
    assert get_async(async_client, "/async/whoami/").json() == {"username": None}


@pytest.mark.django_db(transaction=True)
def test_an_async_view_refuses_what_has_lapsed(async_client, settings):
    settings.AUTHMODES_IDLE_TIMEOUT = timedelta(0)
    assert get_async(async_client, "/async/whoami/").json() == {"username": None}
    assert only_row().end_reason == "expired"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("why", ["lapsed", "revoked", "off"])
def test_a_refused_login_stays_refused_however_a_view_asks(why, clock, async_client, settings):
    assert get_async(async_client, "/async/both-ways/").json() == {"names": ["alice"] * 4}
    if why == "lapsed":
        settings.AUTHMODES_IDLE_TIMEOUT = timedelta(0)
    elif why == "revoked":
        # With a store that kept the Django session.
        session = Session.objects.get()
        registry.revoke(only_row())
        session.save(force_insert=True)
        settings.AUTHMODES_TOUCH_INTERVAL = timedelta(0)
    else:
        settings.AUTHMODES_MODE = "jwt"
    clock.shift(timedelta(seconds=1))
    assert get_async(async_client, "/async/both-ways/").json() == {"names": [""] * 4}


@pytest.mark.django_db(transaction=True)
def test_an_async_view_refuses_a_cookie_where_cookies_are_off(async_client):
    with override_settings(AUTHMODES_MODE="jwt"):
        assert get_async(async_client, "/async/whoami/").json() == {"username": None}
    assert get_async(async_client, "/async/whoami/").json() == {"username": "alice"}


@pytest.mark.django_db(transaction=True)
def test_an_async_logout_ends_the_row(async_client):
    get_async(async_client, "/async/logout/")
    assert only_row().end_reason == "logout"
    assert get_async(async_client, "/async/whoami/").json() == {"username": None}


@pytest.mark.django_db(transaction=True)
def test_a_key_cycled_by_an_async_view_is_followed(async_client):
    old = only_row().session_key
    get_async(async_client, "/async/whoami/")
    get_async(async_client, "/async/cycle/")
    row = only_row()
    assert row.session_key == async_client.cookies["sessionid"].value != old
    assert get_async(async_client, "/async/whoami/").json() == {"username": "alice"}


@pytest.mark.django_db(transaction=True)
def test_a_cookie_made_by_a_sync_view_opens_an_async_one_and_the_other_way_round(login, alice):
    used = login("session")
    client = AsyncClient()
    client.cookies["sessionid"] = used.browser.session_cookie
    assert get_async(client, "/async/whoami/").json() == {"username": "alice"}
    assert get_async(client, PAGE).json() == {"username": "alice"}
    assert used.get().status_code == 200
    assert LoginSession.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_parallel_async_requests_make_no_second_row(unregistered):
    client = AsyncClient()
    client.cookies["sessionid"] = unregistered.session_cookie

    async def ask():
        return await asyncio.gather(*(client.get("/async/whoami/") for _ in range(5)))

    answers = async_to_sync(ask)()
    assert {answer.json()["username"] for answer in answers} == {"alice"}
    assert only_row().session_key == unregistered.session_cookie


def test_older_data_saved_over_newer_ones_do_not_end_an_active_login(cookie, clock, settings):
    """A long request saves last what it loaded first; the row knows better."""
    settings.AUTHMODES_IDLE_TIMEOUT = timedelta(hours=1)
    session = Session.objects.get(session_key=cookie.row.session_key)
    clock.shift(timedelta(minutes=59))
    assert cookie.get().status_code == 200
    Session.objects.filter(pk=session.pk).update(session_data=session.session_data)
    clock.shift(timedelta(minutes=2))
    assert cookie.get().status_code == 200
    clock.shift(timedelta(hours=1, seconds=1))
    assert cookie.get().status_code == 401
    assert cookie.row.end_reason == "expired"
