"""Sessions from before authmodes: each at its next request, or all by a command."""

import io
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from importlib import import_module

import pytest
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.auth import login as django_login
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import connections
from django.http import JsonResponse
from django.test.utils import CaptureQueriesContext
from django.urls import path
from django.utils import timezone

from authmodes import registry
from authmodes.management.commands import adopt_sessions
from authmodes.models import LoginSession
from authmodes.registry import adoption
from authmodes.sessions.state import DATA_KEY, SessionData, load, sid_in

from .support.browser import browser_with
from .support.database import connection
from .support.logins import API, PAGE, only_row, sign_in
from .support.sessions import session_without_row
from .urls import urlpatterns as project_urlpatterns

BACKEND = "django.contrib.auth.backends.ModelBackend"


def adopt():
    out = io.StringIO()
    call_command("adopt_sessions", stdout=out)
    return out.getvalue()


# -- at the next request -------------------------------------------------------------------


@pytest.mark.parametrize("page", [API, PAGE])
def test_the_next_request_makes_the_row(page, alice):
    key = session_without_row(alice, cart=["book"])
    browser = browser_with(key, REMOTE_ADDR="192.0.2.10", HTTP_USER_AGENT="Shop/1.0")
    for _ in range(3):
        assert browser.get(page).status_code == 200
    row = only_row()
    assert (row.user, row.mode, row.session_key) == (alice, "session", key)
    assert (row.ip_address, row.user_agent) == ("192.0.2.10", "Shop/1.0")
    data = Session.objects.get().get_decoded()
    assert (data["cart"], sid_in(data)) == (["book"], str(row.sid))


def test_who_has_one_makes_no_other(login):
    used = login("session")
    for _ in range(3):
        used.get()
    assert LoginSession.objects.count() == 1


def test_it_is_no_new_sign_in(alice, settings, mailoutbox):
    settings.AUTHMODES_NOTIFY_NEW_LOGIN = True
    settings.AUTHMODES_MAX_LOGIN_SESSIONS = 1
    settings.AUTHMODES_LIMIT_POLICY = "refuse"
    for agent in ("One/1.0", "Two/1.0"):
        browser = browser_with(session_without_row(alice), HTTP_USER_AGENT=agent)
        assert browser.get(PAGE).status_code == 200
    assert LoginSession.objects.active().count() == 2
    assert mailoutbox == []


def test_it_lives_the_absolute_lifetime_from_its_adoption(alice, settings, clock):
    settings.AUTHMODES_ABSOLUTE_LIFETIME = timedelta(days=2)
    browser = browser_with(session_without_row(alice))
    assert browser.get(PAGE).status_code == 200
    clock.shift(timedelta(days=2))
    assert browser.get(PAGE).status_code == 302


def adopt_at_once(key, count):
    barrier = threading.Barrier(count)

    def ask(number):
        browser = browser_with(key)
        barrier.wait(timeout=60)
        try:
            if number == 0:
                call_command("adopt_sessions", stdout=io.StringIO())
            return browser.get(PAGE).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(ask, range(count)))


@pytest.mark.django_db(transaction=True)
def test_parallel_requests_make_one_row(alice):
    key = session_without_row(alice)
    assert adopt_at_once(key, 5) == [200] * 5
    assert only_row().session_key == key


@pytest.mark.servers
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("repetition", range(3))
def test_twenty_parallel_requests_make_one_row_on_postgresql(alice, repetition):
    key = session_without_row(alice)
    assert adopt_at_once(key, 20) == [200] * 20
    row = only_row()
    assert (row.session_key, row.ended_at) == (key, None)
    assert browser_with(key).get(PAGE).status_code == 200


# -- with data that cannot be read -----------------------------------------------------------


def login_with(login, change):
    """A login whose Django session stores something else of it than we wrote."""
    used = login("session")
    session = used.browser.session
    session[DATA_KEY] = change(session[DATA_KEY])
    session.save()
    return used


def without(field):
    return lambda data: {name: value for name, value in data.items() if name != field}


@pytest.mark.parametrize("missing", SessionData._fields)
def test_what_a_session_does_not_store_is_read_from_the_row(missing, login):
    used = login_with(login, without(missing))
    sid = only_row().sid
    assert used.get().status_code == 200
    assert load(used.browser.session).sid == str(only_row().sid) == str(sid)


