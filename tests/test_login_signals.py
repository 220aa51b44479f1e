"""Django hears of every login, and a token request can do what a cookie request can."""

import sys
import types

import pytest
from django.contrib.auth import login as django_login
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.signals import user_logged_in
from django.contrib.auth.tokens import default_token_generator
from django.contrib.sessions.models import Session
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.urls import include, path
from django.utils import timezone
from rest_framework.decorators import api_view
from rest_framework.response import Response

from authmodes.models import LoginSession
from authmodes.registry import rotation

from . import urls as project
from .support.browser import Browser
from .support.headless import App
from .support.logins import API, PAGE, PASSWORD, html_login, only_row, sign_in


@api_view(["POST"])
def change_password(request):
    user = request.user
    user.set_password("another " + PASSWORD)
    user.save()
    if "keep" in request.query_params:
        update_session_auth_hash(request, user)
    if "login" in request.query_params:
        django_login(request, user, "django.contrib.auth.backends.ModelBackend")
    return Response({})


@api_view(["POST"])
def signs_in(request):
    django_login(request, request.user, "django.contrib.auth.backends.ModelBackend")
    return Response({})


urls = types.ModuleType("tests.login_signals_urls")
urls.urlpatterns = [
    path("change/", change_password),
    path("signs-in/", signs_in),
    path("", include(project)),
]
sys.modules[urls.__name__] = urls

pytestmark = pytest.mark.urls(urls.__name__)


@pytest.fixture
def heard():
    """What a receiver was told; it writes into the session, as those of other packages do."""
    calls = []

    def receive(sender, request, user, **kwargs):
        calls.append((user.username, request.user == user))
        request.session["of_a_receiver"] = True
        request.session.save()

    user_logged_in.connect(receive)
    yield calls
    user_logged_in.disconnect(receive)


def rest(code_flow):
    assert sign_in("jwt").status_code == 200


def token_endpoint(code_flow):
    body = {"username": "alice", "password": PASSWORD}
    assert Browser().send_json("/auth/token/", body).status_code == 200


def code(code_flow):
    code_flow.run()
    assert code_flow.exchange().status_code == 200


def app(code_flow):
    assert App().login().status_code == 200


def page(code_flow):
    assert html_login(Browser(), "alice", query="?mode=jwt").status_code == 302


WAYS = [rest, token_endpoint, code, app]


@pytest.mark.parametrize(
    ("way", "transport"),
    [*((way, "body") for way in WAYS), *((way, "cookie") for way in (rest, app, page))],
)
def test_a_token_login_is_told_to_django_once(way, transport, code_flow, alice, heard, settings):
    settings.AUTHMODES_TOKEN_TRANSPORT = transport
    link = default_token_generator.make_token(alice)
    before = timezone.now()

    way(code_flow)

    alice.refresh_from_db()
    assert alice.last_login >= before
    assert not default_token_generator.check_token(alice, link)
    assert heard == [("alice", True)]
    assert only_row().mode == "jwt"
    # An app's login has a Django session.
    assert Session.objects.count() == (1 if way is app else 0)


def test_a_cookie_login_is_told_to_django_once(alice, heard):
    assert sign_in("session").status_code == 200
    assert heard == [("alice", True)]
    assert only_row().mode == "session"


def test_what_a_receiver_writes_stays_out_of_the_browsers_own_session(login, bob, heard):
    browser = Browser()
    login("session", browser=browser)
    login("jwt", user=bob, browser=browser)
    assert heard == [("alice", True), ("bob", True)]
    assert browser.get(PAGE).json()["username"] == "alice"


@pytest.mark.parametrize("transport", ["body", "cookie"])
def test_a_token_login_that_a_receiver_refuses_has_ended(transport, alice, settings):
    settings.AUTHMODES_TOKEN_TRANSPORT = transport

    def refuse(**kwargs):
        raise PermissionDenied

    user_logged_in.connect(refuse)
    try:
        assert sign_in("jwt").status_code == 403
    finally:
        user_logged_in.disconnect(refuse)
    assert only_row().end_reason == "logout"


