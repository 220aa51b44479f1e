"""Try every entry point, mode and stage in the table of docs/entry-points.md."""

import json
import re
from pathlib import Path

import pytest
from allauth.account.decorators import secure_admin_login
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import TOTP
from allauth.socialaccount.models import SocialAccount
from django.contrib import admin
from django.core import mail
from django.test import Client
from django.urls import path
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from authmodes.models import AuthorizationCode, LoginSession

from .support.authorization_code import CodeFlow, redirect_query
from .support.browser import Browser
from .support.headless import App
from .support.logins import API, PASSWORD, UID, call_with
from .support.mfa import SECRET, totp_code
from .urls import urlpatterns as project_urlpatterns

PAGE = Path(__file__).parent.parent / "docs" / "entry-points.md"
STAGES = ("nothing", "second factor", "unverified address", "inactive user", "sign-up")
MFA_PAGE, SIGNUP_PAGE = "/accounts/2fa/authenticate/", "/accounts/3rdparty/signup/"
NEWCOMER = {"username": "newcomer", "email": "new@example.com"}


def cells():
    """(entry_point, mode, stage, what the page says) of each cell that says something."""
    rows = re.findall(r"^\| ([^|]+?) \| `(session|jwt)` \|(.+)\|$", PAGE.read_text(), re.MULTILINE)
    return [
        (entry_point.strip("`"), mode, stage, cell.strip())
        for entry_point, mode, rest in rows
        for stage, cell in zip(STAGES, rest.split("|"), strict=True)
        if cell.strip()
    ]


def dummy_token():
    # What the dummy provider takes for an ID token.
    return json.dumps({"id": int(UID)})


class EntryPoint:
    """An entry point as one client uses it; `tokens` is the access token that it was given."""

    def __init__(self, mode):
        self.mode, self.browser, self.tokens = mode, Browser(), ""

    def holds(self):
        """What opens the API by now."""
        if self.tokens and call_with(self.tokens).status_code == 200:
            return "tokens"
        if self.browser.get(API).status_code != 200:
            return "nothing"
        token = self.browser.cookies.get("authmodes_access")
        return "tokens" if token is not None and token.value else "cookie"

    def second_factor(self):
        self.browser.get(MFA_PAGE)
        self.note(self.browser.submit(MFA_PAGE, {"code": totp_code()}))

    def sign_up(self):
        self.browser.get(SIGNUP_PAGE)
        self.note(self.browser.submit(SIGNUP_PAGE, NEWCOMER))

    def note(self, response):
        """Keep what an answer gave."""


class Rest(EntryPoint):
    """A call of our own, which is made again with what a stage asks for."""

    path, is_social = "login/", False

    def enter(self, **more):
        who = {"username": "alice", "password": PASSWORD}
        body = {**({"id_token": dummy_token()} if self.is_social else who), "mode": self.mode}
        response = self.browser.send_json(f"/auth/{self.path}", {**body, **more})
        self.tokens = response.json().get("access", "")

    def second_factor(self):
        self.enter(mfa_code=totp_code())

    def sign_up(self):
        self.enter(**NEWCOMER)


class Token(Rest):
    path = "token/"


class SocialToken(Rest):
    path, is_social = "social/dummy/", True


class SocialStart(EntryPoint):
    """The redirect to a provider and back."""

    def enter(self):
        self.code_flow = CodeFlow(browser=self.browser)
        if self.mode == "jwt":
            started = self.code_flow.start()
        else:
            started = self.browser.submit("/auth/social/dummy/start/?mode=session")
        self.note(self.browser.submit(started.url, {"id": UID}))

    def note(self, response):
        if response.status_code == 302 and "code=" in response.url:
            self.code_flow.code = redirect_query(response)["code"]
            self.tokens = self.code_flow.exchange().json()["access_token"]


class AllauthsPage(EntryPoint):
    def enter(self):
        self.browser.get("/accounts/login/")
        form = {"login": "alice", "password": PASSWORD, "mode": self.mode}
        self.browser.submit("/accounts/login/", form)


class Admin(EntryPoint):
    def enter(self):
        page = self.browser.get("/admin/", follow=True)
        form = {"login": "alice", "password": PASSWORD, "next": "/admin/"}
        self.browser.submit(page.redirect_chain[-1][0].partition("?")[0], form)


class HeadlessBrowser(EntryPoint):
    def __init__(self, mode):
        super().__init__(mode)
        self.is_newcomer = not SocialAccount.objects.exists()

    def call(self, path, data):
        return self.browser.send_json(f"/_allauth/browser/v1/{path}", data)

    def enter(self):
        token = {"client_id": "", "id_token": dummy_token()}
        if self.is_newcomer:
            provider_token = {"provider": "dummy", "process": "login", "token": token}
            self.call("auth/provider/token", provider_token)
        else:
            self.call("auth/login", {"username": "alice", "password": PASSWORD})

    def second_factor(self):
        self.call("auth/2fa/authenticate", {"code": totp_code()})

    def sign_up(self):
        self.call("auth/provider/signup", NEWCOMER)


