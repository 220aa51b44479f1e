"""The authorization endpoint: from allauth's own pages to a code (RFC 6749, 4.1)."""

import re
from datetime import timedelta
from unittest.mock import patch
from urllib.parse import quote

import pytest
from allauth.account.models import EmailAddress
from allauth.account.views import confirm_login_code, request_login_code
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP
from allauth.socialaccount.models import SocialAccount
from django.core import mail
from django.test.utils import override_settings
from django.urls import path
from django.utils.html import escape
from django.utils.http import urlencode

from authmodes.models import AuthorizationCode, LoginSession

from .support.authorization_code import NEXT, CodeFlow, challenge_of, redirect_query
from .support.logins import PASSWORD, UID, call_with, post_json
from .support.mfa import SECRET, totp_code
from .urls import urlpatterns as project_urlpatterns

# allauth routes these where the setting was on when it was imported.
urlpatterns = [
    path("accounts/login/code/", request_login_code, name="account_request_login_code"),
    path("accounts/login/code/confirm/", confirm_login_code, name="account_confirm_login_code"),
    *project_urlpatterns,
]

LOOPBACK = "http://127.0.0.1:53123/cb"
CUSTOM = "com.example.app:/cb"


class Authorization(CodeFlow):
    """A browser at `authorize/`."""

    def url(self, **changed):
        query = {
            "response_type": "code",
            "client_id": "app",
            "redirect_uri": self.next,
            "state": self.state,
            "code_challenge": challenge_of(self.verifier),
            "code_challenge_method": "S256",
            **changed,
        }
        return f"/auth/authorize/?{urlencode({k: v for k, v in query.items() if v is not None})}"

    def ask(self, **changed):
        return self.browser.get(self.url(**changed))

    def fill_in(self, page, **fields):
        """Send a form of allauth's, which repeats `next` and not the rest of its page's query."""
        data = {"next": self.url(), **fields}
        return self.browser.submit(page.partition("?")[0], data)

    def assert_tokens(self, response, username="alice"):
        assert response.url.startswith(self.next), response.url
        query = redirect_query(response)
        assert query["state"] == self.state
        self.code = query["code"]
        me = call_with(self.tokens()["access"]).json()
        assert me["username"] == username
        assert LoginSession.objects.get(mode="jwt").user.username == username


@pytest.fixture
def flow(settings):
    settings.AUTHMODES_REDIRECT_URIS = [NEXT, "http://127.0.0.1/cb", CUSTOM]
    return Authorization()


@pytest.fixture(params=["jwt", "both"])
def with_tokens(request, settings):
    settings.AUTHMODES_MODE = request.param


@pytest.mark.usefixtures("with_tokens")
def test_a_password_user_gets_a_code_on_allauths_page(flow, alice):
    asked = flow.ask()
    assert asked.url == f"/accounts/login/?{urlencode({'next': flow.url()})}"
    assert flow.url().replace("&", "&amp;") in flow.browser.get(asked.url).content.decode()
    done = flow.fill_in(asked.url, login="alice", password=PASSWORD)
    flow.assert_tokens(done)
    assert flow.browser.get("/probe/whoami/").json() == {"username": None}


def test_a_second_factor_on_its_page_comes_first(flow, alice):
    TOTP.activate(alice, SECRET)
    waiting = flow.fill_in(flow.ask().url, login="alice", password=PASSWORD)
    assert waiting.url == "/accounts/2fa/authenticate/"
    flow.assert_tokens(flow.browser.submit(waiting.url, {"code": totp_code()}))


def test_signing_up_ends_in_a_code(flow, db):
    fields = {"username": "newcomer", "password1": PASSWORD, "password2": PASSWORD}
    flow.assert_tokens(flow.fill_in("/accounts/signup/", **fields), "newcomer")


def test_a_provider_on_allauths_page_ends_in_a_code(flow, alice):
    SocialAccount.objects.create(user=alice, provider="dummy", uid=UID)
    started = flow.fill_in("/accounts/dummy/login/")
    flow.assert_tokens(flow.authenticate(started.url))
    started = flow.fill_in("/accounts/dummy/login/")
    cancelled = flow.browser.submit(started.url, {"action": "cancel"})
    assert redirect_query(cancelled) == {"error": "access_denied", "state": flow.state}


