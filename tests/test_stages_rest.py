"""A login over REST that waits for a stage: it says so, and the same call finishes it."""

import json
import re

import pytest
from allauth.account.models import EmailAddress
from allauth.account.stages import LoginStage
from allauth.core.internal.httpkit import headed_redirect_response
from allauth.mfa.base.forms import AuthenticateForm
from allauth.mfa.base.views import TrustView
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.signals import authenticator_added
from allauth.mfa.totp.internal.auth import TOTP
from allauth.socialaccount.forms import SignupForm
from allauth.socialaccount.models import SocialAccount
from django import forms
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.core import mail
from django.test.utils import override_settings
from django.urls import path
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from authmodes import registry
from authmodes.adapter import AuthModesAccountAdapter
from authmodes.models import AuthorizationCode, ExpiringMark, LoginSession
from authmodes.registry import ending

from .support.authorization_code import CodeFlow
from .support.browser import Browser
from .support.logins import API, PASSWORD, UID, html_login, only_row, post_json
from .support.mfa import SECRET, totp_code
from .support.oidc_provider import CLIENT_ID
from .urls import urlpatterns as project_urlpatterns

User = get_user_model()

MFA_PAGE = "/accounts/2fa/authenticate/"
VERIFICATION = {"ACCOUNT_EMAIL_VERIFICATION": "mandatory", "SOCIALACCOUNT_EMAIL_REQUIRED": False}


KINDS = ["login", "token", "id_token", "code"]
WAYS = [(kind, mode) for kind in KINDS for mode in ("session", "jwt")]
# What simplejwt's own endpoint gives is always tokens.
WAYS.remove(("token", "session"))


class EntryPoint:
    """One of the ways to sign in as alice over REST, in one mode."""

    def __init__(self, kind, mode, alice, provider):
        SocialAccount.objects.create(user=alice, provider="example", uid="subject-1")
        self.kind, self.mode, self.provider = kind, mode, provider
        self.method = "password" if kind in ("login", "token") else "socialaccount"
        # The same token again: it is not used up before a login has been made.
        self.id_token = provider.id_token(email="alice@example.com")

    def __call__(self, browser=None, **more):
        if self.kind == "id_token":
            path, body = "/auth/social/example/", {"id_token": self.id_token}
        elif self.kind == "code":
            # A code is used up at the provider; the client fetches another.
            path, body = "/auth/social/example/", self.provider.code_credential()
        else:
            path, body = f"/auth/{self.kind}/", {"username": "alice", "password": PASSWORD}
        return (browser or Browser()).send_json(path, {"mode": self.mode, **body, **more})


@pytest.fixture(params=WAYS, ids="-".join)
def entry_point(request, alice, provider):
    return EntryPoint(*request.param, alice, provider)


@pytest.fixture(params=KINDS)
def token_entry_point(request, alice, provider):
    return EntryPoint(request.param, "jwt", alice, provider)


@pytest.fixture(params=[kind for kind, mode in WAYS if mode == "session"])
def cookie_entry_point(request, alice, provider):
    return EntryPoint(request.param, "session", alice, provider)


@pytest.fixture
def second_factor(alice, settings):
    # Half a minute may end between the code and the call.
    settings.MFA_TOTP_TOLERANCE = 1
    TOTP.activate(alice, SECRET)
    return alice


def code_of(response):
    return response.status_code, response.json()["code"]


def assert_pending(response, stage, page, fields):
    answer = response.json()
    assert code_of(response) == (401, "stage_pending")
    assert answer["stage"] == stage
    # An app that can neither repeat the call nor open the page sends the browser to sign in.
    elsewhere = {} if page or fields else {"authorize": "/auth/authorize/"}
    assert answer["continue"] == {"page": page, "fields": fields, **elsewhere}
    assert not {"access", "refresh", "sid"} & set(answer)
    assert not LoginSession.objects.exists()
    assert not OutstandingToken.objects.exists()
    assert not ExpiringMark.objects.exists()


# -- the second factor ---------------------------------------------------------------------


def test_a_second_factor_is_asked_for_and_answered_by_the_same_call(entry_point, second_factor):
    page = MFA_PAGE if entry_point.mode == "session" else None
    assert_pending(entry_point(), "mfa_authenticate", page, ["mfa_code"])
    response = entry_point(mfa_code=totp_code())
    assert response.status_code == 200, response.content
    assert response.json()["mode"] == entry_point.mode
    row = only_row()
    assert (row.mode, row.method) == (entry_point.mode, entry_point.method)
    assert row.amr.split()[1:] == ["otp", "mfa"]


