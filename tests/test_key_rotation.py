"""Session ids that change: the grace of the old one, late requests, and what they may not do."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest
import time_machine
from asgiref.sync import async_to_sync
from django.contrib.auth import SESSION_KEY, alogin, get_user_model
from django.contrib.sessions.backends import file
from django.contrib.sessions.models import Session
from django.db import OperationalError, connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import AsyncClient
from django.urls import path
from rest_framework.decorators import api_view, permission_classes
from rest_framework.exceptions import ValidationError
from rest_framework.permissions import AllowAny

from authmodes import registry
from authmodes.models import LoginSession
from authmodes.registry import django_sessions
from authmodes.sessions import rotation as session_rotation
from authmodes.sessions import store as session_store

from .support.browser import Browser, browser_with
from .support.logins import API, PAGE, PASSWORD, only_row
from .support.sessions import at_once, sent_key
from .support.views import become, cycle, logout, put
from .urls import urlpatterns as project_urlpatterns

EVERY_REQUEST = timedelta(0)
GRACE = timedelta(seconds=10)
ENGINES = [
    "django.contrib.sessions.backends.db",
    "django.contrib.sessions.backends.cached_db",
    "django.contrib.sessions.backends.cache",
    "django.contrib.sessions.backends.file",
    "authmodes.sessions.db",
    "authmodes.sessions.cached_db",
]


# -- views ---------------------------------------------------------------------------------


def names_of(keys) -> list[str]:
    """What the views here put into a session; Django's and allauth's own left out."""
    return sorted(key for key in keys if not key.startswith(("_", "account_", "csrf")))


def put_without_asking(request: HttpRequest, name: str) -> JsonResponse:
    """Like a shopping cart: it uses the session and never asks who it is."""
    request.session[name] = True
    return JsonResponse({})


def contents(request: HttpRequest) -> JsonResponse:
    assert request.user.is_authenticated
    return JsonResponse({"names": names_of(request.session.keys())})


def contents_without_asking(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"names": names_of(request.session.keys())})


def fail(request: HttpRequest) -> HttpResponse:
    assert request.user.is_authenticated
    request.session["half"] = True
    return HttpResponse(status=500)


def flush(request: HttpRequest) -> JsonResponse:
    assert request.user.is_authenticated
    request.session.flush()
    return JsonResponse({})


def overtaken(request: HttpRequest, name: str) -> JsonResponse:
    """While this request is under way, another with the same cookie rotates the key."""
    assert request.user.is_authenticated
    other = Browser()
    other.cookies["sessionid"] = request.COOKIES["sessionid"]
    answer = other.get(f"/put/other-{name}/")
    assert answer.status_code == 200
    request.session[name] = True
    return JsonResponse({"new": other.session_cookie})


def revoked_meanwhile(request: HttpRequest) -> JsonResponse:
    """The login ends in another process, and this request does not know of it."""
    assert request.user.is_authenticated
    request.session["late"] = True
    with ThreadPoolExecutor(1) as pool:
        pool.submit(revoke_everything).result()
    return JsonResponse({})


def revoke_everything() -> None:
    try:
        registry.revoke_all(LoginSession.objects.all())
    finally:
        connections.close_all()


async def async_login(request: HttpRequest) -> JsonResponse:
    user = await get_user_model().objects.aget(username="alice")
    await alogin(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return JsonResponse({})


async def async_put(request: HttpRequest, name: str) -> JsonResponse:
    user = await request.auser()
    await request.session.aset(name, True)
    return JsonResponse({"username": user.get_username()})


async def async_contents(request: HttpRequest) -> JsonResponse:
    user = await request.auser()
    names = names_of(await request.session.akeys())
    return JsonResponse({"username": user.get_username(), "names": names})


@api_view(["GET"])
def cycle_in_vain(request):
    request._request.session.cycle_key()
    raise ValidationError("ATOMIC_REQUESTS takes it back")


@api_view(["GET"])
@permission_classes([AllowAny])
def become_in_vain(request, name):
    become(request._request, name)
    raise ValidationError("ATOMIC_REQUESTS takes it back")


def overtaken_then(request: HttpRequest, what: str) -> JsonResponse:
    """As `overtaken`, and then the session is flushed or becomes another user's."""
    overtaken(request, "x")
    return flush(request) if what == "flush" else become(request, what)