@pytest.fixture
def mailed(flow, alice, settings):
    """The page that asks for the code of a mail."""
    settings.ACCOUNT_LOGIN_BY_CODE_ENABLED = True
    EmailAddress.objects.create(user=alice, email=alice.email, verified=True, primary=True)
    page = flow.fill_in("/accounts/login/code/", email=alice.email).url
    assert page == f"/accounts/login/code/confirm/?{urlencode({'next': flow.url()})}"
    return page


@pytest.mark.urls(__name__)
@pytest.mark.usefixtures("with_tokens")
def test_a_mailed_code_ends_in_a_code(flow, mailed):
    code = re.search(r"^\S{4,12}$", mail.outbox[-1].body, re.MULTILINE)[0]
    flow.assert_tokens(flow.fill_in(mailed, code=code))


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("end", ["cancelled", "wrong", "late", "opened late"])
def test_a_mailed_code_that_is_not_given_leads_back_to_the_client(flow, mailed, clock, end):
    if end == "cancelled":
        flow.browser.defaults["HTTP_REFERER"] = f"http://testserver{mailed}"
        response = flow.browser.submit("/accounts/logout/", {"next": "/accounts/login/"})
    elif end == "wrong":
        while (response := flow.fill_in(mailed, code="wrong")).status_code == 200:
            pass
    else:
        clock.shift(3600)
        late = end == "late"
        response = flow.fill_in(mailed, code="wrong") if late else flow.browser.get(mailed)
    assert redirect_query(response) == {"error": "access_denied", "state": flow.state}


@pytest.mark.urls(__name__)
def test_a_mailed_code_outside_a_flow_leads_to_allauths_page(flow, mailed):
    page = mailed.partition("?")[0]
    flow.browser.submit("/accounts/logout/", {"next": "/accounts/login/"})
    assert flow.browser.get(page).url.startswith("/accounts/login/")


def test_an_inactive_user_leads_back_to_the_client(flow, alice):
    alice.is_active = False
    alice.save()
    response = flow.fill_in(flow.ask().url, login="alice", password=PASSWORD)
    assert "code=" not in response.headers.get("location", "")
    assert not AuthorizationCode.objects.exists()


def test_a_named_provider_is_led_to_at_once(flow, alice):
    SocialAccount.objects.create(user=alice, provider="dummy", uid=UID)
    started = flow.browser.submit(flow.ask(provider="dummy").url)
    flow.assert_tokens(flow.authenticate(started.url))
    unknown = redirect_query(flow.ask(provider="nobody"))
    assert unknown == {"error": "invalid_request", "state": flow.state}


@pytest.mark.parametrize("name", ["redirect_uri", "client_id"])
@pytest.mark.parametrize("value", [None, "", "https://evil.example/"])
def test_without_a_client_there_is_a_page_and_no_redirect(flow, db, name, value):
    assert flow.ask(**{name: value}).status_code == 400


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "x"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
    ],
)
def test_what_is_wrong_with_the_request_is_told_to_the_client(flow, login, changed, error):
    login("session", browser=flow.browser)
    assert redirect_query(flow.ask(**changed)) == {"error": error, "state": flow.state}
    # Nor does a sign-in with such a `next` end in a code.
    assert not AuthorizationCode.objects.exists()


def test_where_tokens_are_off_the_client_is_told(flow, settings, db):
    settings.AUTHMODES_MODE = "session"
    assert redirect_query(flow.ask())["error"] == "unauthorized_client"


def test_a_user_who_is_signed_in_is_answered_at_once_over_https(flow, login):
    before = login("session", browser=flow.browser)
    flow.assert_tokens(flow.ask())
    assert before.row.is_active
    assert before.get().status_code == 200


def test_a_code_of_an_old_sign_in_is_as_old(flow, login, clock):
    login("session", browser=flow.browser)
    clock.shift(timedelta(hours=5))
    flow.assert_tokens(flow.ask())
    first, second = LoginSession.objects.order_by("created_at")
    assert second.authenticated_at == first.authenticated_at
    assert second.method == first.method


def test_a_code_ends_with_the_login_that_it_was_issued_for(flow, login):
    mine = login("session", browser=flow.browser)
    flow.code = redirect_query(flow.ask())["code"]
    mine.logout()
    assert flow.exchange().status_code == 400
    assert not LoginSession.objects.filter(ended_at=None).exists()


