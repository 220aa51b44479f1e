"""What revocation promises, on every engine that a project may choose."""

import uuid
from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest
import redis
import time_machine
from asgiref.sync import async_to_sync
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.auth import login as django_login
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends import file
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.models import Session
from django.core import management
from django.core.cache import caches
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.utils import timezone

from authmodes import registry
from authmodes.models import LoginSession, write_database
from authmodes.registry import django_sessions
from authmodes.sessions import store as session_store

from .support.browser import Browser, browser_with
from .support.logins import API, PAGE, assert_signed_out, html_login, only_row, sign_in
from .support.sessions import BACKEND
from .urls import urlpatterns as project_urlpatterns

User = get_user_model()
DJANGO = "django.contrib.sessions.backends"
LOCAL = [
    (f"{DJANGO}.db", "default"),
    (f"{DJANGO}.cached_db", "default"),
    (f"{DJANGO}.cache", "default"),
    (f"{DJANGO}.file", "default"),
    ("authmodes.sessions.db", "default"),
    ("authmodes.sessions.cached_db", "default"),
]
ON_REDIS = [
    (f"{DJANGO}.cached_db", "redis"),
    (f"{DJANGO}.cache", "redis"),
    ("authmodes.sessions.cached_db", "redis"),
]
PARAMS = [pytest.param(choice, id=f"{choice[0].split('.', 1)[1]}") for choice in LOCAL] + [
    pytest.param(choice, id=f"{choice[0]}-redis", marks=[pytest.mark.redis]) for choice in ON_REDIS
]


def cleared_meanwhile(request: HttpRequest) -> JsonResponse:
    """`clearsessions`, or an eviction from the cache, while the request is under way."""
    assert request.user.is_authenticated
    session_store.engine()().delete(request.session.session_key)
    request.session["cart"] = ["book"]
    return JsonResponse({})


def become_in_vain(request: HttpRequest, username: str) -> None:
    """A view that signs a user in, and takes it back."""
    with transaction.atomic(using=write_database()):
        django_login(request, User.objects.get(username=username), BACKEND)
        raise PermissionDenied


def write(request: HttpRequest) -> JsonResponse:
    """A view that writes into the session of a signed-in user."""
    assert request.user.is_authenticated
    request.session["cart"] = ["book"]
    return JsonResponse({})


urlpatterns = [
    *project_urlpatterns,
    path("cleared-meanwhile/", cleared_meanwhile),
    path("become-in-vain/<username>/", become_in_vain),
    path("write/", write),
]
pytestmark = [pytest.mark.urls("tests.test_engines"), pytest.mark.django_db(transaction=True)]


@pytest.fixture(params=PARAMS)
def engine(request, settings, tmp_path, monkeypatch):
    """One engine, on a cache of its own."""
    settings.SESSION_ENGINE, alias = request.param
    settings.SESSION_CACHE_ALIAS = alias
    settings.SESSION_FILE_PATH = str(tmp_path)
    monkeypatch.setattr(file.SessionStore, "_storage_path", str(tmp_path), raising=False)
    prefix = f"engines-{uuid.uuid4().hex}"
    if alias == "redis":
        settings.CACHES = {
            **settings.CACHES,
            "redis": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": settings.TEST_REDIS_URL,
                # Other runs may use the same server.
                "KEY_PREFIX": prefix,
            },
        }
    yield import_module(settings.SESSION_ENGINE)
    if alias == "redis":
        server = redis.Redis.from_url(settings.TEST_REDIS_URL)
        for key in server.scan_iter(match=f"{prefix}:*"):
            server.delete(key)
        server.close()


@pytest.fixture
def clock():
    """At the real date, which files get as their own."""
    with time_machine.travel(datetime.now(UTC), tick=False) as traveller:
        yield traveller


@pytest.fixture
def cookie(engine, clock, login):
    return login("session")


def test_a_login_is_recognised_and_its_row_knows_the_stored_key(cookie):
    assert cookie.get().status_code == 200
    assert cookie.browser.get(PAGE).json() == {"username": "alice"}
    assert only_row().session_key == session_store.stored_key(cookie.browser.session_cookie)