urlpatterns = [
    *project_urlpatterns,
    path("put/<str:name>/", put),
    path("put-without-asking/<str:name>/", put_without_asking),
    path("contents/", contents),
    path("contents-without-asking/", contents_without_asking),
    path("fail/", fail),
    path("logout/", logout),
    path("flush/", flush),
    path("cycle/", cycle),
    path("become/<str:name>/", become),
    path("overtaken/<str:name>/", overtaken),
    path("revoked-meanwhile/", revoked_meanwhile),
    path("cycle-in-vain/", cycle_in_vain),
    path("become-in-vain/<str:name>/", become_in_vain),
    path("overtaken-then/<str:what>/", overtaken_then),
    path("async/login/", async_login),
    path("async/put/<str:name>/", async_put),
    path("async/contents/", async_contents),
]
pytestmark = pytest.mark.urls("tests.test_key_rotation")


# -- what the tests share ------------------------------------------------------------------


@pytest.fixture
def clock():
    """A clock that stands still at the real date, which files get as their own."""
    with time_machine.travel(datetime.now(UTC), tick=False) as traveller:
        yield traveller


@pytest.fixture(params=ENGINES, ids=lambda path: path.replace("django.contrib.sessions.", ""))
def engine(request, settings, tmp_path, monkeypatch):
    settings.SESSION_ENGINE = request.param
    settings.SESSION_FILE_PATH = str(tmp_path)
    monkeypatch.setattr(file.SessionStore, "_storage_path", str(tmp_path), raising=False)
    return import_module(request.param)


@pytest.fixture
def rotating(settings):
    settings.AUTHMODES_ROTATE_SESSION_AFTER = EVERY_REQUEST


@pytest.fixture
def cookie(rotating, clock, login):
    """A cookie login whose key changes with every answer."""
    return login("session")


def is_signed_in(browser):
    status = browser.get("/contents-without-asking/").status_code
    assert status == 200
    return browser.get(API).status_code == 200


def rotate(used):
    """Make a request that changes the key; give the old key and the new one."""
    old = used.browser.session_cookie
    assert used.browser.get(PAGE).status_code == 200
    new = used.browser.session_cookie
    assert new != old
    return old, new


def names_in(key):
    return sorted(browser_with(key).get("/contents/").json()["names"])


# -- when the key changes ------------------------------------------------------------------


def test_the_key_changes_once_it_has_served_its_time(engine, clock, login, settings):
    settings.AUTHMODES_ROTATE_SESSION_AFTER = timedelta(minutes=10)
    used = login("session")
    key = used.browser.session_cookie
    clock.shift(timedelta(minutes=9, seconds=59))
    assert used.get().status_code == 200
    assert used.browser.session_cookie == key
    clock.shift(timedelta(seconds=1))
    assert used.get().status_code == 200
    new = used.browser.session_cookie
    assert new != key
    clock.shift(timedelta(minutes=9))
    assert used.get().status_code == 200
    assert used.browser.session_cookie == new


def test_a_zero_duration_changes_the_key_with_every_answer(engine, cookie):
    seen = {cookie.browser.session_cookie}
    for _ in range(5):
        assert cookie.browser.get(PAGE).status_code == 200
        seen.add(cookie.browser.session_cookie)
    assert len(seen) == 6


@pytest.mark.django_db(transaction=True)
def test_the_row_follows_and_only_one_session_is_left(engine, cookie, clock):
    for _ in range(3):
        _old, new = rotate(cookie)
        assert only_row().session_key == session_store.stored_key(new)
    registry.revoke(only_row())
    assert not is_signed_in(cookie.browser)


def test_data_is_carried_over(engine, cookie):
    for name in ("a", "b", "c"):
        assert cookie.browser.get(f"/put/{name}/").status_code == 200
    assert cookie.browser.get("/contents/").json() == {"names": ["a", "b", "c"]}


