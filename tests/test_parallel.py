"""What requests of one browser do to each other: changed keys, saves, touches, adoption."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth import login as django_login
from django.contrib.sessions.backends import file
from django.contrib.sessions.models import Session
from django.db import OperationalError, connections
from django.http import Http404, HttpRequest, JsonResponse
from django.test import AsyncClient
from django.urls import path
from rest_framework.decorators import api_view
from rest_framework.response import Response

from authmodes import registry
from authmodes.models import LoginSession
from authmodes.sessions import rotation as session_rotation
from authmodes.sessions import state as session_state
from authmodes.sessions import store as session_store

from .support.browser import Browser, browser_with
from .support.logins import API, PAGE, PASSWORD, only_row
from .support.processes import PATIENCE
from .support.sessions import at_once, sent_key, session_without_row
from .support.views import change_password, cycle, put
from .urls import urlpatterns as project_urlpatterns

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
GRACE = timedelta(seconds=11)
EVERY_REQUEST = timedelta(0)
OTHER_SECRET_KEY = "another-one-0123456789-abcdefghijklmnopqrstuvwxyz"

# What happens while a view works: tests put a function here.
hooks = {}


# -- views ---------------------------------------------------------------------------------


def contents(request: HttpRequest) -> JsonResponse:
    assert request.user.is_authenticated
    return JsonResponse({"names": list(request.session.keys())})


def cycle_and_wait(request: HttpRequest) -> JsonResponse:
    assert request.user.is_authenticated
    request.session.cycle_key()
    hooks["cycled"](request)
    return JsonResponse({})


def slow(request: HttpRequest) -> JsonResponse:
    """Asks who it is, and while it works something else happens."""
    assert request.user.is_authenticated
    hooks["during"](request)
    return JsonResponse({})


def slow_asks_last(request: HttpRequest) -> JsonResponse:
    request.session.get("cart")
    hooks["during"](request)
    assert request.user.is_authenticated
    return JsonResponse({})


def slow_saves(request: HttpRequest) -> JsonResponse:
    assert request.user.is_authenticated
    hooks["during"](request)
    request.session["progress"] = 100
    request.session.save()
    return JsonResponse({})


def slow_saves_only(request: HttpRequest) -> JsonResponse:
    assert request.user.is_authenticated
    hooks["during"](request)
    request.session.save()
    return JsonResponse({})


def slow_cycles(request: HttpRequest) -> JsonResponse:
    assert request.user.is_authenticated
    hooks["during"](request)
    request.session.cycle_key()
    return JsonResponse({})


def slow_changes_password(request: HttpRequest) -> JsonResponse:
    assert request.user.is_authenticated
    hooks["during"](request)
    return change_password(request)


def saves_user(request: HttpRequest) -> JsonResponse:
    assert request.user.is_authenticated
    hooks["during"](request)
    get_user_model().objects.filter(pk=request.user.pk).update(first_name="A")
    return JsonResponse({})


def missing(request: HttpRequest) -> JsonResponse:
    assert request.user.is_authenticated
    raise Http404


@api_view(["GET"])
def slow_api(request):
    hooks["during"](request)
    return Response({})


async def async_slow(request: HttpRequest) -> JsonResponse:
    user = await request.auser()
    await sync_to_async(hooks["during"])(request)
    return JsonResponse({"username": user.get_username()})


def login_then_fail(request: HttpRequest) -> JsonResponse:
    user = get_user_model().objects.get(username="alice")
    django_login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    raise ZeroDivisionError


class Outer:
    """A middleware of the project's, between Django's session middleware and ours."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        hooks.pop("outer", lambda request: None)(request)
        return response


urlpatterns = [
    *project_urlpatterns,
    path("put/<str:name>/", put),
    path("contents/", contents),
    path("cycle/", cycle),
    path("cycle-and-wait/", cycle_and_wait),
    path("change-password/", change_password),
    path("slow/", slow),
    path("slow-asks-last/", slow_asks_last),
    path("slow-saves/", slow_saves),
    path("slow-saves-only/", slow_saves_only),
    path("slow-cycles/", slow_cycles),
    path("slow-changes-password/", slow_changes_password),
    path("saves-user/", saves_user),
    path("missing/", missing),
    path("login-then-fail/", login_then_fail),
    path("slow-api/", slow_api),
    path("async-slow/", async_slow),
]
pytestmark = pytest.mark.urls("tests.test_parallel")


# -- what the tests share ------------------------------------------------------------------


@pytest.fixture
def clock():
    with time_machine.travel(datetime.now(UTC), tick=False) as traveller:
        yield traveller