def test_after_a_revocation_the_next_request_is_refused(cookie, login):
    other = login("session")
    key = cookie.browser.session_cookie
    registry.revoke(cookie.row)
    assert_signed_out(browser_with(key))
    assert other.get().status_code == 200
    assert not session_store.engine()().exists(key)


def test_a_revocation_through_rest_is_as_quick(cookie, login):
    other = login("session")
    assert cookie.delete(f"/auth/sessions/{other.sid}/").status_code == 204
    assert_signed_out(browser_with(other.browser.session_cookie))


def test_many_at_once_are_refused_as_well(cookie, login):
    others = [login("session") for _ in range(5)]
    assert cookie.delete("/auth/sessions/").status_code == 200
    for other in others:
        assert_signed_out(browser_with(other.browser.session_cookie))
    assert cookie.get().status_code == 200


def test_after_a_logout_the_cookie_opens_nothing(cookie):
    key = cookie.browser.session_cookie
    assert cookie.logout().status_code == 204
    assert_signed_out(browser_with(key))
    assert only_row().end_reason == "logout"


def test_the_limit_ends_the_oldest(cookie, clock, login, settings):
    settings.AUTHMODES_MAX_LOGIN_SESSIONS = 2
    clock.shift(timedelta(seconds=1))
    second, third = login("session"), login("session")
    assert_signed_out(browser_with(cookie.browser.session_cookie))
    assert (second.get().status_code, third.get().status_code) == (200, 200)


def test_rotation_leaves_one_key_alive(cookie, clock, settings):
    settings.AUTHMODES_ROTATE_SESSION_AFTER = timedelta(0)
    old = cookie.browser.session_cookie
    assert cookie.get().status_code == 200
    assert cookie.browser.session_cookie != old
    assert browser_with(old).get(API).status_code == 200
    clock.shift(timedelta(seconds=11))
    assert_signed_out(browser_with(old))
    assert cookie.get().status_code == 200


def test_the_idle_timeout_ends_it(cookie, clock, settings):
    settings.AUTHMODES_IDLE_TIMEOUT = timedelta(minutes=30)
    for _ in range(3):
        clock.shift(timedelta(minutes=20))
        assert cookie.get().status_code == 200
    clock.shift(timedelta(minutes=31))
    assert_signed_out(browser_with(cookie.browser.session_cookie))
    assert only_row().end_reason == "expired"


def test_a_new_password_ends_it(cookie, alice):
    alice.set_password("another one")
    alice.save()
    assert_signed_out(browser_with(cookie.browser.session_cookie))


def test_a_save_that_arrives_after_the_revocation_does_not_resurrect(cookie):
    key = cookie.browser.session_cookie
    slow = session_store.engine()(key)
    slow["cart"] = ["book"]
    registry.revoke(cookie.row)
    with pytest.raises(UpdateError):
        slow.save()
    assert_signed_out(browser_with(key))
    assert SESSION_KEY not in session_store.engine()(key)


def test_a_touch_that_arrives_after_the_revocation_does_not_resurrect(cookie, clock):
    key = cookie.browser.session_cookie
    clock.shift(timedelta(minutes=2))
    slow = session_store.engine()(key)
    assert SESSION_KEY in slow
    registry.revoke(cookie.row)
    with pytest.raises(UpdateError):
        django_sessions.touch_with_session(slow, cookie.sid, "127.0.0.1")
    assert_signed_out(browser_with(key))


@pytest.mark.parametrize(
    "path", [f"{DJANGO}.cache", f"{DJANGO}.cached_db", "authmodes.sessions.cached_db"]
)
def test_a_cached_session_that_is_put_back_after_the_revocation_opens_nothing(
    path, settings, clock, login
):
    """As by a save that was under way: the tombstone tells it before the row is looked at."""
    settings.SESSION_ENGINE = path
    used, other = login("session"), login("session")
    key = used.browser.session_cookie
    slow = session_store.engine()(key)
    assert SESSION_KEY in slow
    registry.revoke(used.row)
    slow.save(must_create=True)
    assert SESSION_KEY in session_store.engine()(key)
    assert_signed_out(browser_with(key))
    assert other.get().status_code == 200