@pytest.mark.parametrize("foreign", ["text", 1, {"colour": "blue"}, []], ids=repr)
def test_foreign_data_are_replaced_by_those_of_the_row(foreign, login):
    used = login_with(login, lambda data: foreign)
    sid = only_row().sid
    assert used.get().status_code == 200
    assert load(used.browser.session).sid == str(only_row().sid) == str(sid)


def test_a_login_that_ended_is_not_adopted_again(login):
    used = login_with(login, without("seen_at"))
    LoginSession.objects.update(ended_at=timezone.now())
    assert used.get().status_code == 401
    assert only_row()


@pytest.mark.parametrize("key", ["elsewhere", None])
def test_foreign_data_without_a_row_make_no_new_one(key, login):
    """A save that came late has put them back; they are not from before authmodes."""
    used = login_with(login, lambda data: "foreign")
    LoginSession.objects.update(session_key=key)
    assert used.get().status_code == 401
    assert only_row()


@pytest.mark.parametrize("missing", ["ip_address", "seen_at"])
def test_forgetting_where_a_login_was_made_does_not_unbind_it(missing, login, settings):
    settings.AUTHMODES_BIND_IP = True
    used = login_with(login, without(missing))
    assert used.browser.get(API, REMOTE_ADDR="198.51.100.7").status_code == 401
    assert only_row().end_reason == "revoked"


def test_a_session_never_gets_the_row_of_another_user(alice, bob):
    """Whatever has left that row with this key: bob's request must not go on as alice's login."""
    key = session_without_row(alice)
    adopt()
    session = Session.objects.get(session_key=key)
    session.session_data = SessionStore().encode(
        {
            SESSION_KEY: str(bob.pk),
            "_auth_user_backend": BACKEND,
            "_auth_user_hash": bob.get_session_auth_hash(),
        }
    )
    session.save()
    assert browser_with(key).get(API).status_code == 401
    assert only_row().user == alice


# -- the command ---------------------------------------------------------------------------


@pytest.fixture(params=["django.contrib.sessions.backends.db", "authmodes.sessions.cached_db"])
def engine(request, settings):
    settings.SESSION_ENGINE = request.param


@pytest.mark.django_db(transaction=True)
def test_the_command_gives_each_its_row(engine, alice, bob):
    keys = [session_without_row(user) for user in (alice, alice, bob)]
    assert "Adopted 3 of 3 Django sessions." in adopt()
    assert LoginSession.objects.active().for_user(alice).count() == 2
    for key in keys:
        assert browser_with(key).get(PAGE).status_code == 200
    assert LoginSession.objects.count() == 3
    registry.revoke_all(LoginSession.objects.for_user(alice))
    assert [browser_with(key).get(API).status_code for key in keys] == [401, 401, 200]


@pytest.mark.django_db(transaction=True)
def test_what_the_command_adopted_can_be_revoked_before_its_next_request(engine, alice):
    key = session_without_row(alice)
    adopt()
    assert registry.revoke(only_row())
    assert browser_with(key).get(API).status_code == 401
    assert not browser_with(key).get("/probe/whoami/").json()["username"]


def test_twice_does_no_harm(engine, alice):
    key = session_without_row(alice)
    adopt()
    first = only_row().sid
    assert "Adopted 0 of 1 Django sessions." in adopt()
    assert browser_with(key).get(PAGE).status_code == 200
    assert "Adopted 0 of 1 Django sessions." in adopt()
    assert only_row().sid == first


def test_it_passes_over_what_is_no_login(engine, alice, settings):
    anonymous = import_module(settings.SESSION_ENGINE).SessionStore()
    anonymous["cart"] = ["book"]
    anonymous.save()
    session_without_row(alice, expires=timezone.now() - timedelta(seconds=1))
    session_without_row(alice, _auth_user_hash="another password")
    locked = get_user_model().objects.create_user("locked", is_active=False)
    session_without_row(locked)
    deleted = get_user_model().objects.create_user("deleted")
    session_without_row(deleted)
    get_user_model().objects.filter(pk=deleted.pk).delete()
    session_without_row(alice, **{SESSION_KEY: "not a number"})
    Session.objects.create(
        session_key="g" * 32, session_data="garbage", expire_date=timezone.now() + timedelta(1)
    )
    assert "Adopted 0 of" in adopt()
    assert not LoginSession.objects.exists()


