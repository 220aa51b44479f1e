"""allauth.headless: one row for each login, whatever its flow, and ending it ends all it gave."""

import json
import re
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.headless.contrib.rest_framework.authentication import XSessionTokenAuthentication
from allauth.headless.tokens.strategies.base import AbstractTokenStrategy
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.conf import settings as project
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.sessions.models import Session
from django.core import mail
from django.db import connection
from django.dispatch import Signal
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import include, path
from django.utils import timezone

from authmodes import registry, signals
from authmodes.models import EndReason, LoginSession
from authmodes.sessions import state as session_state
from authmodes.sessions import store as session_store
from authmodes.strategy import AuthModesTokenStrategy

from .support.browser import Browser
from .support.headless import APP, App, Routes
from .support.logins import API, PASSWORD, UID, admin_login, call_with, only_row, post_json, refresh
from .support.mfa import totp_code
from .support.tokens import claims_of
from .urls import urlpatterns as project_urlpatterns

pytestmark = pytest.mark.django_db

User = get_user_model()
BROWSER = "/_allauth/browser/v1/"
WRONG = "not the password at all"


ALIVE, DEAD = (200, 200, 200), (410, 401, 401)


@pytest.fixture
def app(alice: Any) -> App:
    """An app in which alice has signed in."""
    app = App()
    assert app.login().status_code == 200
    return app


def send(browser: Browser, path: str, data: Any = None, method: str = "post") -> Any:
    """A call of headless' browser client, from a page of ours."""
    return browser.send_json(BROWSER + path, data, method)


def flows_of(response: Any) -> set[str]:
    return {flow["id"] for flow in response.json()["data"]["flows"] if flow.get("is_pending")}


@pytest.fixture
def totp(alice: Any) -> str:
    """alice's second factor."""
    secret = generate_totp_secret()
    TOTP.activate(alice, secret)
    return secret


def code_in_mail() -> str:
    return re.findall(r"^([0-9A-Z]{3,}-?[0-9A-Z]{3,})$", mail.outbox[-1].body, re.MULTILINE)[0]


def test_a_session_that_has_no_login_session_opens_nothing(app):
    session = AuthModesTokenStrategy().lookup_session(app.session_token)
    del session[session_state.DATA_KEY]
    session.save()
    assert AuthModesTokenStrategy().lookup_session(app.session_token) is None
    assert app.get("auth/session").status_code in (401, 410)


# -- every flow ends in one row ------------------------------------------------------------


def test_a_password_login_of_an_app_is_one_row_with_a_session_and_a_family(app):
    row = only_row()
    assert (row.mode, row.method, row.amr) == ("jwt", "password", "pwd")
    assert row.session_key
    assert row.refresh_token
    assert row.refresh_token.token == ""
    assert app.statuses() == ALIVE
    assert claims_of(app.access)["sid"] == claims_of(app.refresh_token)["sid"] == str(row.sid)
    assert app.meta == {"is_authenticated": True}


def test_the_tokens_of_a_login_are_told_once_and_never_cached(alice, clock):
    app = App()
    answer = app.login()
    assert "no-store" in answer["Cache-Control"]
    assert app.meta["expires_in"] == 300
    assert {"session_token", "access_token", "refresh_token"} <= set(app.meta)
    app.get("auth/session")
    assert not {"session_token", "access_token", "refresh_token"} & set(app.meta)


def test_a_wrong_password_gives_nothing(alice):
    app = App()
    answer = app.login(password=WRONG)
    assert answer.status_code == 400
    assert not app.access
    assert not LoginSession.objects.exists()


@pytest.mark.parametrize("csrf_in_session", [False, True])
def test_a_session_token_is_neither_the_key_nor_a_cookie(app, settings, csrf_in_session):
    # Django's CSRF middleware then loads the session before ours.
    settings.CSRF_USE_SESSIONS = csrf_in_session
    key = Session.objects.get().session_key
    assert len(app.session_token) > 100
    assert key not in app.session_token
    # Nor is what lies in the store a session token.
    assert App(session_token=key).get("auth/session").status_code == 410
    for stolen in (app.session_token, key):
        thief = Client()
        thief.cookies["sessionid"] = stolen
        assert thief.get(API).status_code == 401
        assert thief.get("/probe/page/").status_code == 302
        assert thief.get("/probe/whoami/").json() == {"username": None}
    assert app.statuses() == ALIVE


def test_a_browsers_session_is_no_apps(alice):
    browser = Browser()
    assert send(browser, "auth/login", {"username": "alice", "password": PASSWORD}).json()
    request = Client().get("/probe/whoami/").wsgi_request
    request.session = session_store.engine()(browser.session_cookie)
    # Even one who could make session tokens would have to mark the session as an app's.
    from authmodes import strategy

    token = strategy._encrypt(browser.session_cookie)
    assert App(session_token=token).get("auth/session").status_code == 410


