"""The authorization code that carries a browser login to the client that will hold the tokens."""

import base64
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.db import OperationalError, connections
from django.test import Client
from django.test.utils import override_settings
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from authmodes import registry
from authmodes.models import AuthorizationCode, LoginEvent, LoginSession
from authmodes.registry import ending
from authmodes.signin import authorization_code

from .support.authorization_code import NEXT, CodeFlow, challenge_of, code_grant, redirect_query
from .support.browser import Browser
from .support.database import connection
from .support.logins import API, PASSWORD, UID, call_with, post_json, refresh
from .support.tokens import claims_of

User = get_user_model()


def assert_refused(response, code):
    assert response.status_code == 400, response.content
    assert code.encode() in response.content
    assert not AuthorizationCode.objects.exists()


# -- the whole way -------------------------------------------------------------------------


def test_a_code_flow_ends_in_working_tokens(code_flow, alice):
    response = code_flow.run()
    assert response.status_code == 302
    answer = code_flow.tokens()
    assert call_with(answer["access"]).json() == {"username": "alice", "mode": "jwt"}
    assert refresh(answer["refresh"]).status_code == 200
    assert claims_of(answer["access"])["sid"] == answer["sid"]


def test_the_redirect_carries_the_code_and_the_state_and_nothing_else(code_flow):
    response = code_flow.run()
    assert response.url.startswith(f"{NEXT}?")
    assert redirect_query(response) == {"code": code_flow.code, "state": "spa-state-1"}
    assert len(code_flow.code) >= 43


@pytest.mark.parametrize("state", ["a b&c=d#e", "ünï", '"><script>', "x" * 1024])
def test_the_state_comes_back_as_it_was(code_flow, state):
    code_flow.state = state
    assert redirect_query(code_flow.run())["state"] == state


@pytest.mark.django_db(transaction=True)
def test_a_database_that_goes_away_at_the_end_of_the_exchange_is_a_503(code_flow):
    def away(execute, sql, *args):
        if sql.startswith("UPDATE") and "last_login" in sql:
            raise OperationalError("gone")
        return execute(sql, *args)

    code_flow.run()
    with connection.execute_wrapper(away):
        assert code_flow.exchange().status_code == 503
    # The code was not used up.
    assert code_flow.exchange().status_code == 200


def test_without_a_state_there_is_none(code_flow):
    code_flow.state = None
    assert set(redirect_query(code_flow.run())) == {"code"}


def test_a_state_that_is_too_long_is_refused(code_flow):
    assert_refused(code_flow.look(state="x" * 1025), "invalid_state")


def test_tokens_never_travel_in_a_url(code_flow):
    started = code_flow.start()
    finished = code_flow.authenticate(started.url)
    code_flow.code = redirect_query(finished)["code"]
    answer = code_flow.tokens()
    for url in (started.url, finished.url):
        assert "access" not in url
        assert "ey" not in redirect_query(finished)["code"][:2]
        assert answer["access"] not in url
        assert answer["refresh"] not in url


def test_no_django_session_is_left_alive_after_the_redirect(code_flow):
    code_flow.run()
    assert code_flow.browser.get(API).status_code == 401
    assert code_flow.browser.get("/probe/page/").status_code == 302
    for session in Session.objects.all():
        assert "_auth_user_id" not in session.get_decoded()
        assert "socialaccount_states" not in session.get_decoded()


def test_no_login_is_made_before_the_exchange(code_flow):
    code_flow.run()
    assert not LoginSession.objects.exists()
    assert not OutstandingToken.objects.exists()


def test_the_code_is_stored_as_a_digest_only(code_flow):
    code_flow.run()
    row = AuthorizationCode.objects.values().get()
    assert row["digest"] == hashlib.sha256(code_flow.code.encode()).hexdigest()
    assert code_flow.code not in str(row)
    assert code_flow.code not in str(AuthorizationCode.objects.get())
    assert code_flow.exchange(code=row["digest"]).status_code == 400


def test_the_exchange_removes_the_code(code_flow):
    code_flow.run()
    code_flow.exchange()
    assert not AuthorizationCode.objects.exists()


def test_the_exchange_needs_no_cookie_and_sets_none(code_flow):
    code_flow.run()
    response = code_flow.exchange()
    assert not response.cookies
    assert response["Cache-Control"] == "no-store"


# -- starting ------------------------------------------------------------------------------