@pytest.fixture(params=["db", "cached_db", "cache", "file"])
def engine(request, settings, tmp_path, monkeypatch):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{request.param}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    monkeypatch.setattr(file.SessionStore, "_storage_path", str(tmp_path), raising=False)
    return request.param


def parallel(request, path):
    """The same browser, in parallel; gives back its key afterwards."""
    other = browser_with(request.COOKIES["sessionid"])
    answer = other.get(path)
    assert answer.status_code == 200, answer
    return other.session_cookie


def is_signed_in(key):
    return browser_with(key).get(API).status_code == 200


def names_in(key):
    names = browser_with(key).get("/contents/").json()["names"]
    return [name for name in names if not name.startswith("_")]


def make_due(used):
    LoginSession.objects.update(last_seen_at=datetime.now(UTC) - 5 * MINUTE)
    store = session_store.engine()(used.browser.session_cookie)
    session_state.update(store, seen_at=session_state.load(store).seen_at - 300)
    store.save()


# -- a key that is changed while another request is under way --------------------------------


def test_a_request_overtaken_by_a_changed_key_does_not_sign_the_browser_out(
    engine, login, clock, settings
):
    """The other answer has brought the new key; this one must not take it away."""
    settings.AUTHMODES_ROTATE_SESSION_AFTER = EVERY_REQUEST
    used = login("session")
    got = {}
    hooks["during"] = lambda request: got.update(key=parallel(request, "/cycle/"))
    answer = used.browser.get("/slow/")
    assert is_signed_in(got["key"])
    morsel = answer.cookies.get("sessionid")
    assert morsel is None or morsel.value == got["key"]  # "" is a deletion


def test_a_poll_overtaken_by_a_changed_password_does_not_sign_the_browser_out(
    login, clock, settings
):
    settings.AUTHMODES_ROTATE_SESSION_AFTER = 10 * MINUTE
    used = login("session")
    clock.shift(11 * MINUTE)
    got = {}
    hooks["during"] = lambda request: got.update(key=parallel(request, "/change-password/"))
    answer = used.browser.get("/slow/")
    assert is_signed_in(got["key"])
    morsel = answer.cookies.get("sessionid")
    assert morsel is None or morsel.value == got["key"]


@pytest.mark.django_db(transaction=True)
def test_an_async_request_overtaken_is_not_signed_out(login, settings):
    settings.AUTHMODES_ROTATE_SESSION_AFTER = EVERY_REQUEST
    used = login("session")
    got = {}
    hooks["during"] = lambda request: got.update(key=parallel(request, "/cycle/"))
    client = AsyncClient()
    client.cookies["sessionid"] = used.browser.session_cookie
    answer = async_to_sync(client.get)("/async-slow/")
    assert browser_with(got["key"]).get(PAGE).status_code == 200
    morsel = answer.cookies.get("sessionid")
    assert morsel is None or morsel.value == got["key"]


def test_a_renewal_overtaken_by_a_changed_key_is_no_error(login, clock, settings):
    settings.SESSION_COOKIE_AGE = 3600
    settings.AUTHMODES_RENEW_AFTER = 30 * MINUTE
    used = login("session")
    clock.shift(31 * MINUTE)
    hooks["during"] = lambda request: parallel(request, "/cycle/")
    assert used.browser.get("/slow/").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_touch_while_another_request_changes_the_key_ends_nobodys_login(login):
    used = login("session")
    make_due(used)
    key = used.browser.session_cookie
    loaded, cycled, touched = threading.Event(), threading.Event(), threading.Event()

    def during(request):
        loaded.set()
        assert cycled.wait(timeout=PATIENCE)

    def after_cycle(request):
        # As if this request had asked a moment before the touch was due.
        LoginSession.objects.update(last_seen_at=datetime.now(UTC) - 5 * MINUTE)
        cycled.set()
        touched.wait(timeout=PATIENCE)

    hooks["during"], hooks["cycled"] = during, after_cycle

    def slow():
        browser = browser_with(key)
        browser.raise_request_exception = False
        try:
            return browser.get("/slow-asks-last/").status_code
        finally:
            touched.set()
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        one = pool.submit(slow)
        assert loaded.wait(timeout=PATIENCE)
        assert used.browser.get("/cycle-and-wait/").status_code == 200
        one.result(timeout=PATIENCE)
    assert only_row().ended_at is None
    assert used.browser.get(PAGE).status_code == 200