def test_a_recovery_code_counts_once(entry_point, second_factor):
    code = RecoveryCodes.activate(second_factor).get_unused_codes()[0]
    response = entry_point(mfa_code=code)
    assert response.status_code == 200, response.content
    again = entry_point(mfa_code=code)
    # An ID token that a login was made with is used up, too.
    assert again.json()["code"] in ("invalid_mfa_code", "provider_token_replayed")
    assert LoginSession.objects.count() == 1


@pytest.mark.parametrize("wrong", ["000000", "\u0660" * 6])
def test_a_wrong_code_is_401_and_makes_nothing(entry_point, wrong, second_factor):
    browser = Browser()
    assert code_of(entry_point(browser, mfa_code=wrong)) == (401, "invalid_mfa_code")
    assert not LoginSession.objects.exists()
    assert not ExpiringMark.objects.exists()
    assert browser.get(API).status_code == 401


@override_settings(ACCOUNT_RATE_LIMITS={"login_failed": "3/m/key"})
def test_wrong_codes_are_counted_for_the_user(token_entry_point, second_factor):
    answers = [token_entry_point(mfa_code="000000").status_code for _attempt in range(4)]
    assert answers == [401, 401, 401, 429]
    limited = token_entry_point(mfa_code=totp_code())
    assert limited.status_code == 429
    assert limited["Retry-After"]


def test_a_code_for_who_has_no_second_factor_is_not_looked_at(entry_point, alice):
    assert entry_point(mfa_code="000000").status_code == 200


def test_a_right_code_with_a_wrong_password_is_worth_nothing(mode, second_factor):
    body = {"username": "alice", "password": "wrong", "mode": mode, "mfa_code": totp_code()}
    assert code_of(Browser().send_json("/auth/login/", body)) == (401, "no_active_account")
    assert not LoginSession.objects.exists()


def test_who_has_only_a_security_key_is_sent_to_the_page(entry_point, alice):
    Authenticator.objects.create(user=alice, type=Authenticator.Type.WEBAUTHN, data={})
    page = MFA_PAGE if entry_point.mode == "session" else None
    assert_pending(entry_point(), "mfa_authenticate", page, [])
    assert code_of(entry_point(mfa_code="000000")) == (401, "invalid_mfa_code")


@override_settings(AUTHMODES_DEFAULT_MODE="jwt", AUTHMODES_TOKEN_TRANSPORT="cookie")
def test_a_stage_finished_on_its_page_ends_in_the_mode_asked_for(cookie_entry_point, second_factor):
    browser = Browser()
    page = cookie_entry_point(browser).json()["continue"]["page"]
    browser.get(page)
    assert browser.submit(page, {"code": totp_code()}).status_code == 302
    row = only_row()
    assert (row.mode, row.method) == ("session", cookie_entry_point.method)
    assert browser.get("/probe/page/").status_code == 200


def test_a_login_for_tokens_leaves_no_page_to_go_on_with(token_entry_point, second_factor):
    browser = Browser()
    assert token_entry_point(browser).json()["continue"]["page"] is None
    browser.submit(MFA_PAGE, {"code": totp_code()})
    assert browser.get(API).status_code == 401
    assert not LoginSession.objects.exists()


urlpatterns = [
    *project_urlpatterns,
    path("accounts/2fa/trust/", TrustView.as_view(), name="mfa_trust"),
]


@pytest.mark.urls(__name__)
@override_settings(MFA_TRUST_ENABLED=True)
def test_who_does_not_answer_whether_to_trust_is_signed_in_and_not_trusted(
    entry_point, second_factor
):
    browser = Browser()
    response = entry_point(browser, mfa_code=totp_code())
    assert response.status_code == 200, response.content
    assert set(browser.cookies) <= {"csrftoken", "sessionid"}


class AdapterWithoutBob(AuthModesAccountAdapter):
    def pre_login(self, request, user, **kwargs):
        if user.get_username() == "bob":
            return headed_redirect_response("account_login")
        return super().pre_login(request, user, **kwargs)


@override_settings(ACCOUNT_ADAPTER=f"{__name__}.AdapterWithoutBob")
def test_a_pending_login_is_not_taken_for_another_ones(mode, second_factor, bob, provider):
    """alice has stopped at her second factor; then bob signs in with the same browser."""
    browser = Browser()
    body = {"username": "alice", "password": PASSWORD, "mode": "session"}
    assert code_of(browser.send_json("/auth/login/", body)) == (401, "stage_pending")
    SocialAccount.objects.create(user=bob, provider="example", uid="subject-1")
    body = {"id_token": provider.id_token(), "mode": mode, "mfa_code": totp_code()}
    response = browser.send_json("/auth/social/example/", body)
    assert code_of(response) == (401, "login_refused")
    assert not LoginSession.objects.exists()