def test_looking_at_the_start_page_begins_nothing(code_flow):
    page = code_flow.look()
    assert page.status_code == 200
    assert b'<form method="post"' in page.content.replace(b"\n", b" ")
    assert not Session.objects.exists()
    assert not LoginSession.objects.exists()


def test_starting_is_subject_to_csrf(code_flow):
    page = code_flow.look()
    assert code_flow.browser.post(page.wsgi_request.get_full_path()).status_code == 403


def test_get_goes_straight_on_where_allauth_says_so_and_makes_no_login(code_flow):
    with override_settings(SOCIALACCOUNT_LOGIN_ON_GET=True):
        response = code_flow.look()
    assert response.status_code == 302
    assert response.url.startswith("/accounts/dummy/authenticate/?state=")
    assert not LoginSession.objects.exists()


@pytest.mark.parametrize("challenge", [None, ""])
def test_a_challenge_is_required(code_flow, challenge):
    assert_refused(code_flow.look(code_challenge=challenge), "code_challenge_required")


@pytest.mark.parametrize("method", ["plain", "s256", "S512", "none", "S256 "])
def test_any_method_but_s256_is_refused(code_flow, method):
    assert_refused(code_flow.look(code_challenge_method=method), "invalid_code_challenge")


@pytest.mark.parametrize(
    "challenge",
    ["x", "x" * 42, "x" * 44, "x" * 42 + "=", "x" * 42 + "+", "x" * 43 + "\n", "ä" * 43],
)
def test_what_cannot_be_a_sha256_digest_is_no_challenge(code_flow, challenge):
    assert_refused(code_flow.look(code_challenge=challenge), "invalid_code_challenge")


@pytest.mark.parametrize(
    "next_url",
    [
        None,
        "",
        f"{NEXT}/",
        f"{NEXT}?x=1",
        f"{NEXT} ",
        NEXT.upper(),
        "https://SPA.example/callback",
        "https://spa.example/callback/../callback",
        "https://spa.example:443/callback",
        "https://spa.example@evil.example/callback",
        "https://spa.example.evil.example/callback",
        "https://spa.example\\@evil.example/callback",
        "http://spa.example/callback",
        "//spa.example/callback",
        "/\\evil.example",
        "javascript:alert(1)//https://spa.example/callback",
    ],
)
def test_next_must_be_listed_to_the_letter(code_flow, next_url):
    assert_refused(code_flow.look(next=next_url), "invalid_next")
    # And the POST asks again, whatever page it came from.
    page = code_flow.look()
    query = {**code_flow.parameters(next=next_url)}
    path = page.wsgi_request.path
    assert_refused(code_flow.browser.submit(path, query), "invalid_next")


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("https://spa.example/callback?app=1", "https://spa.example/callback?app=1&code="),
        ("com.example.app:/callback", "com.example.app:/callback?code="),
        ("http://127.0.0.1:8080/cb", "http://127.0.0.1:8080/cb?code="),
    ],
)
def test_a_listed_next_may_have_a_query_or_a_scheme_of_its_own(code_flow, listed, expected):
    with override_settings(AUTHMODES_REDIRECT_URIS=[listed]):
        code_flow.next = listed
        response = code_flow.run()
        assert response.url.startswith(expected)
        assert code_flow.exchange().status_code == 200


@pytest.mark.parametrize("listed", ["http://127.0.0.1/cb", "http://127.0.0.1:8080/cb"])
def test_a_loopback_redirect_may_have_any_port(code_flow, listed):
    """RFC 8252, 7.3."""
    with override_settings(AUTHMODES_REDIRECT_URIS=[listed, "http://[::1]/cb?app=1"]):
        for code_flow.next in ("http://127.0.0.1:53123/cb", "http://[::1]:1/cb?app=1"):
            assert code_flow.run().url.startswith(code_flow.next)
            assert code_flow.exchange().status_code == 200


@pytest.mark.parametrize(
    "next_url",
    [
        "http://127.0.0.1:1/other",
        "http://127.0.0.1:1",
        "http://127.0.0.1:/cb",
        "http://127.0.0.1:123456/cb",
        "http://127.0.0.1:\u0661/cb",
        "http://127.0.0.1:80@evil.example/cb",
        "http://alice@127.0.0.1:80/cb",
        "http://127.0.0.1:80\\@evil.example/cb",
        "http://127.0.0.1:80:90/cb",
        "https://127.0.0.1:80/cb",
        "http://127.0.0.2:80/cb",
        "http://[::1]:80/cb",
        "http://localhost:80/cb",
        "http://127.0.0.1:80/cb\n",
    ],
)
def test_nothing_but_the_port_of_a_loopback_redirect_may_differ(code_flow, next_url):
    with override_settings(AUTHMODES_REDIRECT_URIS=["http://127.0.0.1/cb", "http://localhost/cb"]):
        assert_refused(code_flow.look(next=next_url), "invalid_next")