class HeadlessApp(HeadlessBrowser):
    def __init__(self, mode):
        super().__init__(mode)
        self.app = App()

    def call(self, path, data):
        response = self.app.post(path, data)
        self.tokens = self.app.access
        return response


ENTRY_POINTS = {
    "login/": Rest,
    "token/": Token,
    "social/<provider>/": SocialToken,
    "social/<provider>/start/": SocialStart,
    "allauth's page": AllauthsPage,
    "headless, browser": HeadlessBrowser,
    "headless, app": HeadlessApp,
    "the admin": Admin,
}


class Routes:
    """The project's, with the admin's as they are now."""

    def __init__(self):
        self.urlpatterns = [path("admin/", admin.site.urls), *project_urlpatterns]


@pytest.fixture
def who(alice, settings, monkeypatch):
    """Bring alice, or a user without an account yet, to a stage."""
    monkeypatch.setattr(admin.site, "login", secure_admin_login(admin.site.login))
    settings.ROOT_URLCONF = Routes()
    alice.is_staff = True
    alice.save()

    def prepare(stage):
        if stage == "sign-up":
            settings.SOCIALACCOUNT_AUTO_SIGNUP = False
            return
        SocialAccount.objects.create(user=alice, provider="dummy", uid=UID)
        if stage == "second factor":
            settings.MFA_TOTP_TOLERANCE = 1
            TOTP.activate(alice, SECRET)
        elif stage == "unverified address":
            settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
        elif stage == "inactive user":
            alice.is_active = False
            alice.save()

    return prepare


def verify_address_and_enter_again(entry_point):
    """The link in the mail is opened by whichever browser the mail is read in."""
    link = re.search(r"/accounts/confirm-email/\S+", mail.outbox[-1].body)[0]
    Browser().submit(link)
    assert EmailAddress.objects.get().verified
    entry_point.enter()


def outcome(entry_point, stage):
    """What becomes of a login, in the words of the table."""
    entry_point.enter()
    held = entry_point.holds()
    if stage == "nothing":
        return held
    assert held == "nothing"
    for made in (LoginSession, OutstandingToken, AuthorizationCode):
        assert not made.objects.exists()
    if stage == "inactive user":
        return "refused"
    go_on = {
        "second factor": lambda: entry_point.second_factor(),
        "unverified address": lambda: verify_address_and_enter_again(entry_point),
        "sign-up": lambda: entry_point.sign_up(),
    }
    go_on[stage]()
    return f"waits, then {entry_point.holds()}"


def test_the_table_has_every_entry_point():
    assert {entry_point for entry_point, *_ in cells()} == set(ENTRY_POINTS)
    assert len(cells()) == 54


@pytest.mark.parametrize(
    ("name", "mode", "stage", "said"), cells(), ids=lambda value: value.replace(" ", "_")
)
def test_an_entry_point_ends_as_the_table_says(name, mode, stage, said, who, settings):
    if (name, mode) == ("allauth's page", "jwt"):
        settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"
        settings.AUTHMODES_COOKIE_SECURE = False
    who(stage)
    assert outcome(ENTRY_POINTS[name](mode), stage) == said
    assert LoginSession.objects.count() == (0 if said == "refused" else 1)


@pytest.mark.parametrize(("is_staff", "status"), [(True, 200), (False, 302)])
def test_in_jwt_mode_allauths_page_lets_staff_into_the_admin_and_nobody_anywhere_else(
    who, alice, settings, is_staff, status
):
    settings.AUTHMODES_MODE = "jwt"
    alice.is_staff = alice.is_superuser = is_staff
    alice.save()
    entry_point = Admin("session")
    entry_point.enter()
    assert entry_point.browser.get("/admin/").status_code == status
    assert entry_point.holds() == "nothing"
    assert LoginSession.objects.count() == is_staff


@pytest.mark.parametrize(
    "url", ["//evil.example/admin/", "https://evil.example/admin/", "/nowhere/"]
)
def test_only_the_way_to_the_admin_is_one(who, alice, settings, url):
    settings.AUTHMODES_MODE = "jwt"
    browser = Browser()
    browser.get("/accounts/login/")
    form = {"login": "alice", "password": PASSWORD, "next": url}
    assert browser.submit("/accounts/login/", form).status_code == 400
    assert not LoginSession.objects.exists()


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_the_start_page_answers_no_options(accept, db):
    response = Client().options("/auth/social/dummy/start/", headers={"accept": accept})
    assert response.status_code == 405