def test_without_the_setting_the_key_stays(engine, login, clock):
    used = login("session")
    key = used.browser.session_cookie
    for _ in range(3):
        clock.shift(timedelta(hours=1))
        assert used.get().status_code == 200
    assert used.browser.session_cookie == key


def test_an_anonymous_session_keeps_its_key(engine, rotating, db):
    browser = Browser()
    browser.get("/put-without-asking/a/")
    key = browser.session_cookie
    assert key
    for name in ("b", "c"):
        browser.get(f"/put-without-asking/{name}/")
    assert browser.session_cookie == key
    assert browser.get("/contents-without-asking/").json() == {"names": ["a", "b", "c"]}


@pytest.mark.parametrize("page", ["/fail/", "/missing/"])
def test_only_an_answer_that_carries_a_cookie_changes_the_key(page, cookie):
    """Django sends no cookie with a server error, so a new key would be lost."""
    key, row_key = cookie.browser.session_cookie, cookie.row.session_key
    cookie.browser.get(page)
    if page == "/fail/":
        assert (cookie.browser.session_cookie, cookie.row.session_key) == (key, row_key)
    assert is_signed_in(cookie.browser)


# -- the grace -----------------------------------------------------------------------------


def test_the_old_key_is_served_within_the_grace_and_dead_after_it(engine, cookie, clock):
    old, new = rotate(cookie)
    clock.shift(GRACE - timedelta(seconds=1))
    assert browser_with(old).get(API).json()["username"] == "alice"
    assert browser_with(old).get(PAGE).status_code == 200
    clock.shift(timedelta(seconds=2))
    assert browser_with(old).get(API).status_code == 401
    assert browser_with(old).get("/probe/whoami/").json() == {"username": None}
    assert browser_with(new).get(API).status_code == 200
    assert only_row().ended_at is None


def test_a_key_that_was_retired_in_the_future_leads_nowhere(engine, cookie, clock):
    """The clock was wrong when it was retired, or is wrong now."""
    old = cookie.browser.session_cookie
    clock.shift(timedelta(hours=1))
    cookie.get()
    clock.shift(-timedelta(hours=1))
    assert browser_with(old).get(API).status_code == 401
    assert cookie.get().status_code == 200


def test_the_old_key_finds_its_way_over_several_changes(engine, cookie):
    old = cookie.browser.session_cookie
    for _ in range(3):
        rotate(cookie)
    assert browser_with(old).get(API).status_code == 200


def test_using_the_old_key_does_not_prolong_its_grace(engine, cookie, clock):
    old, _new = rotate(cookie)
    for _ in range(3):
        clock.shift(timedelta(seconds=3))
        assert browser_with(old).get(f"/put/{_}/").status_code == 200
    clock.shift(timedelta(seconds=2))
    assert not is_signed_in(browser_with(old))


def test_a_retired_session_leaves_the_store_by_itself(cookie, clock):
    rotate(cookie)
    assert Session.objects.count() == 2
    clock.shift(GRACE + timedelta(seconds=1))
    session_store.engine().clear_expired()
    assert Session.objects.count() == 1
    assert is_signed_in(cookie.browser)


def test_a_retired_file_is_cleared_as_well(cookie, clock, settings, tmp_path, monkeypatch, login):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.file"
    settings.SESSION_FILE_PATH = str(tmp_path)
    monkeypatch.setattr(file.SessionStore, "_storage_path", str(tmp_path), raising=False)
    used = login("session")
    rotate(used)
    clock.shift(GRACE + timedelta(seconds=1))
    file.SessionStore.clear_expired()
    assert [entry.name for entry in tmp_path.iterdir()] == [
        f"sessionid{used.browser.session_cookie}"
    ]


def test_a_reader_of_the_store_cannot_find_the_successor(cookie):
    """What is left under the old key is a nonce; the new key needs SECRET_KEY beside it."""
    old, new = rotate(cookie)
    left = Session.objects.get(session_key=old)
    assert new not in str(left.get_decoded())
    assert SESSION_KEY not in left.get_decoded()


# -- late requests -------------------------------------------------------------------------