def test_a_second_factor_comes_before_any_token(alice, totp):
    app = App()
    pending = app.login()
    assert pending.status_code == 401
    assert flows_of(pending) == {"mfa_authenticate"}
    assert app.session_token
    assert not app.access
    assert not LoginSession.objects.exists()
    before = app.session_token
    assert call_with(before).status_code == 401
    assert Client().get(API, headers={"x-session-token": before}).status_code == 401
    assert app.post("auth/2fa/authenticate", {"code": "000000"}).status_code == 400
    assert not app.access
    assert app.post("auth/2fa/authenticate", {"code": totp_code(totp)}).status_code == 200
    row = only_row()
    assert (row.mode, row.amr) == ("jwt", "pwd otp mfa")
    assert app.statuses() == ALIVE
    # The session has another id now; that of the pending login leads nowhere.
    assert App(session_token=before).get("auth/session").status_code == 410


def test_a_recovery_code_ends_in_one_row(alice, totp):
    codes = RecoveryCodes.activate(alice).get_unused_codes()
    app = App()
    app.login()
    assert app.post("auth/2fa/authenticate", {"code": codes[0]}).status_code == 200
    assert only_row().amr == "pwd otp mfa"
    assert app.statuses() == ALIVE


def test_a_signup_ends_in_one_row(db):
    app = App()
    body = {"username": "carol", "email": "carol@example.com", "password": PASSWORD}
    assert app.post("auth/signup", body).status_code == 200
    assert only_row().user.username == "carol"
    assert app.statuses() == ALIVE


def test_a_signup_that_waits_for_its_address_gives_no_token_before(db, settings):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    settings.ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = True
    app = App()
    body = {"username": "carol", "email": "carol@example.com", "password": PASSWORD}
    pending = app.post("auth/signup", body)
    assert (pending.status_code, flows_of(pending)) == (401, {"verify_email"})
    assert not app.access
    assert not LoginSession.objects.exists()
    assert app.post("auth/email/verify", {"key": code_in_mail()}).status_code == 200
    only_row()
    assert app.statuses() == ALIVE


def test_a_login_by_code_ends_in_one_row(alice, settings):
    settings.ACCOUNT_LOGIN_BY_CODE_ENABLED = True
    settings.ROOT_URLCONF = Routes()
    app = App()
    assert app.post("auth/code/request", {"email": "alice@example.com"}).status_code == 401
    assert not app.access
    assert app.post("auth/code/confirm", {"code": code_in_mail()}).status_code == 200
    assert only_row().method == "code"
    assert app.statuses() == ALIVE


def new_password(user):
    user.set_password("another horse, another staple")
    user.save()


def lock_for_a_moment(user):
    for is_active in (False, True):
        user.is_active = is_active
        user.save()


@pytest.mark.parametrize("end", [registry.revoke_user, new_password, lock_for_a_moment])
@pytest.mark.parametrize("is_ended", [False, True])
def test_a_login_by_a_mailed_code_ends_with_all_logins_of_its_user(end, is_ended, alice, settings):
    settings.ACCOUNT_LOGIN_BY_CODE_ENABLED = True
    settings.ROOT_URLCONF = Routes()
    if not is_ended:
        end(alice)
    app = App()
    assert app.post("auth/code/request", {"email": "alice@example.com"}).status_code == 401
    if is_ended:
        end(alice)
    answer = app.post("auth/code/confirm", {"code": code_in_mail()})
    assert answer.status_code == (403 if is_ended else 200), answer.content
    assert LoginSession.objects.active().exists() is not is_ended
    if is_ended:
        assert "login_outdated" in answer.content.decode()


def test_a_password_ends_no_wait_for_a_code_in_the_same_browser(alice, settings):
    """A login that does not use the code has not waited for it."""
    settings.ACCOUNT_LOGIN_BY_CODE_ENABLED = True
    settings.ROOT_URLCONF = Routes()
    app = App()
    assert app.post("auth/code/request", {"email": "alice@example.com"}).status_code == 401
    registry.revoke_user(alice)
    answer = app.post("auth/login", {"username": "alice", "password": PASSWORD})
    assert answer.status_code == 200, answer.content


def provider_token(**data: Any) -> dict[str, Any]:
    token = {"client_id": "", "id_token": json.dumps({"id": int(UID), **data})}
    return {"provider": "dummy", "process": "login", "token": token}


def test_a_provider_token_ends_in_one_row(alice_at_dummy):
    app = App()
    answer = app.post("auth/provider/token", provider_token())
    assert answer.status_code == 200, answer.content
    row = only_row()
    assert (row.mode, row.method, row.provider, row.provider_uid) == (
        *("jwt", "socialaccount", "dummy"),
        UID,
    )
    assert app.statuses() == ALIVE


def test_a_provider_signup_ends_in_one_row(db, settings):
    settings.SOCIALACCOUNT_AUTO_SIGNUP = False
    app = App()
    pending = app.post("auth/provider/token", provider_token(email="carol@example.com"))
    assert (pending.status_code, flows_of(pending)) == (401, {"provider_signup"})
    assert not app.access
    body = {"username": "carol", "email": "carol@example.com"}
    assert app.post("auth/provider/signup", body).status_code == 200
    assert (only_row().user.username, only_row().provider) == ("carol", "dummy")
    assert app.statuses() == ALIVE


def test_signing_in_anew_replaces_the_login_and_its_tokens(alice_at_dummy):
    app = App()
    app.login()
    before = App(app.session_token, app.access, app.refresh_token)
    assert app.post("auth/provider/token", provider_token()).status_code == 200
    assert before.statuses() == DEAD
    assert app.statuses() == ALIVE
    assert [row.method for row in LoginSession.objects.active()] == ["socialaccount"]