# -- saves ---------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["/slow-saves/", "/slow-saves-only/"])
def test_a_view_that_saves_does_not_bring_the_old_key_back(page, engine, login, clock, settings):
    settings.AUTHMODES_ROTATE_SESSION_AFTER = 10 * MINUTE
    used = login("session")
    old = used.browser.session_cookie
    clock.shift(10 * MINUTE - timedelta(seconds=5))
    got = {}

    def during(request):
        clock.shift(timedelta(seconds=6))
        got.update(key=parallel(request, PAGE))

    hooks["during"] = during
    answer = used.browser.get(page)
    assert got["key"] != old
    morsel = answer.cookies.get("sessionid")
    assert morsel is None or morsel.value == got["key"], "signed out"
    clock.shift(GRACE)
    assert browser_with(old).get(API).status_code == 401
    assert is_signed_in(got["key"])


@pytest.fixture
def outer(settings):
    middleware = list(settings.MIDDLEWARE)
    middleware.insert(2, "tests.test_parallel.Outer")
    settings.MIDDLEWARE = middleware


def test_saving_every_request_does_not_bring_the_old_key_back(login, clock, settings, outer):
    """Django saves once more, a moment after ours and without the lock of the row."""
    settings.AUTHMODES_ROTATE_SESSION_AFTER = EVERY_REQUEST
    settings.SESSION_SAVE_EVERY_REQUEST = True
    used = login("session")
    first = used.browser.session_cookie
    used.browser.get(PAGE)
    second = used.browser.session_cookie
    got = {}

    def meanwhile(request):
        browser = browser_with(second)
        assert browser.get(PAGE).status_code == 200
        got["key"] = browser.session_cookie

    hooks["outer"] = meanwhile
    late = browser_with(first)
    late.get(PAGE)  # led on to `second`, which is rotated before Django saves it
    assert got["key"] not in (first, second)
    clock.shift(GRACE)
    assert browser_with(second).get(API).status_code == 401
    assert is_signed_in(got["key"])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("repetition", range(2))
def test_a_crowd_with_every_request_saved(login, settings, repetition):
    settings.AUTHMODES_ROTATE_SESSION_AFTER = EVERY_REQUEST
    settings.SESSION_SAVE_EVERY_REQUEST = True
    used = login("session")
    jar = {"key": used.browser.session_cookie}
    seen = []

    def surf(number):
        statuses = []
        for _turn in range(10):
            answer = browser_with(jar["key"]).get(PAGE)
            statuses.append(answer.status_code)
            jar["key"] = sent_key(answer) or jar["key"]
            seen.append(jar["key"])
        return statuses

    for statuses in at_once(6, surf):
        assert statuses == [200] * 10
    current = only_row().session_key
    alive = [
        row.session_key
        for row in Session.objects.exclude(session_key=current)
        if "_auth_user_id" in row.get_decoded()
    ]
    assert alive == [], "old ids that hold a full session"


def test_a_rotation_does_not_undo_what_a_parallel_request_saved(engine, login, clock, settings):
    settings.AUTHMODES_ROTATE_SESSION_AFTER = 10 * MINUTE
    used = login("session")
    clock.shift(10 * MINUTE - timedelta(seconds=5))

    def during(request):
        parallel(request, "/put/cart/")
        clock.shift(timedelta(seconds=6))

    hooks["during"] = during
    assert used.browser.get("/slow/").status_code == 200
    assert "cart" in names_in(used.browser.session_cookie)


def test_the_touch_does_not_undo_what_a_parallel_request_saved(engine, login, clock):
    used = login("session")
    clock.shift(timedelta(seconds=58))

    def during(request):
        parallel(request, "/put/cart/")
        clock.shift(timedelta(seconds=5))

    hooks["during"] = during
    assert used.browser.get("/slow-asks-last/").status_code == 200
    assert "cart" in names_in(used.browser.session_cookie)


def test_a_renewal_does_not_undo_what_a_parallel_request_saved(login, clock, settings):
    settings.SESSION_COOKIE_AGE = 3600
    settings.AUTHMODES_RENEW_AFTER = 30 * MINUTE
    used = login("session")
    clock.shift(30 * MINUTE - timedelta(seconds=5))
    used.browser.get(PAGE)
    clock.shift(timedelta(seconds=6))
    hooks["during"] = lambda request: parallel(request, "/put/cart/")
    assert used.browser.get("/slow/").status_code == 200
    assert "cart" in names_in(used.browser.session_cookie)


# -- two keys at once ------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("engine", ["db", "cached_db", "cache", "file"])
def test_of_two_changed_keys_a_revocation_ends_both(engine, login, settings, tmp_path, monkeypatch):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    monkeypatch.setattr(file.SessionStore, "_storage_path", str(tmp_path), raising=False)
    used = login("session")
    got = {}
    hooks["during"] = lambda request: got.update(key=parallel(request, "/cycle/"))
    used.browser.get("/slow-cycles/")
    registry.revoke(only_row())
    assert browser_with(used.browser.session_cookie).get(API).status_code == 401
    assert browser_with(got["key"]).get(API).status_code == 401