def test_what_a_late_request_writes_is_kept_under_the_key_in_force(engine, cookie, clock):
    old, new = rotate(cookie)
    assert browser_with(old).get("/put/late/").status_code == 200
    assert cookie.browser.session_cookie == new
    assert "late" in cookie.browser.get("/contents/").json()["names"]
    clock.shift(GRACE + timedelta(seconds=1))
    assert not is_signed_in(browser_with(old))
    assert is_signed_in(cookie.browser)


def test_a_late_request_that_never_asks_for_the_user_follows_too(engine, cookie, clock):
    cookie.browser.get("/put/early/")
    old, _new = rotate(cookie)
    late = browser_with(old)
    assert late.get("/contents-without-asking/").json() == {"names": ["early"]}
    answer = late.get("/put-without-asking/late/")
    assert sent_key(answer) != old
    assert cookie.browser.get("/contents/").json() == {"names": ["early", "late"]}
    clock.shift(GRACE + timedelta(seconds=1))
    assert not is_signed_in(browser_with(old))
    assert is_signed_in(cookie.browser)


def test_csrf_tokens_in_the_session_survive_for_late_requests(cookie, settings):
    settings.CSRF_USE_SESSIONS = True
    browser = Browser()
    token = browser.get("/auth/csrf/").json()["csrf_token"]
    body = {"username": "alice", "password": PASSWORD}
    headers = {"x-csrftoken": token}
    signed_in = browser.post("/auth/login/", body, "application/json", headers=headers)
    assert signed_in.status_code == 200
    token = browser.get("/auth/csrf/").json()["csrf_token"]
    old = browser.session_cookie
    assert browser.get(PAGE).status_code == 200
    late = browser_with(old)
    assert late.post(API, {}, "application/json", headers={"x-csrftoken": token}).status_code == 200


def test_a_request_that_was_overtaken_loses_nothing(engine, cookie, clock):
    """Its session was loaded under the old key, and is saved when that is retired."""
    old = cookie.browser.session_cookie
    answer = cookie.browser.get("/overtaken/mine/")
    assert answer.status_code == 200
    new = answer.json()["new"]
    assert sent_key(answer) in (None, new)
    assert names_in(new) == ["mine"] or set(names_in(new)) == {"mine", "other-mine"}
    clock.shift(GRACE + timedelta(seconds=1))
    assert not is_signed_in(browser_with(old))
    assert only_row().ended_at is None


def test_an_overtaken_request_whose_own_turn_is_not_due_revives_nothing(
    engine, clock, login, settings
):
    used = login("session")
    old = used.browser.session_cookie
    settings.AUTHMODES_ROTATE_SESSION_AFTER = EVERY_REQUEST
    new = used.browser.get("/overtaken/mine/").json()["new"]
    settings.AUTHMODES_ROTATE_SESSION_AFTER = timedelta(hours=1)
    clock.shift(GRACE + timedelta(seconds=1))
    assert not is_signed_in(browser_with(old))
    assert is_signed_in(browser_with(new))


def test_a_browser_that_lost_the_answer_gets_the_key_with_its_next_request(engine, cookie, clock):
    """As the PHP manual advises for session_regenerate_id(): a lost cookie is sent again."""
    old = cookie.browser.session_cookie
    assert browser_with(old).get(PAGE).status_code == 200  # whose answer never arrives
    assert cookie.browser.get(PAGE).status_code == 200
    assert cookie.browser.session_cookie != old
    clock.shift(GRACE + timedelta(minutes=5))
    assert is_signed_in(cookie.browser)


def test_a_late_request_is_never_sent_a_key_that_is_out_of_force(engine, cookie):
    old, _ = rotate(cookie)
    _, newest = rotate(cookie)
    for page in (PAGE, "/put/late/", "/contents-without-asking/"):
        assert sent_key(browser_with(old).get(page)) in (None, newest)


def test_a_failing_late_request_saves_nothing(engine, cookie):
    old, _new = rotate(cookie)
    answer = browser_with(old).get("/fail/")
    assert (answer.status_code, sent_key(answer)) == (500, None)
    assert cookie.browser.get("/contents/").json() == {"names": []}


# -- ends of a login within the grace ------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_revocation_during_the_grace_kills_both_keys(engine, cookie):
    old, new = rotate(cookie)
    registry.revoke(only_row())
    for key in (old, new):
        assert browser_with(key).get(API).status_code == 401
        assert browser_with(key).get("/probe/whoami/").json() == {"username": None}