def test_a_pending_login_can_be_given_up(alice, totp):
    app = App()
    app.login()
    assert app.call("DELETE", "auth/session").status_code == 401
    assert app.post("auth/2fa/authenticate", {"code": totp_code(totp)}).status_code in (401, 410)
    assert not LoginSession.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("atomic", [False, True])
def test_a_second_factor_that_is_added_ends_the_other_logins_alone(alice, atomic, request):
    if atomic:
        request.getfixturevalue("atomic_requests")
    app, other = App(), App()
    app.login()
    other.login()
    assert app.get("account/authenticators/totp").status_code == 404
    secret = app.meta["secret"]
    asked = app.post("account/authenticators/totp", {"code": totp_code(secret)})
    assert asked.status_code == 401
    assert app.post("auth/reauthenticate", {"password": PASSWORD}).status_code == 200
    added = app.post("account/authenticators/totp", {"code": totp_code(secret)})
    assert added.status_code == 200, added.content
    assert app.statuses() == ALIVE
    assert other.statuses() == DEAD


def test_reauthentication_changes_the_session_token_and_keeps_the_login(app):
    before, access = app.session_token, app.access
    key = only_row().session_key
    answer = app.post("auth/reauthenticate", {"password": PASSWORD})
    assert answer.status_code == 200
    assert app.session_token != before
    assert app.access == access
    row = only_row()
    assert row.session_key != key
    assert row.session_key in {s.session_key for s in sessions_alive()}
    assert app.statuses() == ALIVE


def sessions_alive() -> list[Session]:
    return list(Session.objects.filter(expire_date__gt=timezone.now()))


def test_calls_under_way_are_led_on_from_the_old_session_token(alice, clock):
    app = App()
    app.login()
    before = app.session_token
    app.post("auth/reauthenticate", {"password": PASSWORD})
    clock.shift(timedelta(seconds=9))
    late = App(session_token=before)
    assert late.get("auth/session").status_code == 200
    # The answer that told the new one may have been lost.
    assert late.session_token != before
    clock.shift(timedelta(seconds=2))
    assert App(session_token=before).get("auth/session").status_code == 410
    assert late.get("auth/session").status_code == 200
    assert app.get("auth/session").status_code == 200


def test_an_unknown_flow_or_method_changes_nothing(app):
    assert app.get("auth/nowhere").status_code == 404
    assert app.call("PUT", "auth/session").status_code == 405
    assert app.login().status_code == 409
    only_row()
    assert app.statuses() == ALIVE


# -- ending it -----------------------------------------------------------------------------


def by_registry(app: App) -> None:
    assert registry.revoke(only_row())


def by_admin(app: App) -> None:
    User.objects.create_superuser("root", "root@example.com", PASSWORD)
    row = only_row()
    browser = Browser()
    admin_login(browser, "root")
    url = "/admin/authmodes/loginsession/"
    chosen = {"action": "revoke_selected", "_selected_action": [row.pk], "post": "yes"}
    assert browser.submit(url, {**chosen, "confirm": "yes"}).status_code == 302


def by_headless(app: App) -> None:
    assert App(app.session_token).call("DELETE", "auth/session").status_code == 401


def by_logout(app: App) -> None:
    headers = {"authorization": f"Bearer {app.access}"}
    assert Client().post("/auth/logout/", headers=headers).status_code == 204


def by_refresh_token_logout(app: App) -> None:
    assert post_json("/auth/logout/", {"refresh": app.refresh_token}).status_code == 204


def by_own_list(app: App) -> None:
    headers = {"authorization": f"Bearer {app.access}"}
    path = f"/auth/sessions/{only_row().sid}/"
    assert Client().delete(path, headers=headers).status_code == 204


def by_blacklist(app: App) -> None:
    assert post_json("/auth/token/blacklist/", {"refresh": app.refresh_token}).status_code == 200


def by_reuse(app: App) -> None:
    oldest = app.refresh_token
    for _ in range(2):
        app.refresh_token = app.refresh().json()["data"]["refresh_token"]
    assert app.refresh(oldest).status_code == 400
    assert only_row().end_reason == EndReason.REUSE


def by_locked_account(app: App) -> None:
    user = User.objects.get(username="alice")
    user.is_active = False
    user.save()


def by_silently_locked_account(app: App) -> None:
    User.objects.update(is_active=False)


def by_new_password(app: App) -> None:
    user = User.objects.get(username="alice")
    user.set_password("another horse entirely")
    user.save()


def by_another_apps_password_change(app: App) -> None:
    other = App()
    other.login()
    change_password(other)


def change_password(app: App) -> None:
    new = {"current_password": PASSWORD, "new_password": "another horse entirely"}
    assert app.post("account/password/change", new).status_code == 200