def test_clearing_leaves_unexpired_sessions(engine, clock, login):
    used = login("session")
    dead = session_store.engine()()
    dead.set_expiry(timezone.now() + timedelta(seconds=60))
    dead.save()
    clock.shift(timedelta(seconds=61))
    management.call_command("clearsessions")
    assert used.get().status_code == 200
    assert only_row().ended_at is None
    assert Session.objects.count() <= 1


@pytest.mark.parametrize("rotate_after", [None, timedelta(0)])
def test_a_session_that_is_cleared_meanwhile_is_not_brought_back(rotate_after, cookie, settings):
    settings.AUTHMODES_ROTATE_SESSION_AFTER = rotate_after
    key = cookie.browser.session_cookie
    answer = cookie.browser.get("/cleared-meanwhile/")
    # As Django answers a request that saves what was deleted during it.
    assert answer.status_code == 400
    assert_signed_out(browser_with(key))
    assert_signed_out(browser_with(cookie.browser.session_cookie or key))


def test_an_unregistered_session_is_adopted(engine, clock, alice):
    session = session_store.engine()()
    session[SESSION_KEY] = str(alice.pk)
    session["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
    session["_auth_user_hash"] = alice.get_session_auth_hash()
    session.save()
    for _ in range(2):
        assert browser_with(session.session_key).get(PAGE).status_code == 200
    registry.revoke(only_row())
    assert_signed_out(browser_with(session.session_key))


# -- a store that is away ------------------------------------------------------------------


@pytest.fixture
def broken_cache(monkeypatch):
    """A cache that fails for as long as it is told to, and quotes keys as clients do."""

    def break_(key):
        def fail(*args, **kwargs):
            raise ConnectionError(f"away, while deleting {key}")

        cache = type(caches["default"])
        for name in ("delete", "delete_many", "set_many", "set", "touch"):
            monkeypatch.setattr(cache, name, fail)
        return monkeypatch.undo

    return break_


@pytest.mark.parametrize(
    "path", [f"{DJANGO}.cache", f"{DJANGO}.cached_db", "authmodes.sessions.cached_db"]
)
def test_a_store_that_is_away_does_not_keep_a_revoked_login_alive(
    path, settings, login, clock, broken_cache, caplog
):
    settings.SESSION_ENGINE = path
    used = login("session")
    key = used.browser.session_cookie
    mend = broken_cache(key)
    assert registry.revoke(used.row) is True
    mend()
    settings.SESSION_ENGINE = path
    assert used.row.end_reason == "revoked"
    assert "sessions_not_deleted count=1" in caplog.text
    assert key not in caplog.text
    assert session_store.stored_key(key) not in caplog.text
    clock.shift(timedelta(minutes=1))
    assert_signed_out(browser_with(key))
    assert not session_store.engine()().exists(key)


def test_a_folder_that_is_away_does_not_keep_a_revoked_login_alive(
    settings, login, clock, tmp_path, monkeypatch, caplog
):
    settings.SESSION_ENGINE = f"{DJANGO}.file"
    monkeypatch.setattr(file.SessionStore, "_storage_path", str(tmp_path), raising=False)
    used = login("session")
    key = used.browser.session_cookie
    with monkeypatch.context() as patch:

        def fail(self, session_key=None):
            raise PermissionError(f"/sessions/sessionid{session_key}")

        patch.setattr(file.SessionStore, "delete", fail)
        registry.revoke(used.row)
    assert key not in caplog.text
    clock.shift(timedelta(minutes=1))
    assert_signed_out(browser_with(key))


def test_an_engine_of_the_projects_own_is_served(settings, login):
    """Anything that is a `SessionStore` will do; this one stands for it."""
    settings.SESSION_ENGINE = f"{DJANGO}.db"
    used = login("session")
    assert Session.objects.count() == 1
    registry.revoke_all(LoginSession.objects.all())
    assert used.get().status_code == 401


@pytest.mark.parametrize("way", ["rest", "rest again", "page"])
def test_a_login_that_a_receiver_refuses_opens_nothing(way, engine, alice):
    """The row is rolled back, and a store outside the database would keep the session."""

    def refuse(**kwargs):
        raise PermissionDenied

    browser = Browser()
    if way == "rest again":
        sign_in("session", browser)
    user_logged_in.connect(refuse)
    try:
        refused = html_login(browser, "alice") if way == "page" else sign_in("session", browser)
    finally:
        user_logged_in.disconnect(refuse)
    assert refused.status_code == 403
    assert not LoginSession.objects.active().exists()
    assert_signed_out(browser)


def test_a_login_in_a_transaction_of_the_views_own_opens_nothing(engine, alice):
    browser = Browser()
    assert browser.get("/become-in-vain/alice/").status_code == 403
    assert not LoginSession.objects.exists()
    assert_signed_out(browser)


# -- the tombstone, read with the session --------------------------------------------------------

CACHED = [f"{DJANGO}.cache", f"{DJANGO}.cached_db", "authmodes.sessions.cached_db"]


@pytest.fixture(params=CACHED)
def calls(request, settings, monkeypatch, login, clock):
    """What a request asks of the cache that sessions are in."""
    settings.SESSION_ENGINE, calls = request.param, []
    backend = type(caches["default"])
    for name in ("get", "get_many", "set", "set_many", "delete", "delete_many", "has_key", "add"):
        plain = getattr(backend, name)

        def spied(self, *args, name=name, plain=plain, **kwargs):
            calls.append((name, args[0]))
            return plain(self, *args, **kwargs)

        monkeypatch.setattr(backend, name, spied)
    return calls


@pytest.mark.parametrize("is_async", [False, True])
def test_a_request_asks_the_cache_once(calls, login, is_async):
    used = login("session")
    client = AsyncClient() if is_async else Client()
    client.cookies["sessionid"] = used.browser.session_cookie
    get = async_to_sync(client.get) if is_async else client.get
    calls.clear()
    assert get(API).status_code == 200
    asked = [names for name, names in calls if name == "get_many"]
    # Django's in-memory backend gets one after the other.
    assert len(asked) == 1
    assert [name for name, names in calls] == ["get_many", "get", "get"]
    (entry, tombstone) = asked[0]
    assert entry.endswith(used.row.session_key)
    assert tombstone == session_store.TOMBSTONE + used.row.session_key


def test_a_session_that_the_cache_has_lost_is_loaded_as_the_engine_does(calls, login, settings):
    used = login("session")
    caches["default"].clear()
    from_table = "cached_db" in settings.SESSION_ENGINE
    assert used.get().status_code == (200 if from_table else 401)
    assert used.get().status_code == (200 if from_table else 401)


def test_a_cache_that_cannot_get_many_is_asked_twice(calls, login, monkeypatch):
    def broken(self, names, version=None):
        raise ConnectionError("cross slot")

    used = login("session")
    monkeypatch.setattr(type(caches["default"]), "get_many", broken)
    assert used.get().status_code == 200
    key = used.browser.session_cookie
    slow = session_store.engine()(key)
    slow.load()
    registry.revoke(used.row)
    slow.save(must_create=True)
    assert_signed_out(browser_with(key))


@pytest.mark.parametrize("is_used", [False, True])
def test_a_session_put_back_under_a_key_that_was_changed_ends_with_its_login(
    is_used, calls, login, clock
):
    """The row has the new key, so the old one is found by no revocation."""
    used = login("session")
    old_key = used.browser.session_cookie
    slow = session_store.engine()(old_key)
    assert SESSION_KEY in slow
    request = HttpRequest()
    request.session = session_store.engine()(old_key)
    request.session.load()
    request.session.cycle_key()
    assert django_sessions.follow_key(request.session, used.sid, old_key)
    slow.save(must_create=True)
    if is_used:
        # Long enough for the tombstone of the old key to expire, and for a touch.
        clock.shift(timedelta(minutes=5))
        assert browser_with(old_key).get("/write/").status_code == 200
    registry.revoke(used.row)
    assert_signed_out(browser_with(old_key))