@pytest.mark.parametrize("page", ["/logout/", "/flush/"])
@pytest.mark.django_db(transaction=True)
def test_a_late_request_that_signs_out_ends_the_login(page, engine, cookie):
    old, new = rotate(cookie)
    browser_with(old).get(page)
    assert only_row().end_reason == "logout"
    for key in (old, new):
        assert not is_signed_in(browser_with(key))


def test_the_rest_logout_in_a_late_request_ends_the_login(cookie):
    old, new = rotate(cookie)
    late = browser_with(old)
    assert late.submit("/auth/logout/").status_code == 204
    assert only_row().end_reason == "logout"
    assert not is_signed_in(browser_with(new))


def test_a_late_request_that_cycles_the_key_is_followed(engine, cookie, clock):
    old, new = rotate(cookie)
    late = browser_with(old)
    late.get("/cycle/")
    newest = late.session_cookie
    assert newest not in (old, new)
    assert only_row().session_key == session_store.stored_key(newest)
    clock.shift(GRACE + timedelta(seconds=1))
    assert is_signed_in(browser_with(newest))
    assert not is_signed_in(browser_with(new))


@pytest.mark.django_db(transaction=True)
def test_another_user_signing_in_by_a_late_request_gets_a_login_of_their_own(engine, cookie, bob):
    old, new = rotate(cookie)
    late = browser_with(old)
    late.get("/become/bob/")
    assert late.get(API).json()["username"] == "bob"
    active = LoginSession.objects.active().get()
    assert active.user == bob
    assert LoginSession.objects.get(user__username="alice").end_reason == "logout"
    assert not is_signed_in(browser_with(new))
    assert not is_signed_in(browser_with(old))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("late", [False, True])
def test_a_revocation_during_a_request_that_saves_stays(late, cookie):
    old = cookie.browser.session_cookie
    if late:
        rotate(cookie)
    browser_with(old).get("/revoked-meanwhile/")
    for key in {old, cookie.browser.session_cookie}:
        assert not is_signed_in(browser_with(key))
    assert only_row().end_reason == "revoked"
    assert not any(SESSION_KEY in row.get_decoded() for row in Session.objects.all())


# -- async ---------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_async_views_rotate_and_serve_late_requests(engine, alice, rotating, clock):
    client = AsyncClient()
    ask = async_to_sync(client.get)
    ask("/async/login/")
    old = client.cookies["sessionid"].value
    assert ask("/async/put/early/").json() == {"username": "alice"}
    new = client.cookies["sessionid"].value
    assert new != old
    assert only_row().session_key == session_store.stored_key(new)

    late = AsyncClient()
    late.cookies["sessionid"] = old
    assert async_to_sync(late.get)("/async/put/late/").json() == {"username": "alice"}
    assert ask("/async/contents/").json() == {"username": "alice", "names": ["early", "late"]}
    clock.shift(GRACE + timedelta(seconds=1))
    stranger = AsyncClient()
    stranger.cookies["sessionid"] = old
    assert async_to_sync(stranger.get)("/async/contents/").json()["username"] == ""
    assert ask("/async/contents/").json()["username"] == "alice"


# -- at once -------------------------------------------------------------------------------


@pytest.mark.servers
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("page", [PAGE, "/put/{}/", "/put-without-asking/{}/"])
@pytest.mark.parametrize("engine", ENGINES, indirect=True)
def test_of_twenty_at_once_with_one_key_none_fails_on_postgresql(engine, page, cookie, clock):
    old = cookie.browser.session_cookie
    # Due for a touch as well, whose save must not bring the retired key back.
    clock.shift(timedelta(minutes=2))
    answers = at_once(20, lambda number: browser_with(old).get(page.format(number)))
    assert [answer.status_code for answer in answers] == [200] * 20
    (live,) = {sent_key(answer) for answer in answers} - {None}
    assert only_row().ended_at is None
    assert only_row().session_key == session_store.stored_key(live)
    clock.shift(GRACE + timedelta(seconds=1))
    assert not is_signed_in(browser_with(old))
    assert is_signed_in(browser_with(live))