ENDS = [
    by_registry,
    by_admin,
    by_headless,
    by_logout,
    by_refresh_token_logout,
    by_own_list,
    by_blacklist,
    by_reuse,
    by_locked_account,
    by_silently_locked_account,
    by_new_password,
    by_another_apps_password_change,
]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("reauthenticated", [False, True], ids=["as-is", "reauthenticated"])
def test_ending_a_login_ends_all_it_gave_on_the_next_request(app, end, reauthenticated):
    if reauthenticated:
        app.post("auth/reauthenticate", {"password": PASSWORD})
    assert app.statuses() == ALIVE
    row = only_row()
    end(app)
    assert app.statuses() == DEAD
    assert app.refresh().status_code == 400
    assert refresh(app.refresh_token).status_code == 401
    row.refresh_from_db()
    assert row.ended_at is not None
    assert not Session.objects.filter(session_key=row.session_key).exists()


def test_a_password_change_keeps_its_own_login_and_ends_the_others(app):
    other = App()
    other.login()
    change_password(app)
    assert app.statuses() == ALIVE
    assert other.statuses() == DEAD
    # What came of it is followed up: the row would go stale otherwise.
    assert app.refresh().status_code == 200
    registry.revoke(LoginSession.objects.active().get())
    assert app.get("auth/session").status_code == 410


def test_a_password_reset_ends_the_logins_there_were(app, settings):
    settings.ACCOUNT_PASSWORD_RESET_BY_CODE_ENABLED = True
    EmailAddress.objects.create(
        user=only_row().user, email="alice@example.com", primary=True, verified=True
    )
    somewhere = App()
    asked = somewhere.post("auth/password/request", {"email": "alice@example.com"})
    assert asked.status_code == 401, asked.content
    new = {"key": code_in_mail(), "password": "another horse entirely"}
    assert somewhere.post("auth/password/reset", new).status_code == 401
    assert app.statuses() == DEAD
    assert App().login(password="another horse entirely").status_code == 200


def test_a_session_that_is_gone_under_way_gives_no_server_error(app):
    def gone_meanwhile(execute: Any, sql: str, *args: Any) -> Any:
        if "mfa_authenticator" in sql:
            with connection.cursor() as cursor:
                cursor.execute("DELETE FROM django_session")
        return execute(sql, *args)

    with connection.execute_wrapper(gone_meanwhile):
        answer = app.get("account/authenticators/totp")
    assert answer.status_code == 400
    assert app.get("auth/session").status_code == 410


def test_a_login_that_ends_under_way_gives_no_server_error(app):
    """As in another process: nothing tells this request that its session is gone."""

    def delete_store(**kwargs: Any) -> None:
        LoginSession.objects.update(ended_at=timezone.now())
        Session.objects.all().delete()

    from allauth.account.signals import password_changed

    assert isinstance(password_changed, Signal)
    password_changed.connect(delete_store)
    try:
        new = {"current_password": PASSWORD, "new_password": "another horse entirely"}
        answer = app.post("account/password/change", new)
    finally:
        password_changed.disconnect(delete_store)
    assert answer.status_code == 200
    assert app.statuses() == DEAD
    assert not Session.objects.exists()


# -- refresh -------------------------------------------------------------------------------


def pair_of(answer: Any) -> tuple[str, str]:
    data = answer.json()["data"]
    return data["access_token"], data["refresh_token"]


def test_a_refresh_at_headless_is_the_rotation_of_the_rest_api(alice, clock):
    app = App()
    app.login()
    first = app.refresh_token
    access, second = pair_of(app.refresh(first))
    assert second != first
    assert call_with(access).status_code == 200
    # The answer got lost: at either API the same successor again.
    assert pair_of(app.refresh(first))[1] == second
    assert refresh(first).json()["refresh"] == second
    third = refresh(second).json()["refresh"]
    assert pair_of(app.refresh(second))[1] == third
    assert app.statuses()[:2] == (200, 200)
    only_row()
    clock.shift(timedelta(seconds=11))
    assert app.refresh(second).status_code == 400
    app.refresh_token = third
    assert app.statuses() == DEAD


def test_reuse_at_the_rest_api_ends_the_session_token_too(app):
    first = app.refresh_token
    app.refresh_token = refresh(refresh(first).json()["refresh"]).json()["refresh"]
    assert app.statuses() == ALIVE
    assert refresh(first).json()["code"] == "token_reused"
    assert app.statuses() == DEAD


def test_tokens_of_the_rest_api_are_good_at_headless(login):
    rest = login("jwt")
    answer = App(refresh_token=rest.refresh_token).refresh()
    access, successor = pair_of(answer)
    assert call_with(access).status_code == 200
    assert refresh(successor).status_code == 200
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.django_db(transaction=True)
def test_reuse_is_punished_under_atomic_requests(alice, atomic_requests):
    app = App()
    app.login()
    by_reuse(app)
    assert app.statuses() == DEAD


def test_a_refresh_asks_no_more_than_the_rest_api_does(app, login):
    rest = login("jwt")
    with CaptureQueriesContext(connection) as at_rest:
        refresh(rest.refresh_token)
    with CaptureQueriesContext(connection) as at_headless:
        app.refresh()
    assert len(at_headless) == len(at_rest)


def test_a_call_with_a_session_token_costs_three_queries(app):
    with CaptureQueriesContext(connection) as captured:
        app.get("auth/session")
    # The session, the row with its user, the user for Django, and what the answer tells of it.
    # The last one, because what is selected may be a subquery.
    tables = [re.findall(r"FROM \W(\w+)", query["sql"])[-1] for query in captured]
    assert tables == [
        *("django_session", "authmodes_loginsession", "auth_user"),
        "account_emailaddress",
    ]