def test_the_list_is_read_live(code_flow):
    with override_settings(AUTHMODES_REDIRECT_URIS=[]):
        assert_refused(code_flow.look(), "invalid_next")
    assert code_flow.look().status_code == 200


@pytest.mark.parametrize(
    "next_url", ["//evil.example", "https://evil.example/", "\\\\evil", "javascript:x"]
)
def test_next_of_a_cookie_login_stays_home(code_flow, next_url):
    response = code_flow.look(mode="session", code_challenge=None, next=next_url)
    assert_refused(response, "invalid_next")


def test_next_of_a_cookie_login_may_be_a_page_of_ours(alice_at_dummy):
    code_flow = CodeFlow(next="/probe/whoami/", state="")
    started = code_flow.start(mode="session", code_challenge=None)
    assert code_flow.authenticate(started.url).url == "/probe/whoami/"


def test_an_unknown_provider_is_404(code_flow):
    response = code_flow.browser.get("/auth/social/nobody/start/", code_flow.parameters())
    assert response.status_code == 404
    as_json = code_flow.browser.get(
        "/auth/social/nobody/start/", code_flow.parameters(), headers={"accept": "application/json"}
    )
    assert as_json.json()["code"] == "not_found"


def test_a_code_flow_is_refused_where_tokens_are_off(code_flow):
    with override_settings(AUTHMODES_MODE="session"):
        assert_refused(code_flow.look(), "mode_disabled")


# -- another browser -----------------------------------------------------------------------


def test_a_callback_with_the_state_of_another_browser_is_refused(code_flow):
    started = code_flow.start()
    victim = Browser()
    response = victim.submit(started.url, {"id": UID})
    assert response.status_code in (400, 403)
    assert not AuthorizationCode.objects.exists()
    assert victim.get("/probe/page/").status_code == 302


@pytest.mark.parametrize("state", ["", "made-up"])
def test_a_callback_without_a_state_of_ours_is_refused(alice_at_dummy, state):
    response = Browser().submit(f"/accounts/dummy/authenticate/?state={state}", {"id": UID})
    assert response.status_code in (400, 403)
    assert not LoginSession.objects.exists()


def test_a_callback_works_once(code_flow):
    started = code_flow.start()
    code_flow.authenticate(started.url)
    again = code_flow.authenticate(started.url)
    assert again.status_code in (400, 403)
    assert AuthorizationCode.objects.count() == 1


# -- exchanging ----------------------------------------------------------------------------


def assert_no_exchange(response):
    assert (response.status_code, response.json()["code"]) == (400, "invalid_grant")
    assert not LoginSession.objects.exists()
    assert not OutstandingToken.objects.exists()


def test_a_code_works_once(code_flow):
    code_flow.run()
    assert code_flow.exchange().status_code == 200
    assert code_flow.exchange().status_code == 400
    assert LoginSession.objects.count() == 1


def test_a_code_that_is_presented_again_ends_the_login_that_it_started(code_flow, caplog):
    """RFC 6749, 4.1.2; RFC 9700, 2.1.1."""
    code_flow.run()
    first = code_flow.tokens()
    with caplog.at_level("WARNING", "authmodes"):
        second = code_flow.exchange()
    assert second.json() == code_flow.exchange(code="nothing").json()
    assert LoginSession.objects.get().end_reason == "reuse"
    assert call_with(first["access"]).status_code == 401
    assert refresh(first["refresh"]).status_code == 401
    kinds = LoginEvent.objects.filter(sid=first["sid"]).values_list("kind", flat=True)
    assert sorted(kinds) == ["ended", "reuse", "started"]
    (record,) = [each for each in caplog.records if each.getMessage().startswith("login_reuse")]
    assert first["sid"] in record.getMessage()
    assert code_flow.code not in caplog.text