# -- verification --------------------------------------------------------------------------


@override_settings(**VERIFICATION)
def test_an_unverified_address_holds_up_until_it_is_verified(entry_point, alice):
    page = "/accounts/confirm-email/" if entry_point.mode == "session" else None
    browser = Browser()
    assert_pending(entry_point(browser), "verify_email", page, [])
    assert len(mail.outbox) == 1
    if page:
        assert browser.get(page).status_code == 200
    link = re.search(r"/accounts/confirm-email/\S+", mail.outbox[0].body)[0]
    Browser().submit(link)
    assert EmailAddress.objects.get(user=alice).verified
    assert entry_point().status_code == 200


@override_settings(**VERIFICATION)
def test_a_sign_up_with_an_unverified_address_is_held_up_too(mode, provider):
    id_token = provider.id_token(email_verified=False)
    body = {"mode": mode, "id_token": id_token}
    response = Browser().send_json("/auth/social/example/", body)
    page = "/accounts/confirm-email/" if mode == "session" else None
    assert_pending(response, "verify_email", page, [])
    EmailAddress.objects.update(verified=True)
    assert Browser().send_json("/auth/social/example/", body).status_code == 200


@override_settings(**VERIFICATION, ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED=True)
def test_an_address_is_verified_by_code_on_its_page(cookie_entry_point, alice):
    browser = Browser()
    page = cookie_entry_point(browser).json()["continue"]["page"]
    code = re.search(r"^([A-Z0-9-]{6,})$", mail.outbox[0].body, re.MULTILINE)[1]
    browser.get(page)
    assert browser.submit(page, {"code": code}).status_code == 302
    assert (only_row().mode, only_row().method) == ("session", cookie_entry_point.method)


@override_settings(**VERIFICATION)
def test_one_who_has_an_account_is_answered_like_a_newcomer(mode, provider, alice):
    """allauth's protection against telling who has an account."""
    EmailAddress.objects.create(user=alice, email="alice@example.com", verified=True)
    id_token = provider.id_token(email="alice@example.com")
    response = Browser().send_json("/auth/social/example/", {"mode": mode, "id_token": id_token})
    assert (code_of(response), response.json()["stage"]) == ((401, "stage_pending"), "verify_email")
    assert User.objects.count() == 1


# -- sign-up -------------------------------------------------------------------------------


class InvitedForm(SignupForm):
    """A project's own form."""

    invitation = forms.CharField()

    def clean_invitation(self):
        if self.cleaned_data["invitation"] != "please":
            raise forms.ValidationError("No.", code="wrong")
        return self.cleaned_data["invitation"]

    def clean(self):
        if self.cleaned_data.get("username") == "root":
            raise forms.ValidationError("Not you.")
        return super().clean()


def sign_up(provider, mode, browser=None, **more):
    body = {"mode": mode, "id_token": provider.once, **more}
    return (browser or Browser()).send_json("/auth/social/example/", body)


@pytest.fixture
def newcomer(provider):
    provider.once = provider.id_token()
    return provider


SIGNUP_PAGE = "/accounts/3rdparty/signup/"


@override_settings(SOCIALACCOUNT_AUTO_SIGNUP=False)
def test_a_sign_up_that_is_to_be_looked_at_waits_for_its_fields(mode, newcomer):
    page = SIGNUP_PAGE if mode == "session" else None
    assert_pending(sign_up(newcomer, mode), "provider_signup", page, ["username", "email"])
    assert not User.objects.exists()
    wrong = sign_up(newcomer, mode, username="a b", email="no")
    assert code_of(wrong) == (400, "invalid")
    assert set(wrong.json()["errors"]) == {"username", "email"}
    assert not User.objects.exists()
    response = sign_up(newcomer, mode, username="chosen")
    assert response.json()["user"]["username"] == "chosen"
    assert (only_row().mode, only_row().provider_uid) == (mode, "subject-1")