@pytest.mark.parametrize(
    "token", ["", "garbage", "a.b.c", "nul\x00", " ", "é", "x" * 9000, None, 7, [], {"a": 1}]
)
def test_a_bad_refresh_token_is_a_bad_request(db, token):
    assert post_json(f"{APP}tokens/refresh", {"refresh_token": token}).status_code == 400


@pytest.mark.parametrize("kind", ["access", "session_token"])
def test_only_a_refresh_token_refreshes(app, kind):
    assert app.refresh(getattr(app, kind)).status_code == 400
    assert app.statuses() == ALIVE


# -- session tokens that are no good -------------------------------------------------------


@pytest.mark.parametrize("token", ["garbage", "nul\x00", "é\xff", "x" * 9000, "=", "gAAAAA"])
@pytest.mark.parametrize("path", ["auth/session", "tokens/refresh"])
def test_a_bad_session_token_is_gone(alice, token, path):
    with CaptureQueriesContext(connection) as captured:
        answer = App(session_token=token).call("GET", path)
    assert not [query for query in captured if "django_session" in query["sql"]]
    assert answer.status_code == 410
    assert not answer.json()["meta"]["is_authenticated"]


@pytest.mark.parametrize("kind", ["access", "refresh_token"])
def test_a_jwt_is_no_session_token(app, kind):
    assert App(session_token=getattr(app, kind)).get("auth/session").status_code == 410
    assert app.statuses() == ALIVE


def test_a_session_token_opens_no_api_and_a_jwt_no_headless(app):
    assert call_with(app.session_token).status_code == 401
    assert Client().get(API, headers={"x-session-token": app.session_token}).status_code == 401
    bearer = {"authorization": f"Bearer {app.access}"}
    assert Client().get(f"{APP}auth/session", headers=bearer).status_code == 401


def test_a_session_token_tells_of_its_own_user_only(app, bob):
    theirs = App()
    theirs.login(username="bob")
    mixed = App(session_token=app.session_token, access=theirs.access)
    assert mixed.get("auth/session").json()["data"]["user"]["username"] == "alice"
    mixed.call("DELETE", "auth/session")
    assert app.statuses() == DEAD
    assert theirs.statuses() == ALIVE


def test_a_session_token_outlives_a_change_of_secret_key(app, settings):
    before = app.session_token
    old, settings.SECRET_KEY = settings.SECRET_KEY, "another-secret-key-" * 4
    settings.SECRET_KEY_FALLBACKS = [old]
    assert app.get("auth/session").status_code == 200
    # Django changes the session's key then, and the app is told.
    assert app.session_token != before
    settings.SECRET_KEY_FALLBACKS = []
    assert app.get("auth/session").status_code == 200
    assert App(session_token=before).get("auth/session").status_code == 410
    registry.revoke(only_row())
    assert app.get("auth/session").status_code == 410


def by_allauths_class(app: App) -> Any:
    """What a view with allauth's own class for DRF makes of the session token."""
    request = Client().get("/", headers={"x-session-token": app.session_token}).wsgi_request
    return XSessionTokenAuthentication().authenticate(request)


def test_allauths_class_for_views_refuses_the_session_token_of_an_ended_login(app, clock):
    app = App()
    app.login()
    user, session = by_allauths_class(app)
    assert user.username == "alice"
    assert SESSION_KEY in session
    # Kept in the store by a save that came late.
    kept = dict(session.items())
    key = session.session_key
    row = LoginSession.objects.active().latest("pk")
    registry.revoke(row)
    assert by_allauths_class(app) is None
    revived = session_store.engine()(key)
    revived.clear()
    revived.update(kept)
    revived.save(must_create=True)
    assert by_allauths_class(app) is None


def test_allauths_class_for_views_counts_as_being_seen(alice, settings, clock):
    settings.AUTHMODES_IDLE_TIMEOUT = timedelta(hours=1)
    app = App()
    app.login("?mode=session")
    for _ in range(3):
        clock.shift(timedelta(minutes=50))
        assert by_allauths_class(app) is not None
    clock.shift(timedelta(minutes=61))
    assert by_allauths_class(app) is None
    assert only_row().end_reason == EndReason.EXPIRED


def test_a_session_under_a_key_of_before_is_not_the_logins_any_more(app):
    """A save that comes late may bring back what a re-authentication has retired."""
    before = App(app.session_token)
    old = session_store.engine()(only_row().session_key)
    assert session_store.is_app_session(old)
    app.post("auth/reauthenticate", {"password": PASSWORD})
    old.save()
    assert before.get("auth/session").status_code == 410
    assert app.statuses() == ALIVE


# -- limits --------------------------------------------------------------------------------


def test_idleness_ends_a_login_that_is_not_used_by_any_of_its_credentials(alice, settings, clock):
    settings.AUTHMODES_IDLE_TIMEOUT = timedelta(hours=1)
    app = App()
    app.login()
    for _ in range(3):
        # A refresh counts for the session token as well.
        clock.shift(timedelta(minutes=50))
        app.refresh_token = pair_of(app.refresh())[1]
    clock.shift(timedelta(minutes=50))
    assert app.get("auth/session").status_code == 200
    clock.shift(timedelta(minutes=61))
    assert app.statuses() == DEAD
    assert only_row().end_reason == EndReason.EXPIRED


