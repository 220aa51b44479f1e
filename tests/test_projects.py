"""Projects as they are: where our URLs are included, what is left out, and what tests do."""

import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from allauth.account.forms import LoginForm
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP
from django import forms
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.base import SessionBase
from django.test import Client
from django.urls import include, path
from django.utils.module_loading import import_string
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate

from authmodes.models import LoginSession

from .support.browser import Browser
from .support.logins import PASSWORD, call_with, post_json, sign_in
from .support.mfa import SECRET

ROOT = Path(__file__).parent.parent
OURS = path("auth/", include("authmodes.urls"))
ALLAUTH = path("accounts/", include("allauth.urls"))
BODY = {"username": "alice", "password": PASSWORD, "mode": "jwt"}


@pytest.fixture
def mount(settings, request):
    """Have the project route these patterns and nothing else."""

    def make(*patterns: Any) -> None:
        name = f"urlconf_of_{request.node.name}"
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].urlpatterns = list(patterns)  # type: ignore[attr-defined]
        settings.ROOT_URLCONF = name

    return make


# -- where our URLs are included -----------------------------------------------------------


@pytest.mark.parametrize("scheme", ["URLPathVersioning", "NamespaceVersioning", None])
@pytest.mark.parametrize("nested", [False, True])
def test_our_endpoints_answer_below_any_include(scheme, nested, mount, settings, alice):
    versioning = scheme and f"rest_framework.versioning.{scheme}"
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_VERSIONING_CLASS": versioning}
    inner = include(([OURS], "accounts_api"), namespace="v1") if nested else include([OURS])
    mount(path("api/<str:version>/", inner), ALLAUTH)
    index = Client().get("/api/v1/auth/")
    assert index.status_code == 200
    assert index.json()["links"]["login"] == "/api/v1/auth/login/"
    assert index.json()["providers"][0]["url"].startswith("/api/v1/auth/social/")
    assert Client().get("/api/v1/auth/csrf/").status_code == 200
    tokens = post_json(index.json()["links"]["login"], BODY)
    assert tokens.status_code == 200
    assert call_with(tokens.json()["access"], "/api/v1/auth/user/").status_code == 200
    sid = tokens.json()["sid"]
    assert call_with(tokens.json()["access"], f"/api/v1/auth/sessions/{sid}/").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_new_login_is_announced_where_our_page_cannot_be_named(
    mount, settings, alice, mailoutbox
):
    settings.AUTHMODES_NOTIFY_NEW_LOGIN = True
    mount(path("outer/", include(([OURS], "outer"))), ALLAUTH)
    for agent in ("Mozilla/5.0 (X11) Firefox/130.0", "curl/8.0"):
        answer = post_json("/outer/auth/login/", BODY, headers={"user-agent": agent})
        assert answer.status_code == 200
    assert len(mailoutbox) == 1


@pytest.mark.parametrize("script_name", ["/app", ""])
def test_staff_reach_the_admin_in_jwt_mode_below_a_script_name(script_name, settings, admin_user):
    settings.AUTHMODES_MODE, settings.FORCE_SCRIPT_NAME = "jwt", script_name or None
    client = Client()
    fields = {"login": "root", "password": PASSWORD}
    signed_in = client.post(f"/accounts/login/?next={script_name}/admin/", fields)
    assert signed_in.status_code == 302
    assert client.get("/admin/").status_code == 200


def test_a_page_outside_the_script_name_is_not_the_admin(settings, admin_user):
    settings.AUTHMODES_MODE, settings.FORCE_SCRIPT_NAME = "jwt", "/app"
    fields = {"login": "root", "password": PASSWORD}
    assert Client().post("/accounts/login/?next=/admin/", fields).status_code == 400


# -- what is not there ---------------------------------------------------------------------


WITHOUT_SOCIAL = """
from tests import settings
settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if "socialaccount" not in app]
import django
django.setup()
from django.db import connection
from django.test import Client
from django.test.utils import setup_test_environment
setup_test_environment()
connection.creation.create_test_db(verbosity=0)
assert Client().get("/auth/").json()["providers"] == []
assert Client().get("/auth/social/").json() == []
start = Client().get("/auth/social/dummy/start/?mode=session")
assert (start.status_code, start.json()["code"]) == (404, "not_found")
print("done")
"""