@pytest.mark.servers
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_crowd_that_goes_on_with_what_it_gets_is_never_signed_out(cookie):
    """Five tabs of one browser: they share the cookie jar, and each goes its own pace."""
    browser = cookie.browser
    jar = {"key": browser.session_cookie}

    def surf(number):
        statuses = []
        for turn in range(8):
            answer = browser_with(jar["key"]).get(f"/put/{number}-{turn}/")
            statuses.append(answer.status_code)
            jar["key"] = sent_key(answer) or jar["key"]
        return statuses

    for statuses in at_once(5, surf):
        assert statuses == [200] * 8
    assert is_signed_in(browser_with(jar["key"]))
    assert only_row().ended_at is None


def test_after_a_rotation_that_failed_the_next_one_succeeds(engine, cookie, clock, monkeypatch):
    retire = session_rotation.retire

    def fail(*args):
        retire(*args)
        raise OperationalError("deadlock detected")

    monkeypatch.setattr(session_rotation, "retire", fail)
    assert cookie.browser.get(PAGE).status_code == 200
    monkeypatch.setattr(session_rotation, "retire", retire)
    clock.shift(GRACE + timedelta(seconds=1))
    rotate(cookie)
    assert is_signed_in(cookie.browser)


def test_a_rotation_that_loses_and_fails_does_not_revive_the_retired_key(
    engine, cookie, clock, monkeypatch
):
    """As where the database aborts the loser: REPEATABLE READ, a deadlock."""
    old = cookie.browser.session_cookie
    derive, row_of = session_rotation.derive_successor, django_sessions._row_of
    winner, is_beaten = browser_with(old), []

    def be_overtaken(key):
        if not is_beaten:
            is_beaten.append(True)
            assert winner.get(PAGE).status_code == 200
            monkeypatch.setattr(django_sessions, "_row_of", fail)
        return derive(key)

    def fail(*args):
        monkeypatch.setattr(django_sessions, "_row_of", row_of)
        raise OperationalError("could not serialize access due to concurrent update")

    monkeypatch.setattr(session_rotation, "derive_successor", be_overtaken)
    cookie.browser.raise_request_exception = False
    cookie.browser.get(PAGE)
    assert is_beaten
    assert winner.session_cookie != old
    clock.shift(GRACE + timedelta(seconds=1))
    assert not is_signed_in(browser_with(old))
    assert is_signed_in(winner)


@pytest.mark.servers
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_under_repeatable_read_the_losers_of_a_rotation_follow_the_winner(
    engine, cookie, clock, monkeypatch
):
    options = connections["default"].settings_dict["OPTIONS"]
    monkeypatch.setitem(options, "isolation_level", 3)
    old = cookie.browser.session_cookie
    assert at_once(5, lambda _: browser_with(old).get(PAGE).status_code) == [200] * 5
    clock.shift(GRACE + timedelta(seconds=1))
    assert not is_signed_in(browser_with(old))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", [name for name in ENGINES if name.endswith("db")])
def test_a_changed_key_that_is_taken_back_is_not_followed(
    name, login, settings, clock, atomic_requests
):
    settings.SESSION_ENGINE = name
    used = login("session")
    assert used.browser.get("/cycle-in-vain/").status_code == 400
    clock.shift(timedelta(hours=1))
    registry.prune()
    assert is_signed_in(used.browser)
    registry.revoke(only_row())
    assert not is_signed_in(used.browser)


@pytest.mark.django_db(transaction=True)
def test_a_login_that_is_taken_back_leaves_no_session(engine, alice, atomic_requests):
    browser = Browser()
    assert browser.get("/become-in-vain/alice/").status_code == 400
    assert not LoginSession.objects.exists()
    assert not is_signed_in(browser)


@pytest.mark.parametrize("what", ["flush", "bob"])
def test_an_overtaken_request_that_leaves_its_session_ends_the_login(what, engine, cookie, bob):
    left = only_row()
    cookie.browser.get(f"/overtaken-then/{what}/")
    left.refresh_from_db()
    assert left.end_reason == "logout"