def test_a_code_is_remembered_as_used_as_long_as_its_login_lasts(code_flow, clock):
    code_flow.run()
    assert code_flow.exchange().status_code == 200
    clock.shift(timedelta(hours=1))
    registry.prune()
    assert code_flow.exchange().status_code == 400
    assert LoginSession.objects.get().end_reason == "reuse"


def test_a_code_signs_nobody_out_without_its_verifier(code_flow):
    """It may be read in a history or a log."""
    code_flow.run()
    answer = code_flow.tokens()
    assert CodeFlow(code=code_flow.code).exchange().status_code == 400
    assert code_flow.exchange(code_verifier=challenge_of(code_flow.verifier)).status_code == 400
    assert call_with(answer["access"]).status_code == 200


def test_a_code_whose_login_has_ended_changes_nothing(code_flow, caplog):
    code_flow.run()
    assert code_flow.exchange().status_code == 200
    registry.revoke(LoginSession.objects.get())
    assert code_flow.exchange().status_code == 400
    assert LoginSession.objects.get().end_reason == "revoked"
    assert "login_reuse" not in caplog.text


def test_a_code_whose_login_is_refused_is_used_up(code_flow, login):
    code_flow.run()
    other = login("jwt")
    with override_settings(AUTHMODES_MAX_LOGIN_SESSIONS=1, AUTHMODES_LIMIT_POLICY="refuse"):
        assert code_flow.exchange().json()["code"] == "limit_reached"
    assert code_flow.exchange().json()["code"] == "invalid_grant"
    assert LoginSession.objects.get() == other.row


def test_a_code_lives_sixty_seconds(clock, code_flow):
    code_flow.run()
    clock.shift(timedelta(seconds=60))
    assert_no_exchange(code_flow.exchange())


def test_a_code_works_until_then(clock, code_flow):
    code_flow.run()
    clock.shift(timedelta(seconds=59))
    assert code_flow.exchange().status_code == 200


def test_a_wrong_verifier_gets_nothing_and_uses_the_code_up(code_flow):
    code_flow.run()
    assert_no_exchange(code_flow.exchange(code_verifier="w" * 43))
    assert_no_exchange(code_flow.exchange())


def test_the_challenge_itself_is_no_verifier(code_flow):
    """What `plain` would accept."""
    code_flow.run()
    assert_no_exchange(code_flow.exchange(code_verifier=challenge_of(code_flow.verifier)))


@pytest.mark.parametrize("verifier", ["", "x" * 42, "x" * 129, "x" * 42 + "!", None, 5, ["x" * 43]])
def test_what_cannot_be_a_verifier_is_400_and_leaves_the_code(code_flow, verifier):
    code_flow.run()
    response = code_flow.exchange(code_verifier=verifier)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")
    assert code_flow.exchange().status_code == 200


@pytest.mark.parametrize("next_url", ["https://spa.example/other", f"{NEXT}/", NEXT.upper()])
def test_a_next_that_the_code_was_not_sent_to_gets_nothing_and_uses_the_code_up(
    code_flow, next_url
):
    """RFC 6749, 4.1.3."""
    code_flow.run()
    assert_no_exchange(code_flow.exchange(redirect_uri=next_url))
    assert_no_exchange(code_flow.exchange(redirect_uri=NEXT))


def test_the_next_that_the_code_was_sent_to_is_accepted(code_flow):
    code_flow.run()
    assert code_flow.exchange(redirect_uri=NEXT).status_code == 200


@pytest.mark.parametrize("code", ["x", "x" * 128])
def test_an_unknown_code_gets_nothing(code_flow, code):
    code_flow.run()
    assert_no_exchange(code_flow.exchange(code=code))


def disable(user):
    User.objects.filter(pk=user.pk).update(is_active=False)


def change_password(user):
    user.set_password("another one")
    user.save()


@pytest.mark.parametrize("change", [disable, change_password, lambda user: user.delete()])
def test_a_user_who_changed_since_the_code_was_made_gets_nothing(code_flow, alice, change):
    code_flow.run()
    change(alice)
    assert_no_exchange(code_flow.exchange())


def test_one_user_cannot_use_the_code_of_another(code_flow, alice):
    """A stolen code is worthless with the thief's verifier."""
    code_flow.run()
    thief = CodeFlow(code=code_flow.code)
    assert_no_exchange(thief.exchange())


def test_expired_codes_are_pruned(clock, code_flow):
    code_flow.run()
    clock.shift(timedelta(minutes=2))
    registry.prune()
    assert not AuthorizationCode.objects.exists()