def test_a_site_without_social_accounts_has_no_providers():
    # In a process of its own: an app that is taken out at run time leaves its receivers behind.
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "TEST_DATABASE": "sqlite"}
    environ.pop("TEST_DATABASE_NAME", None)
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT_SOCIAL]
    run = subprocess.run(
        command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.stdout == "done\n", run.stderr


def test_an_inactive_user_is_401_where_allauths_pages_are_not_routed(mount, alice):
    mount(OURS)
    alice.is_active = False
    alice.save()
    answer = post_json("/auth/login/", BODY)
    assert (answer.status_code, answer.json()["code"]) == (401, "user_inactive")


def test_a_second_factor_is_asked_for_where_allauths_pages_are_not_routed(mount, alice):
    mount(OURS)
    TOTP.activate(alice, SECRET)
    assert Authenticator.objects.exists()
    for mode in ("session", "jwt"):
        answer = sign_in(mode)
        assert (answer.status_code, answer.json()["code"]) == (401, "stage_pending")
        assert answer.json()["continue"] == {"page": None, "fields": ["mfa_code"]}


def test_an_unverified_address_is_asked_for_where_allauths_pages_are_not_routed(
    mount, settings, alice
):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    mount(OURS)
    answer = post_json("/auth/login/", BODY)
    assert (answer.status_code, answer.json()["code"]) == (401, "stage_pending")


# -- what tests do -------------------------------------------------------------------------


@api_view(["GET"])
def view_for_users(request):
    return Response({"username": request.user.get_username()})


@api_view(["GET"])
@permission_classes([AllowAny])
def view_for_all(request):
    return Response({})


def test_a_request_of_drfs_factory_is_anonymous(db):
    assert view_for_users(APIRequestFactory().get("/")).status_code == 401
    assert view_for_all(APIRequestFactory().get("/")).status_code == 200


def test_a_user_can_be_forced_on_a_request_of_drfs_factory(alice):
    request = APIRequestFactory().get("/")
    force_authenticate(request, alice)
    assert view_for_users(request).data == {"username": "alice"}


@pytest.mark.django_db
def test_an_error_of_ours_leaves_the_transaction_of_a_test_usable(alice):
    """Under ATOMIC_REQUESTS, DRF rolls back the innermost transaction: here, the test's own."""
    from django.db import connections

    connection = connections["default"]
    before, connection.settings_dict["ATOMIC_REQUESTS"] = (
        connection.settings_dict["ATOMIC_REQUESTS"],
        True,
    )
    try:
        assert connection.in_atomic_block
        for body in ({**BODY, "password": "wrong"}, {"password": PASSWORD}):
            assert post_json("/auth/login/", body).status_code in (400, 401)
            assert get_user_model().objects.filter(pk=alice.pk).exists()
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = before


@pytest.mark.parametrize("engine", ["db", "cached_db"])
def test_our_engines_have_no_session_without_a_key(engine, db):
    store: SessionBase = import_string(f"authmodes.sessions.{engine}.SessionStore")()
    assert store.exists(None) is False  # type: ignore[arg-type]


# -- credentials that are no credentials ---------------------------------------------------


def test_a_refresh_without_its_cookie_is_401(settings, alice):
    settings.AUTHMODES_TOKEN_TRANSPORT, settings.AUTHMODES_COOKIE_SECURE = "cookie", False
    answer = Browser().send_json("/auth/token/refresh/", {})
    assert (answer.status_code, answer.json()["code"]) == (401, "token_not_valid")


def test_a_scheme_ends_at_a_space_alone(login):
    used = login("jwt")
    for space, status in ((" ", 200), ("  ", 200), ("\u00a0", 401), ("\t", 401)):
        header = f"Bearer{space}{used.access}".encode().decode("latin-1")
        answer = Client().get("/probe/api/", HTTP_AUTHORIZATION=header)
        assert answer.status_code == status, repr(space)
        # Another scheme counts as no credential.
        challenge = answer.headers.get("WWW-Authenticate", "")
        assert "invalid_token" not in challenge


# -- rules that allauth keeps in its views and forms ---------------------------------------


@pytest.mark.parametrize("url", ["/auth/login/", "/auth/token/"])
def test_a_password_is_refused_where_only_providers_sign_in(url, settings, alice):
    settings.SOCIALACCOUNT_ONLY = True
    answer = post_json(url, BODY)
    assert (answer.status_code, answer.json()["code"]) == (403, "password_login_disabled")
    assert not LoginSession.objects.exists()


class CaptchaForm(LoginForm):
    captcha = forms.CharField()


@pytest.mark.parametrize("url", ["/auth/login/", "/auth/token/"])
def test_the_projects_own_login_form_gets_its_fields(url, settings, alice):
    settings.ACCOUNT_FORMS = {"login": "tests.test_projects.CaptchaForm"}
    assert post_json(url, {**BODY, "captcha": "ok"}).status_code == 200
    missing = post_json(url, BODY)
    assert (missing.status_code, missing.json()["code"]) == (400, "invalid")
    assert list(missing.json()["errors"]) == ["captcha"]
    wrong = post_json(url, {**BODY, "captcha": "ok", "password": "wrong"})
    assert (wrong.status_code, wrong.json()["code"]) == (401, "no_active_account")


@pytest.mark.parametrize(("remember", "until_close"), [(True, False), (False, True), (None, False)])
def test_remember_says_whether_the_cookie_ends_with_the_browser(remember, until_close, alice):
    sent = {} if remember is None else {"remember": remember}
    answer = sign_in("session", **sent)
    assert answer.status_code == 200
    assert (answer.cookies["sessionid"]["max-age"] == "") is until_close