def test_the_absolute_lifetime_ends_a_login_whatever_its_activity(alice, settings, clock):
    settings.AUTHMODES_ABSOLUTE_LIFETIME = timedelta(days=2)
    app = App()
    app.login()
    for _ in range(4):
        clock.shift(timedelta(hours=11))
        app.refresh_token = pair_of(app.refresh())[1]
        assert app.get("auth/session").status_code == 200
    clock.shift(timedelta(hours=4, seconds=1))
    assert app.get("auth/session").status_code == 410
    assert app.refresh().status_code == 400
    assert only_row().end_reason == EndReason.EXPIRED


def test_the_age_of_a_cookie_does_not_end_a_login_that_has_none(alice, settings, clock):
    settings.SESSION_COOKIE_AGE = 3600
    app = App()
    app.login()
    clock.shift(timedelta(hours=23))
    app.access, app.refresh_token = pair_of(app.refresh())
    assert app.statuses() == ALIVE


def test_a_session_token_alone_lasts_as_long_as_a_cookie(alice, settings, clock):
    settings.SESSION_COOKIE_AGE = 3600
    app = App()
    app.login("?mode=session")
    clock.shift(timedelta(minutes=50))
    # Noting that it was seen saves the session, and must not extend it.
    assert app.get("auth/session").status_code == 200
    clock.shift(timedelta(minutes=11))
    assert app.get("auth/session").status_code == 410
    assert only_row().end_reason == EndReason.EXPIRED


def test_a_session_token_alone_is_renewed_where_cookies_are(alice, settings, clock):
    settings.SESSION_COOKIE_AGE = 3600
    settings.AUTHMODES_RENEW_AFTER = timedelta(minutes=30)
    app = App()
    app.login("?mode=session")
    for _ in range(4):
        clock.shift(timedelta(minutes=50))
        assert app.get("auth/session").status_code == 200


def test_a_refresh_token_that_idled_too_long_ends_the_session_token_too(alice, clock):
    app = App()
    app.login()
    clock.shift(timedelta(hours=25))
    assert app.get("auth/session").status_code == 200
    assert app.refresh().status_code == 400
    assert app.get("auth/session").status_code == 410


def test_a_login_over_the_limit_is_refused_cleanly(app, settings, totp):
    settings.AUTHMODES_MAX_LOGIN_SESSIONS, settings.AUTHMODES_LIMIT_POLICY = 1, "refuse"
    other = App()
    other.login()
    answer = other.post("auth/2fa/authenticate", {"code": totp_code(totp)})
    assert answer.status_code == 403
    assert answer.json()["errors"][0]["code"] == "limit_reached"
    assert not other.access
    assert other.get("auth/session").status_code in (401, 410)
    browser = Browser()
    send(browser, "auth/login", {"username": "alice", "password": PASSWORD})
    codes = RecoveryCodes.activate(only_row().user).get_unused_codes()
    answer = send(browser, "auth/2fa/authenticate", {"code": codes[0]})
    assert answer.status_code == 403
    assert browser.get(API).status_code == 401
    only_row()


def test_the_oldest_login_makes_room_session_token_and_all(app, settings):
    settings.AUTHMODES_MAX_LOGIN_SESSIONS = 1
    newer = App()
    assert newer.login().status_code == 200
    assert app.statuses() == DEAD
    assert newer.statuses() == ALIVE


@pytest.mark.parametrize("setting", ["AUTHMODES_BIND_IP", "AUTHMODES_BIND_USER_AGENT"])
def test_a_session_token_from_elsewhere_ends_a_bound_login(app, settings, setting):
    setattr(settings, setting, True)
    app.keeps_cookies.defaults.update(REMOTE_ADDR="192.0.2.7", HTTP_USER_AGENT="curl/8")
    assert app.get("auth/session").status_code == 410
    assert app.statuses() == DEAD


def test_a_refresh_at_headless_from_elsewhere_ends_a_bound_login(app, settings):
    settings.AUTHMODES_BIND_IP = True
    body = {"refresh_token": app.refresh_token}
    elsewhere = Client(REMOTE_ADDR="192.0.2.7")
    assert post_json(f"{APP}tokens/refresh", body, elsewhere).status_code == 400
    assert app.statuses() == DEAD


@pytest.mark.parametrize("after", [timedelta(0), timedelta(minutes=5)])
def test_rotating_session_ids_leaves_session_tokens_alone(alice, settings, clock, after):
    settings.AUTHMODES_ROTATE_SESSION_AFTER = after
    app = App()
    app.login()
    before = app.session_token
    for _ in range(3):
        clock.shift(timedelta(minutes=10))
        assert app.get("auth/session").status_code == 200
    app.post("auth/reauthenticate", {"password": PASSWORD})
    clock.shift(timedelta(minutes=1))
    assert app.session_token != before
    app.access, app.refresh_token = pair_of(app.refresh())
    assert app.statuses() == ALIVE


# -- modes ---------------------------------------------------------------------------------