@override_settings(SOCIALACCOUNT_FORMS={"signup": f"{__name__}.InvitedForm"})
@override_settings(SOCIALACCOUNT_AUTO_SIGNUP=False)
def test_the_projects_own_form_is_asked(mode, newcomer):
    page = SIGNUP_PAGE if mode == "session" else None
    assert_pending(sign_up(newcomer, mode), "provider_signup", page, ["invitation"])
    wrong = sign_up(newcomer, mode, invitation="now")
    assert wrong.json()["errors"] == {"invitation": ["No."]}
    wrong = sign_up(newcomer, mode, invitation="please", username="root")
    assert wrong.json()["errors"] == {"non_field_errors": ["Not you."]}
    assert sign_up(newcomer, mode, invitation="please").status_code == 200


@override_settings(SOCIALACCOUNT_EMAIL_REQUIRED=True)
def test_an_address_that_is_missing_is_asked_for(mode, newcomer):
    newcomer.once = newcomer.id_token(email=None)
    page = SIGNUP_PAGE if mode == "session" else None
    assert_pending(sign_up(newcomer, mode), "provider_signup", page, ["email"])
    assert sign_up(newcomer, mode, email="new@example.com").status_code == 200
    assert User.objects.get().email == "new@example.com"


@override_settings(SOCIALACCOUNT_AUTO_SIGNUP=False, AUTHMODES_DEFAULT_MODE="jwt")
def test_a_sign_up_finished_on_its_page_ends_in_the_mode_asked_for(newcomer):
    browser = Browser()
    page = sign_up(newcomer, "session", browser).json()["continue"]["page"]
    assert browser.get(page).status_code == 200
    done = browser.submit(page, {"username": "chosen", "email": "new@example.com"})
    assert done.status_code == 302
    assert (only_row().mode, only_row().method) == ("session", "socialaccount")


@pytest.mark.parametrize("value", [["x"], {"x": "x"}, None, "x" * 1_000_000, "a\x00b", "\ud800"])
@override_settings(SOCIALACCOUNT_AUTO_SIGNUP=False)
def test_a_field_of_the_form_may_be_no_more_than_a_text(value, newcomer):
    response = sign_up(newcomer, "jwt", username=value)
    assert code_of(response) == (400, "invalid")
    assert not User.objects.exists()


@pytest.mark.parametrize("name", ["a\x00", "\ud800", "x" * 100_000])
def test_a_field_of_any_name_is_answered(name, newcomer):
    response = sign_up(newcomer, "jwt", **{name: None})
    assert code_of(response) == (400, "invalid")
    assert len(response.content) < 1000


# -- any other stage -----------------------------------------------------------------------


class TermsStage(LoginStage):
    """A stage of a project's own."""

    key = "accept_terms"
    urlname = "account_inactive"

    def handle(self):
        return headed_redirect_response("account_inactive"), True


class TermsAdapter(AuthModesAccountAdapter):
    def get_login_stages(self):
        return [f"{__name__}.TermsStage"]


class RefusingAdapter(AuthModesAccountAdapter):
    def pre_login(self, request, user, **kwargs):
        return headed_redirect_response("account_login")


@override_settings(ACCOUNT_ADAPTER=f"{__name__}.TermsAdapter")
def test_a_stage_of_the_projects_own_is_named_with_its_page(entry_point):
    page = "/accounts/inactive/" if entry_point.mode == "session" else None
    assert_pending(entry_point(), "accept_terms", page, [])


@override_settings(ACCOUNT_ADAPTER=f"{__name__}.RefusingAdapter")
def test_a_login_that_a_hook_refuses_is_no_login(entry_point):
    assert code_of(entry_point()) == (401, "login_refused")
    assert not LoginSession.objects.exists()
    assert not ExpiringMark.objects.exists()


# -- what happens to the user while the login waits ----------------------------------------

HEADLESS = "/_allauth/app/v1/auth/"


class PendingLogin:
    """A login of alice's at each of the other entry points, which waits for her second factor."""

    def __init__(self, entry_point, settings):
        self.entry_point, self.browser, self.token = entry_point, Browser(), ""
        if entry_point == "headless":
            body = {"username": "alice", "password": PASSWORD}
            answer = post_json(f"{HEADLESS}login", body).json()
            self.token = answer["meta"]["session_token"]
        elif entry_point == "code_flow":
            SocialAccount.objects.create(provider="dummy", uid=UID, user=User.objects.get())
            CodeFlow(browser=self.browser).run()
        elif entry_point == "cookies":
            settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"
            settings.AUTHMODES_DEFAULT_MODE = "jwt"
            html_login(self.browser, "alice")
        else:
            body = {"username": "alice", "password": PASSWORD, "mode": "session"}
            self.browser.send_json("/auth/login/", body)

    def go_on(self):
        if self.entry_point != "headless":
            return self.browser.submit(MFA_PAGE, {"code": totp_code()})
        body, headers = {"code": totp_code()}, {"x-session-token": self.token}
        return post_json(f"{HEADLESS}2fa/authenticate", body, headers=headers)