def test_a_token_login_without_tokens_has_ended(alice, settings):
    """`AUTHMODES_CLAIMS` is called when the row is committed."""
    settings.AUTHMODES_CLAIMS = f"{__name__}.change_password"
    assert sign_in("jwt", Browser(raise_request_exception=False)).status_code == 500
    assert only_row().end_reason == "logout"


def test_a_failed_login_is_not_told(alice, heard):
    assert sign_in("jwt", password="wrong").status_code == 401
    alice.refresh_from_db()
    assert alice.last_login is None
    assert not heard


# -- a password that is changed by a token -------------------------------------------------


@pytest.mark.parametrize("keep", [True, False])
def test_a_changed_password_ends_all_logins_but_the_one_that_keeps_itself(keep, mode, login):
    mine, others = login(mode), [login("session"), login("jwt")]
    response = mine.post("/change/" + ("?keep=1" if keep else ""))
    assert response.status_code == 200
    assert [other.get().status_code for other in others] == [401, 401]
    assert mine.get().status_code == (200 if keep else 401)


def test_a_token_login_that_keeps_itself_is_given_no_django_session(login):
    mine = login("jwt")
    response = mine.post("/change/?keep=1")
    assert not response.cookies
    assert mine.refresh().status_code == 200
    assert not Session.objects.exists()


def test_a_token_kept_by_its_view_leaves_the_browsers_session_alone(login, bob):
    browser = Browser()
    mine, other = login("jwt", browser=Browser()), login("session", user=bob, browser=browser)
    headers = {"authorization": f"Bearer {mine.access}"}
    assert browser.post("/change/?keep=1", headers=headers).status_code == 200
    assert other.row.auth_hash == bob.get_session_auth_hash()
    assert other.get().status_code == 200


@pytest.mark.parametrize("cookie_of", [None, "alice", "bob"])
def test_a_token_view_that_signs_in_makes_a_cookie_login_and_does_not_keep_its_token(
    login, alice, bob, cookie_of
):
    """As with a cookie, whose login ends and is followed by a new one."""
    mine, browser = login("jwt"), Browser()
    if cookie_of:
        login("session", user={"alice": alice, "bob": bob}[cookie_of], browser=browser)
    headers = {"authorization": f"Bearer {mine.access}"}
    assert browser.post("/change/?login=1", headers=headers).status_code == 200
    assert mine.row.end_reason == "password_changed"
    assert mine.get().status_code == 401
    assert mine.refresh().status_code == 401
    assert browser.get(PAGE).json()["username"] == "alice"
    assert LoginSession.objects.active().get().mode == "session"


def test_a_token_view_that_signs_in_without_a_new_password_keeps_both(login):
    mine = login("jwt")
    assert mine.post("/signs-in/").status_code == 200
    assert mine.get().status_code == 200
    assert mine.browser.get(PAGE).json()["username"] == "alice"


def test_a_refresh_that_a_password_change_overtakes_keeps_the_login(login, monkeypatch):
    mine, rotate_row = login("jwt"), rotation._rotate_row

    def overtaken(*args):
        monkeypatch.undo()
        assert mine.post("/change/?keep=1").status_code == 200
        return rotate_row(*args)

    monkeypatch.setattr(rotation, "_rotate_row", overtaken)
    assert mine.refresh().status_code == 200
    assert mine.get().status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_password_change_that_was_rolled_back_keeps_the_login(
    login, atomic_requests, monkeypatch
):
    mine = login("jwt")
    row = mine.row

    keep = update_session_auth_hash

    def broken(request, user):
        keep(request, user)
        raise RuntimeError

    monkeypatch.setitem(globals(), "update_session_auth_hash", broken)
    client = Client(raise_request_exception=False)
    answer = client.post("/change/?keep=1", headers={"authorization": f"Bearer {mine.access}"})
    assert answer.status_code == 500
    assert LoginSession.objects.get(pk=row.pk).auth_hash == row.auth_hash
    assert Client().get(API, headers={"authorization": f"Bearer {mine.access}"}).status_code == 200