@pytest.mark.parametrize("redirect_uri", [LOOPBACK, CUSTOM])
def test_where_another_app_may_listen_a_user_who_is_signed_in_is_asked(flow, login, redirect_uri):
    """RFC 8252, 8.6."""
    flow.next = redirect_uri
    login("session", browser=flow.browser)
    page = flow.ask()
    assert page.status_code == 200
    assert b"Continue as alice in" in page.content
    assert page["X-Frame-Options"] == "DENY"
    assert flow.browser.post(flow.url()).status_code == 403
    assert not AuthorizationCode.objects.exists()
    cancelled = flow.browser.submit(flow.url(), {"cancel": ""})
    assert redirect_query(cancelled) == {"error": "access_denied", "state": flow.state}
    flow.assert_tokens(flow.browser.submit(flow.url()))


def test_in_jwt_mode_no_cookie_answers(flow, login, settings):
    login("session", browser=flow.browser)
    settings.AUTHMODES_MODE = "jwt"
    assert flow.ask().url.startswith("/accounts/login/")
    assert flow.browser.submit(flow.url()).url.startswith("/accounts/login/")


def test_a_visit_that_was_abandoned_changes_nothing_for_the_next_sign_in(flow, alice):
    flow.browser.get(flow.ask().url)
    flow.browser.submit("/accounts/login/", {"login": "alice", "password": PASSWORD})
    assert LoginSession.objects.get().mode == "session"
    assert not AuthorizationCode.objects.exists()


def test_a_form_that_repeats_no_query_obeys_the_mode_of_its_page(flow, alice, settings):
    """A passkey's form, for one; the browser names the page as its referrer."""
    settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"
    form = {"login": "alice", "password": PASSWORD}
    flow.browser.defaults["HTTP_REFERER"] = "http://testserver/accounts/login/?mode=jwt"
    flow.browser.submit("/accounts/login/", form)
    assert LoginSession.objects.get().mode == "jwt"


def test_a_client_without_cookies_that_cannot_go_on_is_told_where_it_can(alice):
    """A security key is used on a page, and a login for tokens leaves none."""
    Authenticator.objects.create(user=alice, type=Authenticator.Type.WEBAUTHN, data={})
    body = {"username": "alice", "password": PASSWORD, "mode": "jwt"}
    for endpoint in ("login/", "token/"):
        answer = post_json(f"/auth/{endpoint}", body).json()
        assert answer["code"] == "stage_pending"
        way_on = {"page": None, "fields": [], "authorize": "/auth/authorize/"}
        assert answer["continue"] == way_on
    with override_settings(AUTHMODES_REDIRECT_URIS=[]):
        answer = post_json("/auth/login/", body).json()
    assert answer["continue"] == {"page": None, "fields": []}


# -- how and when the user has to sign in --------------------------------------------------


def error_of(response):
    query = redirect_query(response)
    assert query["state"] == "spa-state-1"
    return query.get("error")


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"prompt": "create"}, "invalid_request"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"max_age": "soon"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"max_age": "\u0661"}, "invalid_request"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"scope": "openid"}, "invalid_scope"),
    ],
)
def test_what_is_not_offered_is_told_to_the_client(flow, login, changed, error):
    login("session", browser=flow.browser)
    assert error_of(flow.ask(**changed)) == error
    assert not AuthorizationCode.objects.exists()


def test_with_prompt_none_no_page_is_shown(flow, login, clock):
    assert error_of(flow.ask(prompt="none")) == "login_required"
    assert error_of(flow.ask(prompt="none", provider="dummy")) == "login_required"
    login("session", browser=flow.browser)
    assert error_of(flow.ask(prompt="none", redirect_uri=LOOPBACK)) == "interaction_required"
    assert "code" in redirect_query(flow.ask(prompt="none", max_age="600"))
    clock.shift(timedelta(seconds=601))
    assert error_of(flow.ask(prompt="none", max_age="600")) == "login_required"
    assert "code" in redirect_query(flow.ask(prompt="none"))