def test_with_token_cookies_the_exchange_answers_in_cookies(code_flow):
    with override_settings(AUTHMODES_TOKEN_TRANSPORT="cookie"):
        code_flow.run()
        body = code_grant(code_flow.code, code_flow.verifier)
        response = code_flow.browser.send_json("/auth/token/", body)
        assert response.status_code == 200
        assert set(response.json()) == {"token_type", "expires_in", "sid"}
        assert code_flow.browser.get(API).json() == {"username": "alice", "mode": "jwt"}


def test_a_browser_login_for_token_cookies_needs_no_code(alice_at_dummy):
    with override_settings(AUTHMODES_TOKEN_TRANSPORT="cookie"):
        code_flow = CodeFlow(next="", state="")
        started = code_flow.start(code_challenge=None, code_challenge_method=None)
        response = code_flow.authenticate(started.url)
        assert (response.status_code, response.url) == (302, "/probe/page/")
        assert code_flow.browser.get(API).json() == {"username": "alice", "mode": "jwt"}
    assert LoginSession.objects.get().mode == "jwt"


def test_a_code_verifier_of_the_rfc_makes_its_challenge():
    """RFC 7636, appendix B."""
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert (
        authorization_code.code_challenge_of(verifier)
        == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    )
    assert base64.urlsafe_b64decode(authorization_code.code_challenge_of(verifier) + "=")


# -- races ---------------------------------------------------------------------------------


def _exchange_at_once(code_flow, count):
    barrier = threading.Barrier(count)

    def exchange(_number):
        barrier.wait(timeout=30)
        try:
            return code_flow.exchange().status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return sorted(pool.map(exchange, range(count)))


@pytest.mark.servers
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("count", [2, 10])
def test_of_many_exchanges_at_once_exactly_one_wins(code_flow, count):
    code_flow.run()
    assert _exchange_at_once(code_flow, count) == [200] + [400] * (count - 1)
    # None of the others comes too early to find the login.
    assert LoginSession.objects.get().end_reason == "reuse"


@pytest.mark.django_db(transaction=True)
def test_of_two_exchanges_at_once_exactly_one_wins_on_any_database(code_flow):
    code_flow.run()
    assert _exchange_at_once(code_flow, 2) == [200, 400]
    assert LoginSession.objects.get().end_reason == "reuse"


def test_a_stranger_gets_no_hint_whether_a_code_exists(code_flow):
    code_flow.run()
    wrong = code_flow.exchange(code_verifier="w" * 43).json()
    unknown = code_flow.exchange(code="nothing").json()
    assert wrong == unknown
    assert Client().get("/auth/token/").status_code == 405


def sign_out_everywhere(user):
    registry.revoke_user(user)


def sign_out_everywhere_over_rest(user):
    body = {"username": user.username, "password": PASSWORD, "mode": "jwt"}
    answer = post_json("/auth/login/", body).json()
    bearer = {"authorization": f"Bearer {answer['access']}"}
    assert Client().delete("/auth/sessions/?all=1", headers=bearer).status_code == 200


def remove_a_second_factor(user):
    ending.revoke_others(user, spare=None)


@pytest.mark.parametrize(
    "way", [sign_out_everywhere, sign_out_everywhere_over_rest, remove_a_second_factor]
)
def test_a_code_under_way_does_not_outlive_the_end_of_everything(way, code_flow, alice):
    code_flow.run()
    way(alice)
    assert code_flow.exchange().status_code == 400
    assert not LoginSession.objects.active().exists()


@pytest.mark.parametrize("reason", sorted(ending.DELIBERATE))
def test_one_deliberate_revocation_cancels_the_codes_of_its_user_only(
    reason, code_flow, login, bob
):
    SocialAccount.objects.create(provider="dummy", uid="4712", user=bob)
    of_bob = CodeFlow()
    of_bob.run(uid="4712")
    code_flow.run()
    registry.revoke(login("session").row, reason)
    assert code_flow.exchange().status_code == 400
    assert of_bob.exchange().status_code == 200


def test_a_code_under_way_outlives_an_everyday_logout(code_flow, alice):
    code_flow.run()
    browser = Browser()
    body = {"username": "alice", "password": PASSWORD, "mode": "session"}
    assert browser.send_json("/auth/login/", body).status_code == 200
    assert browser.send_json("/auth/logout/").status_code == 204
    assert code_flow.exchange().status_code == 200