def test_of_two_changed_keys_the_other_costs_no_more(login, clock, django_assert_num_queries):
    used = login("session")
    got = {}
    hooks["during"] = lambda request: got.update(key=parallel(request, "/cycle/"))
    used.browser.get("/slow-cycles/")
    browser = browser_with(got["key"])
    clock.shift(2 * MINUTE)
    browser.get(PAGE)
    with django_assert_num_queries(2):
        browser.get(PAGE)


def test_of_two_changed_keys_the_other_is_not_signed_out_by_the_rotation(login, clock, settings):
    settings.AUTHMODES_ROTATE_SESSION_AFTER = 10 * MINUTE
    used = login("session")
    got = {}
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = OTHER_SECRET_KEY
    hooks["during"] = lambda request: got.update(key=parallel(request, PAGE))
    used.browser.get("/slow-asks-last/")
    # The answer of the parallel request reaches the browser last.
    browser = browser_with(got["key"])
    for _ in range(3):
        clock.shift(11 * MINUTE)
        assert browser.get(PAGE).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_twenty_at_once_after_the_secret_key_changed_leave_one_session(login, settings):
    used = login("session")
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = OTHER_SECRET_KEY
    key = used.browser.session_cookie
    answers = at_once(20, lambda number: browser_with(key).get(PAGE))
    keys = {sent_key(answer) for answer in answers} - {None, ""}
    # Whichever answer comes last, the browser must end up with the key of the row, or at
    # least with one that a revocation ends.
    registry.revoke(only_row())
    alive = [one for one in keys if browser_with(one).get(PAGE).status_code == 200]
    assert alive == []


def test_a_new_password_wins_over_a_rotation_that_was_faster(engine, login, clock, settings):
    settings.AUTHMODES_ROTATE_SESSION_AFTER = EVERY_REQUEST
    used = login("session")
    hooks["during"] = lambda request: parallel(request, PAGE)
    used.browser.get("/slow-changes-password/")
    assert only_row().session_key == session_store.stored_key(used.browser.session_cookie)
    assert is_signed_in(used.browser.session_cookie)


# -- adoption ------------------------------------------------------------------------------


def test_adoption_beside_a_rotation_makes_one_row(alice, settings, clock):
    settings.AUTHMODES_ROTATE_SESSION_AFTER = EVERY_REQUEST
    key = session_without_row(alice)
    hooks["during"] = lambda request: parallel(request, PAGE)
    assert browser_with(key).get("/slow-asks-last/").status_code == 200
    assert LoginSession.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_adoption_does_not_bring_a_revoked_login_back(alice, settings):
    settings.AUTHMODES_ROTATE_SESSION_AFTER = EVERY_REQUEST
    key = session_without_row(alice)

    def during(request):
        parallel(request, PAGE)  # adopted and rotated
        assert registry.revoke_user(alice) == 1

    hooks["during"] = during
    browser = browser_with(key)
    browser.raise_request_exception = False
    browser.get("/slow-asks-last/")
    assert browser.get(PAGE).status_code == 302, "signed in again"
    assert LoginSession.objects.active().count() == 0


# -- ATOMIC_REQUESTS -------------------------------------------------------------------------


def hold_up(call, slow="/slow/", fast=PAGE):
    entered, leave = threading.Event(), threading.Event()

    def during(request):
        entered.set()
        leave.wait(timeout=PATIENCE)

    hooks["during"] = during

    def run(path):
        try:
            return call(path).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(run, slow)
        assert entered.wait(timeout=PATIENCE)
        two = pool.submit(run, fast)
        try:
            return two.result(timeout=PATIENCE / 2)
        except TimeoutError:
            return "blocked"
        finally:
            leave.set()
            one.result(timeout=PATIENCE)


@pytest.mark.servers
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("due", [False, True])
def test_a_slow_page_does_not_hold_up_the_others(login, settings, atomic_requests, due):
    """The touch takes the row's lock, and under ATOMIC_REQUESTS keeps it as long as the view."""
    used = login("session")
    if due:
        make_due(used)
    key = used.browser.session_cookie
    assert hold_up(lambda path: browser_with(key).get(path)) == 200