def test_a_session_under_an_older_secret_key_is_adopted(alice, settings):
    key = session_without_row(alice)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another secret key of sufficient length 0123456789"
    assert "Adopted 1 of 1" in adopt()
    assert browser_with(key).get(PAGE).status_code == 200


def test_a_login_that_is_registered_is_left_alone(login):
    used = login("session")
    before = used.row
    assert "Adopted 0 of 1" in adopt()
    assert LoginSession.objects.get().last_seen_at == before.last_seen_at


def test_its_first_request_tells_where_an_adopted_login_is(alice, settings):
    """The store knows no address and no user agent; binding must not take that for one."""
    settings.AUTHMODES_BIND_IP = True
    settings.AUTHMODES_BIND_USER_AGENT = True
    key = session_without_row(alice)
    adopt()
    browser = browser_with(key, REMOTE_ADDR="192.0.2.10", HTTP_USER_AGENT="Shop/1.0")
    for _ in range(3):
        assert browser.get(PAGE).status_code == 200
    row = only_row()
    assert (row.ip_address, row.user_agent) == ("192.0.2.10", "Shop/1.0")
    thief = browser_with(key, REMOTE_ADDR="198.51.100.66", HTTP_USER_AGENT="Shop/1.0")
    assert thief.get(PAGE).status_code == 302
    assert only_row().end_reason == "revoked"


def test_it_works_in_batches_of_a_fixed_number_of_statements(alice, monkeypatch):
    monkeypatch.setattr(adopt_sessions, "BATCH", 10)

    def statements():
        with CaptureQueriesContext(connection) as captured:
            adopt()
        return len(captured)

    for _ in range(10):
        session_without_row(alice)
    one_batch = statements()
    for _ in range(30):
        session_without_row(alice)
    LoginSession.objects.all().delete()
    four_batches = statements()
    empty = 2  # the count, and the look for a next batch
    assert four_batches - empty == 4 * (one_batch - empty)
    assert LoginSession.objects.count() == 40


def test_it_survives_an_interruption(alice, monkeypatch):
    monkeypatch.setattr(adopt_sessions, "BATCH", 2)
    for _ in range(6):
        session_without_row(alice)
    adopt_many, calls = adoption.adopt_many, []

    def interrupted(sessions):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(1)
        return adopt_many(sessions)

    monkeypatch.setattr(adoption, "adopt_many", interrupted)
    with pytest.raises(KeyboardInterrupt):
        adopt()
    assert LoginSession.objects.count() == 4
    monkeypatch.setattr(adoption, "adopt_many", adopt_many)
    assert "Adopted 2 of 6" in adopt()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_progress_bar_and_a_pipe_none(alice, monkeypatch):
    monkeypatch.setattr(adopt_sessions, "BATCH", 2)
    for _ in range(4):
        session_without_row(alice)
    terminal = Terminal()
    call_command("adopt_sessions", stdout=terminal)
    shown = terminal.getvalue()
    assert "\r[####################....................] 2/4" in shown
    assert "\r[########################################] 4/4\n" in shown
    assert "Adopted 4 of 4" in shown
    assert "\r" not in adopt()


def test_an_empty_store_is_no_error(db):
    assert "Adopted 0 of 0 Django sessions." in adopt()


@pytest.mark.parametrize("name", ["cache", "file"])
def test_a_store_that_cannot_be_listed_is_refused_with_a_reason(name, db, settings):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{name}"
    with pytest.raises(CommandError, match="cannot list its sessions"):
        adopt()


def fill(count, user):
    """Sessions that differ in their key only."""
    key = session_without_row(user)
    model = Session.objects.get(session_key=key)
    Session.objects.all().delete()
    Session.objects.bulk_create(
        (
            Session(
                session_key=f"{number:032x}",
                session_data=model.session_data,
                expire_date=model.expire_date,
            )
            for number in range(count)
        ),
        batch_size=1000,
    )