@pytest.mark.parametrize("asked", [{"prompt": "login"}, {"max_age": "60"}, {"max_age": "0"}])
def test_a_user_who_signed_in_too_long_ago_authenticates_again(flow, login, clock, asked):
    mine = login("session", browser=flow.browser)
    clock.shift(timedelta(seconds=61))
    page = flow.ask(**asked)
    assert page.url.startswith("/accounts/reauthenticate/?next=")
    # Coming back without having done so changes nothing.
    assert flow.ask(**asked).url == page.url
    back = flow.browser.submit(page.url, {"password": PASSWORD})
    assert back.url == flow.url(**asked)
    flow.assert_tokens(flow.browser.get(back.url))
    latest = LoginSession.objects.get(mode="jwt")
    assert (latest.authenticated_at - mine.row.authenticated_at).total_seconds() >= 61


def test_the_page_of_another_app_is_no_way_around_it(flow, login, clock):
    flow.next = LOOPBACK
    login("session", browser=flow.browser)
    clock.shift(timedelta(seconds=61))
    back = flow.browser.submit(flow.url(prompt="login"))
    assert back.url == flow.url(prompt="login")
    assert flow.browser.get(back.url).url.startswith("/accounts/reauthenticate/")
    assert not AuthorizationCode.objects.exists()


def test_a_user_who_cannot_authenticate_again_is_told_to_the_client(flow, login, alice, clock):
    login("session", browser=flow.browser)
    clock.shift(timedelta(seconds=61))
    with patch(
        "allauth.account.adapter.DefaultAccountAdapter.get_reauthentication_methods",
        return_value=[],
    ):
        assert error_of(flow.ask(prompt="login")) == "login_required"
        SocialAccount.objects.create(user=alice, provider="dummy", uid=UID)
        back = flow.authenticate(flow.ask(prompt="login").url)
        assert back.url == flow.url(prompt="login")
        flow.assert_tokens(flow.browser.get(back.url))


@pytest.mark.parametrize("prompt", ["consent", "select_account", "login consent"])
def test_a_client_may_have_the_user_asked_who_they_are(flow, login, prompt):
    login("session", browser=flow.browser)
    page = flow.ask(prompt=prompt)
    assert b"Continue as alice in" in page.content
    other = f"/accounts/logout/?next={quote(flow.url(prompt=prompt))}"
    assert escape(other) in page.content.decode()
    flow.assert_tokens(flow.browser.submit(flow.url(prompt=prompt)))


def test_a_user_who_is_not_signed_in_is_asked_once(flow, alice):
    """`prompt=login` is fulfilled by the sign-in that follows."""
    page = flow.ask(prompt="login", max_age="0")
    done = flow.browser.submit(
        "/accounts/login/",
        {"login": "alice", "password": PASSWORD, "next": flow.url(prompt="login", max_age="0")},
    )
    assert page.url.startswith("/accounts/login/")
    flow.assert_tokens(done)


# -- clients -------------------------------------------------------------------------------


def test_a_client_has_its_own_redirect_uris(flow, login, settings):
    settings.AUTHMODES_REDIRECT_URIS = {"web": [NEXT], "phone": [CUSTOM]}
    login("session", browser=flow.browser)
    for client_id, redirect_uri in (("web", CUSTOM), ("phone", NEXT), ("app", NEXT)):
        refused = flow.ask(client_id=client_id, redirect_uri=redirect_uri)
        assert refused.status_code == 400
    flow.code = redirect_query(flow.ask(client_id="web"))["code"]
    assert flow.exchange(client_id="web").status_code == 200
    assert LoginSession.objects.get(mode="jwt").client_id == "web"


def test_the_client_travels_with_the_flow(flow, alice, settings):
    settings.AUTHMODES_REDIRECT_URIS = {"web": [NEXT], "other": [NEXT]}
    SocialAccount.objects.create(user=alice, provider="dummy", uid=UID)
    for ask in ({}, {"provider": "dummy"}):
        page = flow.ask(client_id="other", **ask).url
        if ask:
            done = flow.authenticate(flow.browser.submit(page).url)
        else:
            data = {"next": flow.url(client_id="other"), "login": "alice", "password": PASSWORD}
            done = flow.browser.submit("/accounts/login/", data)
        flow.code = redirect_query(done)["code"]
        assert flow.exchange(client_id="other").status_code == 200


def test_every_answer_names_the_issuer(flow, login, settings):
    """RFC 9207."""
    settings.SIMPLE_JWT = {"ISSUER": "https://id.example"}
    assert redirect_query(flow.ask(prompt="none"))["iss"] == "https://id.example"
    login("session", browser=flow.browser)
    assert redirect_query(flow.ask())["iss"] == "https://id.example"