@pytest.fixture(params=["page", "headless", "cookies", "code_flow"])
def pending_login(request, second_factor, settings):
    return PendingLogin(request.param, settings)


def assert_refused(response, status):
    assert response.status_code == status, response.content
    assert "authmodes_access" not in response.cookies
    assert b"access_token" not in response.content
    assert not LoginSession.objects.exists()
    assert not AuthorizationCode.objects.exists()


def assert_outdated(pending_login, refused):
    if pending_login.entry_point == "code_flow":
        assert_refused(refused, 302)
        assert "error_description=login_outdated" in refused.url
    else:
        assert_refused(refused, 403)
        assert b"login_outdated" in refused.content


def lock(alice):
    alice.is_active = False
    alice.save()


def nobody(user):
    return False


def change_password(alice):
    alice.set_password("another horse, another staple")
    alice.save()


def lock_for_a_moment(alice):
    lock(alice)
    User.objects.update(is_active=True)


@pytest.mark.parametrize("rule", ["is_active", "simplejwt"])
def test_who_is_locked_while_the_login_waits_is_not_signed_in(pending_login, rule, alice, settings):
    if rule == "simplejwt":
        settings.SIMPLE_JWT = {"USER_AUTHENTICATION_RULE": f"{__name__}.nobody"}
    else:
        lock(alice)
    refused = pending_login.go_on()
    assert_refused(refused, 401 if pending_login.entry_point == "headless" else 302)
    if pending_login.entry_point == "code_flow":
        assert "error_description=user_inactive" in refused.url
    elif pending_login.entry_point != "headless":
        assert refused.url == "/accounts/inactive/"


ENDINGS = [change_password, registry.revoke_user, lock_for_a_moment]


@pytest.mark.parametrize("end", ENDINGS)
def test_what_ends_all_logins_ends_the_one_that_waits(pending_login, end, alice):
    end(alice)
    refused = pending_login.go_on()
    assert_outdated(pending_login, refused)
    # And no later one.
    assert pending_login.go_on().status_code != 200
    assert not LoginSession.objects.exists()


def test_the_latest_ending_is_asked_for_once_unless_the_login_waits(
    mode, second_factor, monkeypatch
):
    asked = []
    latest = ending.latest_revocation_of
    monkeypatch.setattr(
        ending, "latest_revocation_of", lambda user: asked.append(user) or latest(user)
    )
    browser = Browser()
    login = {"username": "alice", "password": PASSWORD, "mode": mode}
    assert browser.send_json("/auth/login/", login).status_code == 401
    assert len(asked) == 1
    if mode == "session":
        assert browser.submit(MFA_PAGE, {"code": totp_code()}).status_code == 302
    else:
        answer = browser.send_json("/auth/login/", {**login, "mfa_code": totp_code()})
        assert answer.status_code == 200
    assert len(asked) == 2


@override_settings(SOCIALACCOUNT_EMAIL_AUTHENTICATION=True)
def test_a_pending_login_by_an_unverified_address_ends_when_its_owner_signs_in(
    pending_login, provider
):
    owner = Browser()
    body = {"mode": "session", "id_token": provider.id_token(email="alice@example.com")}
    # The second factor was not the owner's either.
    assert owner.send_json("/auth/social/example/", body).status_code == 200
    pending_login.go_on()
    assert owner.get(API).status_code == 200
    assert LoginSession.objects.get().provider == "example"
    assert not AuthorizationCode.objects.exists()


def test_a_login_goes_on_that_has_ended_the_others_itself(second_factor, settings, monkeypatch):
    """As one does that makes a passkey at its stage."""
    plain_save = AuthenticateForm.save

    def save(form):
        plain_save(form)
        made = Authenticator.objects.first()
        authenticator_added.send(Authenticator, request=None, user=made.user, authenticator=made)

    pending_login = PendingLogin("page", settings)
    monkeypatch.setattr(AuthenticateForm, "save", save)
    assert pending_login.go_on().status_code == 302
    assert pending_login.browser.get(API).status_code == 200


def test_a_rotated_secret_key_ends_no_login_that_waits(second_factor, settings):
    pending_login = PendingLogin("headless", settings)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the-next-key-0123456789-abcdefghijklmnopqrstuvwxyz"
    answer = pending_login.go_on()
    assert answer.status_code == 200, answer.content