def test_the_command_needs_no_more_memory_for_more_sessions(alice, monkeypatch):
    monkeypatch.setattr(adopt_sessions, "BATCH", 40)
    peaks = []
    for count in (200, 2_000):
        fill(count, alice)
        LoginSession.objects.all().delete()
        tracemalloc.start()
        assert f"Adopted {count} of {count}" in adopt()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    few, many = peaks
    # Ten times as many; in proportion it would be ten times as much.
    assert many < 2 * few


def test_the_command_passes_over_a_session_whose_backend_is_gone(alice):
    session_without_row(alice, _auth_user_backend="project.OldBackend")
    adopt()
    assert LoginSession.objects.count() == 0


# -- before anybody has asked for the user ---------------------------------------------------


def sign_in_again(request):
    django_login(request, get_user_model().objects.get(username="alice"), backend=BACKEND)
    return JsonResponse({})


def cycle(request):
    request.session.cycle_key()
    return JsonResponse({})


def cycle_and_ask(request):
    request.session.cycle_key()
    return JsonResponse({"username": request.user.get_username()})


def revoke_and_cycle(request):
    assert request.session.get(SESSION_KEY)
    registry.revoke_all(LoginSession.objects.all())
    return cycle(request)


def become_bob(request):
    bob = get_user_model().objects.get(username="bob")
    request.session.flush()
    request.session[SESSION_KEY] = str(bob.pk)
    request.session["_auth_user_backend"] = BACKEND
    request.session["_auth_user_hash"] = bob.get_session_auth_hash()
    return JsonResponse({})


urlpatterns = [
    *project_urlpatterns,
    path("sign-in-again/", sign_in_again),
    path("cycle/", cycle),
    path("cycle-and-ask/", cycle_and_ask),
    path("revoke-and-cycle/", revoke_and_cycle),
    path("become-bob/", become_bob),
]
unasked = pytest.mark.urls("tests.test_adoption")


@pytest.fixture(params=["adopted", "foreign data"])
def unaware(request, alice):
    """A browser whose Django session has a row and does not know it."""
    if request.param == "adopted":
        browser = browser_with(session_without_row(alice))
        adopt()
        return browser
    browser = sign_in("session").client
    session = browser.session
    session[DATA_KEY] = "foreign"
    session.save()
    return browser


@unasked
def test_a_login_over_it_ends_its_row(unaware):
    browser = unaware
    before = only_row()
    assert browser.get("/sign-in-again/").status_code == 200
    assert browser.get(API).status_code == 200
    before.refresh_from_db()
    assert before.end_reason == "logout"
    new = LoginSession.objects.active().get()
    assert new.session_key == browser.session_cookie != before.session_key


@unasked
def test_its_row_follows_a_changed_key(unaware):
    browser = unaware
    before = only_row()
    assert browser.get("/cycle/").status_code == 200
    assert browser.get(API).status_code == 200
    after = only_row()
    assert (after.sid, after.ended_at) == (before.sid, None)
    assert after.session_key == browser.session_cookie != before.session_key
    registry.revoke(after)
    assert browser.get(API).status_code == 401


@unasked
def test_asking_after_the_key_has_changed_makes_no_second_row(unaware):
    browser = unaware
    before = only_row()
    assert browser.get("/cycle-and-ask/").json() == {"username": "alice"}
    after = only_row()
    assert (after.sid, after.ended_at) == (before.sid, None)
    assert browser.get(API).status_code == 200


@unasked
def test_a_changed_key_does_not_outlive_a_revocation(unaware):
    browser = unaware
    browser.get("/revoke-and-cycle/")
    assert browser.get(API).status_code == 401
    assert only_row().end_reason == "revoked"


@unasked
@pytest.mark.parametrize("page", ["/cycle/", "/cycle-and-ask/"])
def test_nor_the_absolute_end(page, alice):
    browser = browser_with(session_without_row(alice))
    adopt()
    LoginSession.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    browser.get(page)
    assert browser.get(API).status_code == 401
    assert only_row()


@unasked
def test_its_row_does_not_go_over_to_another_user(unaware, bob):
    browser = unaware
    before = only_row()
    browser.get("/become-bob/")
    assert browser.get(API).status_code == 200
    before.refresh_from_db()
    assert before.end_reason == "logout"
    assert LoginSession.objects.active().get().user == bob