OF_APP = [
    # AUTHMODES_MODE, mode asked for, status, mode of the row, whether there are tokens
    ("session", None, 200, "session", False),
    ("session", "session", 200, "session", False),
    ("session", "jwt", 400, None, False),
    ("jwt", None, 200, "jwt", True),
    ("jwt", "jwt", 200, "jwt", True),
    ("jwt", "session", 400, None, False),
    ("both", None, 200, "jwt", True),
    ("both", "jwt", 200, "jwt", True),
    ("both", "session", 200, "session", False),
    ("both", "cookies", 400, None, False),
    ("both", ["jwt"], 400, None, False),
]


@pytest.mark.parametrize(("switch", "asked", "status", "mode", "has_tokens"), OF_APP)
@pytest.mark.parametrize("default", ["session", "jwt"])
def test_what_an_app_gets(alice, settings, switch, asked, status, mode, has_tokens, default):
    settings.AUTHMODES_MODE, settings.AUTHMODES_DEFAULT_MODE = switch, default
    app = App()
    answer = app.login() if asked is None else app.login(mode=asked)
    assert answer.status_code == status
    assert list(LoginSession.objects.values_list("mode", flat=True)) == [mode] * bool(mode)
    assert (bool(app.access), bool(app.refresh_token)) == (has_tokens, has_tokens)
    if mode is None:
        assert answer.json()["errors"][0]["code"] == "mode_disabled"
        assert app.get("auth/session").status_code == 401
        assert not Session.objects.exists()
    elif has_tokens:
        assert app.statuses() == ALIVE
    else:
        assert app.get("auth/session").status_code == 200
        assert only_row().refresh_token is None
        assert app.call("DELETE", "auth/session").status_code == 401
        assert only_row().end_reason == EndReason.LOGOUT


OF_BROWSER = [
    ("session", None, 200),
    ("session", "jwt", 400),
    ("jwt", None, 400),
    ("jwt", "session", 400),
    ("jwt", "jwt", 400),
    ("both", None, 200),
    ("both", "session", 200),
    ("both", "jwt", 400),
]


@pytest.mark.parametrize(("switch", "asked", "status"), OF_BROWSER)
@pytest.mark.parametrize("default", ["session", "jwt"])
def test_what_a_browser_gets(alice, settings, switch, asked, status, default):
    settings.AUTHMODES_MODE, settings.AUTHMODES_DEFAULT_MODE = switch, default
    browser = Browser()
    body = {"username": "alice", "password": PASSWORD}
    answer = send(browser, f"auth/login?mode={asked or ''}", body)
    assert answer.status_code == status
    meta = answer.json().get("meta", {})
    assert not {"session_token", "access_token", "refresh_token"} & set(meta)
    if status == 200:
        row = only_row()
        assert (row.mode, row.refresh_token) == ("session", None)
        assert browser.get(API).json() == {"username": "alice", "mode": "session"}
        assert send(browser, "auth/session", method="delete").status_code == 401
        assert only_row().end_reason == EndReason.LOGOUT
    else:
        assert answer.json()["errors"][0]["code"] == "mode_disabled"
        assert not LoginSession.objects.exists()
    assert browser.get(API).status_code == 401


def test_a_mode_may_be_asked_for_in_the_query(alice):
    app = App()
    assert app.login("?mode=session").status_code == 200
    assert not app.access
    assert only_row().mode == "session"


def test_a_mode_asked_for_survives_the_second_factor(alice, totp):
    app = App()
    app.login(mode="session")
    assert app.post("auth/2fa/authenticate", {"code": totp_code(totp)}).status_code == 200
    assert not app.access
    assert only_row().mode == "session"


@pytest.mark.parametrize(("mode", "other"), [("session", "jwt"), ("jwt", "session")])
def test_a_mode_that_is_switched_off_closes_its_logins_until_it_is_back(
    alice, settings, mode, other
):
    app = App()
    app.login(mode=mode)
    settings.AUTHMODES_MODE = other
    assert app.get("auth/session").status_code == 410
    if app.access:
        assert call_with(app.access).status_code == 401
        assert app.refresh().status_code == 400
    settings.AUTHMODES_MODE = mode
    assert app.get("auth/session").status_code == 200


def test_a_session_token_in_jwt_mode_works_at_headless_and_opens_nothing_else(alice, settings):
    settings.AUTHMODES_MODE = "jwt"
    app = App()
    app.login()
    assert app.statuses() == ALIVE
    assert app.get("account/email").status_code == 200
    thief = Client()
    thief.cookies["sessionid"] = Session.objects.get().session_key
    assert thief.get(API).status_code == 401
    assert thief.get("/admin/").status_code == 302


def test_an_admins_cookie_is_nobody_at_headless_in_jwt_mode(admin_user, settings):
    settings.AUTHMODES_MODE = "jwt"
    browser = Browser()
    admin_login(browser, "root")
    assert browser.get("/admin/").status_code == 200
    assert browser.get(f"{BROWSER}auth/session").status_code == 401


def test_a_cookie_that_comes_along_is_not_the_apps(app, login):
    cookie = login("session")
    app.keeps_cookies.cookies["sessionid"] = cookie.browser.session_cookie
    app.call("DELETE", "auth/session")
    assert cookie.get().status_code == 200
    assert App(keeps_cookies=app.keeps_cookies).get("auth/session").status_code == 401