@override_settings(ACCOUNT_LOGIN_ON_PASSWORD_RESET=True)
def test_a_password_reset_may_sign_in(second_factor):
    browser = Browser()
    browser.submit("/accounts/password/reset/", {"email": second_factor.email})
    (link,) = re.findall(r"/accounts/password/reset/key/\S+", mail.outbox[0].body)
    page = browser.get(link)
    browser.submit(page.url, {"password1": "a horse of iron", "password2": "a horse of iron"})
    assert browser.submit(MFA_PAGE, {"code": totp_code()}).status_code == 302
    assert browser.get(API).status_code == 200


# -- the ID token of a login that is finished on a page ------------------------------------


def replayed(id_token):
    """At the REST API, and at headless' own."""
    answer = post_json("/auth/social/example/", {"mode": "jwt", "id_token": id_token})
    token = {"client_id": CLIENT_ID, "id_token": id_token}
    body = {"provider": "example", "process": "login", "token": token}
    at_headless = post_json(f"{HEADLESS}provider/token", body)
    return [answer.status_code, at_headless.status_code]


def present_id_token(id_token, browser=None, **more):
    body = {"mode": "session", "id_token": id_token, **more}
    return (browser or Browser()).send_json("/auth/social/example/", body)


@override_settings(SOCIALACCOUNT_AUTO_SIGNUP=False)
@pytest.mark.parametrize("entry_point", ["page", "headless"])
def test_a_sign_up_finished_elsewhere_uses_its_token_up(entry_point, newcomer):
    browser = Browser()
    page = present_id_token(newcomer.once, browser).json()["continue"]["page"]
    chosen = {"username": "chosen", "email": "new@example.com"}
    if entry_point == "page":
        assert browser.submit(page, chosen).status_code == 302
    else:
        finished = browser.send_json("/_allauth/browser/v1/auth/provider/signup", chosen)
        assert finished.status_code == 200, finished.content
    assert only_row().user.username == "chosen"
    assert replayed(newcomer.once) == [401, 400]


@pytest.mark.parametrize("kind", ["login", "id_token"])
@override_settings(**VERIFICATION)
def test_a_login_for_tokens_that_waits_sets_no_cookie(kind, alice, provider):
    EmailAddress.objects.create(user=alice, email=alice.email, verified=False, primary=True)
    response = EntryPoint(kind, "jwt", alice, provider)()
    assert response.json()["stage"] == "verify_email"
    # Not even allauth's message, which names the address.
    assert not response.cookies


@pytest.mark.parametrize("jti", ["some", None])
def test_a_second_factor_given_on_its_page_uses_the_token_up(jti, second_factor, provider):
    SocialAccount.objects.create(user=second_factor, provider="example", uid="subject-1")
    id_token, browser = provider.id_token(**({} if jti else {"jti": None})), Browser()
    # Another call with it is possible as long as nothing came of it.
    assert code_of(present_id_token(id_token)) == (401, "stage_pending")
    assert code_of(present_id_token(id_token, browser)) == (401, "stage_pending")
    assert browser.submit(MFA_PAGE, {"code": totp_code()}).status_code == 302
    assert only_row().user == second_factor
    assert replayed(id_token)[0] == 401


def test_of_two_logins_by_one_token_the_first_is_it(second_factor, provider):
    SocialAccount.objects.create(user=second_factor, provider="example", uid="subject-1")
    id_token, late = provider.id_token(), Browser()
    assert code_of(present_id_token(id_token, late)) == (401, "stage_pending")
    code = RecoveryCodes.activate(second_factor).get_unused_codes()[0]
    assert present_id_token(id_token, mfa_code=code).status_code == 200
    assert late.submit(MFA_PAGE, {"code": totp_code()}).status_code == 403
    assert only_row().user == second_factor


@pytest.mark.parametrize("store", [False, True])
def test_the_providers_access_token_rests_nowhere_unless_it_is_to_be_kept(
    store, second_factor, provider, settings
):
    settings.SOCIALACCOUNT_STORE_TOKENS = store
    SocialAccount.objects.create(user=second_factor, provider="example", uid="subject-1")
    browser = Browser()
    body = {"mode": "session", **provider.code_credential()}
    assert code_of(browser.send_json("/auth/social/example/", body)) == (401, "stage_pending")
    kept = [session.get_decoded() for session in Session.objects.all()]
    assert ("provider-access-token" in json.dumps(kept)) == store
