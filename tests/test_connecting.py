"""Provider accounts are connected and disconnected over REST by who has just signed in."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount
from django.db import connections
from django.test import Client
from django.test.utils import override_settings

from authmodes import registry
from authmodes.models import ExpiringMark, LoginSession

from .support.browser import Browser
from .support.oidc_provider import REDIRECT_URI, app_of

PATH = "/auth/social/example/"


def connect(used, provider, **claims):
    return used.post(PATH, {"process": "connect", "id_token": provider.id_token(**claims)})


def uids(user):
    return set(SocialAccount.objects.filter(user=user).values_list("uid", flat=True))


def code_of(response):
    return response.status_code, response.json()["code"]


# -- connecting ----------------------------------------------------------------------------


@pytest.mark.parametrize("required", [False, True])
def test_a_signed_in_user_connects_a_provider(required, mode, provider, login, alice):
    with override_settings(ACCOUNT_REAUTHENTICATION_REQUIRED=required):
        used = login(mode)
        response = connect(used, provider)
        assert response.status_code == 200, response.content
        assert response.json() == {"provider": "example", "uid": "subject-1"}
        assert uids(alice) == {"subject-1"}
        # The same once more is no mistake.
        assert connect(used, provider).status_code == 200
    assert used.get().status_code == 200
    assert LoginSession.objects.count() == 1
    # Which now is a way in.
    signed_in = Browser().send_json(PATH, {"id_token": provider.id_token(), "mode": "jwt"})
    assert signed_in.json()["user"]["username"] == "alice"


def test_a_code_connects_as_well(mode, provider, login, alice):
    body = {"process": "connect", **provider.code_credential()}
    assert body["redirect_uri"] == REDIRECT_URI
    assert login(mode).post(PATH, body).status_code == 200
    assert uids(alice) == {"subject-1"}


@pytest.mark.parametrize("check", ["database", "snapshot", "none"])
def test_a_user_who_was_not_loaded_yet_connects_as_well(check, provider, login, alice):
    with override_settings(AUTHMODES_ACCESS_TOKEN_CHECK=check):
        assert connect(login("jwt"), provider).status_code == 200
    assert uids(alice) == {"subject-1"}


@pytest.mark.parametrize("act", ["connect", "disconnect", "end the others", "end one"])
@pytest.mark.parametrize("check", ["database", "none"])
def test_a_login_that_has_ended_changes_nothing(act, check, login, provider, settings, alice):
    settings.AUTHMODES_ACCESS_TOKEN_CHECK = check
    SocialAccount.objects.create(user=alice, provider="example", uid="mine")
    ended, other = login("jwt"), login("jwt")
    registry.revoke(ended.row)
    if act == "connect":
        response = connect(ended, provider)
    else:
        one = "" if act == "end the others" else f"{other.sid}/"
        response = ended.delete(PATH if act == "disconnect" else f"/auth/sessions/{one}")
    assert code_of(response) == (401, "login_session_ended")
    assert uids(alice) == {"mine"}
    assert other.row.ended_at is None


def test_connecting_ends_the_users_other_logins(mode, provider, login):
    used, others = login(mode), [login("session"), login("jwt")]
    assert connect(used, provider).status_code == 200
    assert [other.get().status_code for other in (used, *others)] == [200, 401, 401]


def test_an_account_that_is_connected_to_another_user_is_409(mode, provider, login, alice, bob):
    SocialAccount.objects.create(user=bob, provider="example", uid="subject-1")
    response = connect(login(mode), provider)
    assert code_of(response) == (409, "connected_other")
    assert (uids(alice), uids(bob)) == (set(), {"subject-1"})
    assert not ExpiringMark.objects.exists()


def test_a_token_connects_once(mode, provider, login, bob):
    id_token = provider.id_token()
    body = {"process": "connect", "id_token": id_token}
    assert login(mode).post(PATH, body).status_code == 200
    assert code_of(login(mode, bob).post(PATH, body)) == (401, "provider_token_replayed")


@pytest.mark.parametrize("bad", [{"aud": "x"}, {"exp": 1}, {"iss": "https://evil.example"}])
def test_a_bad_token_connects_nothing(bad, mode, provider, login, alice):
    assert code_of(connect(login(mode), provider, **bad)) == (401, "invalid_provider_token")
    assert uids(alice) == set()


def test_a_provider_that_is_down_connects_nothing(mode, provider, login, alice):
    provider.faults["jwks"] = "500"
    assert code_of(connect(login(mode), provider)) == (503, "provider_unavailable")
    assert uids(alice) == set()
    assert not ExpiringMark.objects.exists()


# -- disconnecting -------------------------------------------------------------------------


@pytest.fixture
def connected(provider, alice):
    SocialAccount.objects.create(user=alice, provider="example", uid="subject-1")
    return alice


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("query", ["", "?uid=subject-1"])
def test_a_user_disconnects_a_provider(required, query, mode, connected, login):
    with override_settings(ACCOUNT_REAUTHENTICATION_REQUIRED=required):
        used, other = login(mode), login("jwt")
        assert used.delete(f"{PATH}{query}").status_code == 204
    assert uids(connected) == set()
    assert [used.get().status_code, other.get().status_code] == [200, 401]
    assert code_of(used.delete(PATH)) == (404, "not_found")


def test_of_several_accounts_the_uid_says_which(mode, connected, login):
    SocialAccount.objects.create(user=connected, provider="example", uid="subject-2")
    used = login(mode)
    assert code_of(used.delete(PATH)) == (400, "uid_required")
    for strange in ("subject-3", "SUBJECT-2", "%00", "x" * 3000):
        assert used.delete(f"{PATH}?uid={strange}").status_code == 404
    headers = used.headers()
    body = json.dumps({"uid": "subject-2"})
    assert used.browser.delete(PATH, body, "application/json", headers=headers).status_code == 204
    assert uids(connected) == {"subject-1"}


def test_an_account_of_another_user_is_404(mode, connected, login, bob):
    used = login(mode, bob)
    assert used.delete(PATH).status_code == 404
    assert used.delete(f"{PATH}?uid=subject-1").status_code == 404
    assert uids(connected) == {"subject-1"}


def test_the_last_way_in_stays(mode, connected, login):
    used = login(mode)
    # Without a signal, which would end the login.
    type(connected).objects.filter(pk=connected.pk).update(password="!")
    LoginSession.objects.update(auth_hash="")
    connected.refresh_from_db()
    LoginSession.objects.update(auth_hash=connected.get_session_auth_hash())
    if mode == "session":
        session = used.browser.session
        session["_auth_user_hash"] = connected.get_session_auth_hash()
        session.save()
    assert code_of(used.delete(PATH)) == (400, "no_password")
    assert uids(connected) == {"subject-1"}


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_two_calls_at_once_leave_a_way_in(login, alice, provider, monkeypatch):
    for uid in "ab":
        SocialAccount.objects.create(user=alice, provider="example", uid=uid)
    used = login("jwt")
    type(alice).objects.update(password="!")
    alice.refresh_from_db()
    LoginSession.objects.update(auth_hash=alice.get_session_auth_hash())
    both, validate = threading.Barrier(2), DefaultSocialAccountAdapter.validate_disconnect

    def validate_together(*args):
        validate(*args)
        with suppress(threading.BrokenBarrierError):
            both.wait(timeout=1)

    def disconnect(uid):
        try:
            return used.delete(f"{PATH}?uid={uid}").status_code
        finally:
            connections.close_all()

    monkeypatch.setattr(DefaultSocialAccountAdapter, "validate_disconnect", validate_together)
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(disconnect, "ab")) == [204, 400]
    assert len(uids(alice)) == 1


@override_settings(ACCOUNT_EMAIL_VERIFICATION="mandatory")
def test_so_does_one_without_which_no_password_could_be_reset(mode, connected, login):
    address = EmailAddress.objects.create(user=connected, email=connected.email, verified=True)
    used = login(mode)
    address.delete()
    assert code_of(used.delete(PATH)) == (400, "no_verified_email")


class KeepingAdapter(DefaultSocialAccountAdapter):
    error_messages = {**DefaultSocialAccountAdapter.error_messages, "keep": "Keep it."}

    def validate_disconnect(self, account, accounts):
        raise self.validation_error("keep")


@override_settings(SOCIALACCOUNT_ADAPTER=f"{__name__}.KeepingAdapter")
def test_a_project_may_say_what_stays(mode, connected, login):
    response = login(mode).delete(PATH)
    assert code_of(response) == (400, "keep")
    assert response.json()["detail"] == "Keep it."
    assert uids(connected) == {"subject-1"}


# -- permissions -------------------------------------------------------------------------------


def test_a_stale_login_is_challenged(mode, connected, provider, login, clock):
    with override_settings(SIMPLE_JWT={"ACCESS_TOKEN_LIFETIME": timedelta(days=1)}):
        used = login(mode)
        used.headers()
        clock.shift(timedelta(minutes=5, seconds=1))
        for response in (used.delete(PATH), connect(used, provider, sub="subject-2")):
            assert code_of(response) == (401, "insufficient_user_authentication")
            challenge = response["WWW-Authenticate"]
            assert 'error="insufficient_user_authentication"' in challenge
            assert 'max_age="300"' in challenge
        assert uids(connected) == {"subject-1"}
        assert provider.asked == []
        assert login(mode).delete(PATH).status_code == 204


def test_nobody_connects_or_disconnects(connected, provider):
    body = json.dumps({"process": "connect", "id_token": provider.id_token()})
    for headers in ({}, {"authorization": "Bearer x"}):
        client = Client(headers=headers)
        for response in (client.delete(PATH), client.post(PATH, body, "application/json")):
            assert response.status_code == 401
            assert response["WWW-Authenticate"].startswith('Bearer realm="api"')
    assert uids(connected) == {"subject-1"}


@pytest.mark.parametrize("transport", ["body", "cookie"])
def test_another_site_connects_and_disconnects_nothing(transport, mode, connected, provider, login):
    with override_settings(AUTHMODES_TOKEN_TRANSPORT=transport):
        if (mode, transport) == ("jwt", "body"):
            browser = login("session").browser
        else:
            browser = Browser()
            browser.send_json(
                "/auth/login/",
                {"username": "alice", "password": "correct horse battery staple", "mode": mode},
            )
        body = json.dumps({"process": "connect", "id_token": provider.id_token(sub="planted")})
        for response in (
            browser.delete(PATH),
            browser.post(PATH, body, "application/json"),
        ):
            assert code_of(response) == (403, "csrf_failed")
    assert uids(connected) == {"subject-1"}


@pytest.mark.parametrize("process", ["Connect", "redirect", "", None, ["connect"], {"a": 1}])
def test_another_process_is_400(process, provider, login):
    body = {"process": process, "id_token": provider.id_token()}
    assert code_of(login("jwt").post(PATH, body)) == (400, "invalid")


def test_a_provider_that_is_not_there_is_404(mode, provider, login, settings):
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app_of("x", "other")]}}
    used = login(mode)
    assert used.delete(PATH).status_code == 404
    assert connect(used, provider).status_code == 404