@pytest.mark.servers
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("due", [False, True])
def test_a_slow_call_does_not_hold_up_the_others(login, settings, atomic_requests, due):
    used = login("jwt")
    if due:
        LoginSession.objects.update(last_seen_at=datetime.now(UTC) - 5 * MINUTE)
    bearer = {"authorization": f"Bearer {used.access}"}
    assert hold_up(lambda path: Browser().get(path, headers=bearer), "/slow-api/", API) == 200


@pytest.mark.servers
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_page_that_saves_its_user_and_a_login_that_takes_turns(login, settings, atomic_requests):
    """Row then user in one request, user then row in the other: a deadlock."""
    settings.AUTHMODES_MAX_LOGIN_SESSIONS = 1
    used = login("session")
    make_due(used)
    key = used.browser.session_cookie
    entered, leave = threading.Event(), threading.Event()

    def during(request):
        entered.set()
        leave.wait(timeout=PATIENCE)

    hooks["during"] = during

    def page():
        browser = browser_with(key)
        browser.raise_request_exception = False
        try:
            return browser.get("/saves-user/").status_code
        finally:
            connections.close_all()

    def enter():
        browser = Browser()
        browser.raise_request_exception = False
        body = {"username": "alice", "password": PASSWORD, "mode": "session"}
        try:
            return browser.send_json("/auth/login/", body).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(page)
        assert entered.wait(timeout=PATIENCE)
        two = pool.submit(enter)
        leave.set()
        assert (one.result(timeout=PATIENCE), two.result(timeout=PATIENCE)) == (200, 200)


@pytest.mark.django_db(transaction=True)
def test_a_login_adopted_in_a_request_that_rolls_back_lives_on(alice, atomic_requests, clock):
    browser = browser_with(session_without_row(alice))
    assert browser.get("/missing/").status_code == 404
    clock.shift(2 * MINUTE)
    assert browser.get(PAGE).status_code == 200
    assert LoginSession.objects.active().count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_login_adopted_in_a_request_that_rolls_back_is_listed(alice, atomic_requests, clock):
    browser = browser_with(session_without_row(alice))
    assert browser.get("/missing/").status_code == 404
    assert browser.get(PAGE).status_code == 200
    assert LoginSession.objects.active().count() == 1


@pytest.mark.django_db(transaction=True)
def test_activity_in_requests_that_roll_back_holds_off_the_idle_timeout(
    login, settings, atomic_requests, clock
):
    settings.AUTHMODES_IDLE_TIMEOUT = 10 * MINUTE
    used = login("session")
    for _ in range(8):
        clock.shift(2 * MINUTE)
        assert used.browser.get("/missing/").status_code == 404
    assert used.get().status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_broken_binding_ends_the_login_though_its_answer_rolls_back(
    mode, login, settings, atomic_requests
):
    settings.AUTHMODES_BIND_USER_AGENT = True
    used = login(mode)
    assert used.get(HTTP_USER_AGENT="curl/8").status_code == 401
    assert only_row().end_reason == "revoked"


# -- what is left behind ---------------------------------------------------------------------


def test_retired_keys_do_not_pile_up(engine, login, clock, settings, tmp_path):
    settings.AUTHMODES_ROTATE_SESSION_AFTER = EVERY_REQUEST
    used = login("session")
    for _ in range(50):
        clock.shift(timedelta(seconds=30))
        assert used.get().status_code == 200
    if engine == "file":
        assert len(list(tmp_path.iterdir())) < 5
    elif engine != "cache":
        assert Session.objects.count() < 5


def test_a_commit_that_fails_during_a_rotation_signs_nobody_out(
    engine, login, clock, settings, monkeypatch
):
    settings.AUTHMODES_ROTATE_SESSION_AFTER = EVERY_REQUEST
    used = login("session")
    retire = session_rotation.retire

    def fail(*args):
        retire(*args)
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(session_rotation, "retire", fail)
    key = used.browser.session_cookie
    assert used.browser.get(PAGE).status_code == 200
    monkeypatch.setattr(session_rotation, "retire", retire)
    assert browser_with(key).get(PAGE).status_code == 200
    browser = browser_with(key)
    for _ in range(3):
        assert browser.get(PAGE).status_code == 200


def test_a_login_whose_answer_was_an_error_takes_no_place(alice, settings):
    """Django sends no cookie with a server error, so nobody holds this login."""
    settings.AUTHMODES_MAX_LOGIN_SESSIONS = 1
    settings.AUTHMODES_LIMIT_POLICY = "refuse"
    browser = Browser()
    browser.raise_request_exception = False
    assert browser.get("/login-then-fail/").status_code == 500
    assert browser.session_cookie == ""
    body = {"username": "alice", "password": PASSWORD, "mode": "session"}
    assert Browser().send_json("/auth/login/", body).status_code == 200