def test_the_token_cookies_of_browsers_leave_apps_their_tokens(alice, settings):
    settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"
    app = App()
    app.login()
    assert app.statuses() == ALIVE
    assert app.refresh().status_code == 200


@pytest.mark.parametrize("default", ["session", "jwt"])
@pytest.mark.parametrize(("switch", "signed_in"), [("both", True), ("jwt", False)])
def test_a_browser_sent_to_its_provider_comes_back_to_its_page(
    alice_at_dummy, settings, default, switch, signed_in
):
    settings.AUTHMODES_MODE, settings.AUTHMODES_DEFAULT_MODE = switch, default
    browser = Browser()
    asked = {"provider": "dummy", "callback_url": "/signed-in", "process": "login"}
    left = browser.submit(f"{BROWSER}auth/provider/redirect", asked)
    assert left.status_code == 302, left.content
    back = browser.submit(left.url, {"id": UID})
    assert back.status_code == 302
    assert back.url.partition("?")[0] == "/signed-in"
    assert ("error=" in back.url) is not signed_in
    assert browser.get(f"{BROWSER}auth/session").status_code == (200 if signed_in else 401)
    assert LoginSession.objects.count() == signed_in


# -- engines -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "engine",
    [
        "authmodes.sessions.db",
        "authmodes.sessions.cached_db",
        "django.contrib.sessions.backends.cached_db",
        "django.contrib.sessions.backends.cache",
        "django.contrib.sessions.backends.file",
    ],
)
def test_on_every_engine_a_login_runs_its_course(
    alice, totp, settings, engine, tmp_path, monkeypatch, django_capture_on_commit_callbacks
):
    settings.SESSION_ENGINE = engine
    settings.SESSION_FILE_PATH = str(tmp_path)
    store = import_module(engine).SessionStore
    monkeypatch.setattr(store, "_storage_path", str(tmp_path), raising=False)
    app = App()
    app.login()
    app.post("auth/2fa/authenticate", {"code": totp_code(totp)})
    assert app.statuses() == ALIVE
    before = app.session_token
    app.post("auth/reauthenticate", {"password": PASSWORD})
    assert app.session_token != before
    change_password(app)
    assert app.statuses() == ALIVE
    with django_capture_on_commit_callbacks(execute=True):
        assert registry.revoke(only_row())
    assert app.statuses() == DEAD


def test_a_store_that_keeps_a_session_too_long_does_not_keep_its_login(app, monkeypatch):
    monkeypatch.setattr(session_store, "delete", lambda doomed: None)
    registry.revoke(only_row())
    assert Session.objects.exists()
    assert app.statuses() == DEAD


def test_neither_database_nor_log_has_what_an_app_was_given(app, caplog, settings):
    given = [app.session_token, app.access, app.refresh_token]
    app.refresh()
    with connection.cursor() as cursor:
        dump = ""
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            dump += repr(cursor.fetchall())
    assert "alice@example.com" in dump
    for secret in given:
        assert secret not in dump
        assert secret not in caplog.text


def test_the_signal_of_a_started_login_comes_once(alice, django_capture_on_commit_callbacks):
    started = []

    def note(login_session: LoginSession, **kwargs: Any) -> None:
        started.append(login_session)

    signals.login_session_started.connect(note)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            App().login()
    finally:
        signals.login_session_started.disconnect(note)
    assert started == [only_row()]


def test_the_strategy_is_the_one_the_project_names():
    from allauth.headless import app_settings

    assert project.HEADLESS_TOKEN_STRATEGY == "authmodes.strategy.AuthModesTokenStrategy"
    assert isinstance(app_settings.TOKEN_STRATEGY, AuthModesTokenStrategy)


# -- headless' own OpenAPI document --------------------------------------------------------


class WithDocument:
    urlpatterns = (
        path("_allauth/", include(("allauth.headless.spec.urls", "headless"))),
        *project_urlpatterns,
    )


@pytest.mark.parametrize("allowed", ["both", "jwt", "session"])
def test_its_document_names_our_tokens(app, settings, allowed):
    settings.ROOT_URLCONF, settings.AUTHMODES_MODE = WithDocument, allowed
    document = Client().get("/_allauth/openapi.json").json()
    # Before 65.22, allauth's document names no token at all.
    schemes = document["components"].get("securitySchemes", {})
    names = ["SessionToken", *(["authmodesBearer"] if allowed != "session" else [])]
    asks_strategy = hasattr(AbstractTokenStrategy, "openapi_spec")
    assert list(schemes) == (names if asks_strategy else [])
    used = {
        name
        for operations in document["paths"].values()
        for operation in operations.values()
        if isinstance(operation, dict)
        for requirement in operation.get("security", [])
        for name in requirement
    }
    assert used == ({"SessionToken"} if asks_strategy else set())


def test_each_scheme_of_the_document_opens_what_it_says(app):
    schemes = AuthModesTokenStrategy.openapi_spec()["securitySchemes"]
    by_header = {schemes["SessionToken"]["name"]: app.session_token}
    bearer = {"authorization": f"{schemes['authmodesBearer']['scheme']} {app.access}"}
    answers = [
        Client().get(path, headers=headers).status_code
        for headers in (by_header, bearer)
        for path in (f"{APP}auth/session", API)
    ]
    assert answers == [200, 401, 401, 200]
