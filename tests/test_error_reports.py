"""Django's HTML error report of a view that is not ours has no raw token in it."""

import sys
import types

import pytest
from django.contrib.auth import logout as django_logout
from django.core.signals import got_request_exception
from django.http import JsonResponse
from django.test import Client
from django.urls import include, path
from django.views.debug import get_exception_reporter_class
from rest_framework_simplejwt.views import TokenRefreshView

from authmodes.api.serializers import TokenRefreshSerializer

from . import urls as project
from .support.browser import Browser
from .support.headless import APP, App
from .support.logins import API, post_json


def logout(request):
    django_logout(request)
    return JsonResponse({})


class OurSerializer(TokenRefreshView):
    serializer_class = TokenRefreshSerializer


urls = types.ModuleType("tests.error_reports_urls")
urls.urlpatterns = [
    path("logout/", logout),
    path("refresh/", OurSerializer.as_view()),
    path("", include(project)),
]
sys.modules[urls.__name__] = urls

pytestmark = pytest.mark.urls(urls.__name__)


def fails(*args, **kwargs):
    raise RuntimeError("a fault")


@pytest.fixture
def reports():
    """The HTML reports of the requests that have failed."""
    made = []

    def report(request, **kwargs):
        reporter = get_exception_reporter_class(request)(request, *sys.exc_info())
        made.append(reporter.get_traceback_html())

    got_request_exception.connect(report)
    yield made
    got_request_exception.disconnect(report)


@pytest.fixture
def broken(monkeypatch):
    """Break what finds the row of a token, once the logins are made."""

    def break_it():
        for found in list(sys.modules.values()):
            for name in ("find_login_session", "find_for_request"):
                if getattr(found, "__name__", "").startswith("authmodes") and hasattr(found, name):
                    monkeypatch.setattr(found, name, fails)

    return break_it


def assert_hidden(reports, *texts):
    assert reports
    for report in reports:
        assert "a fault" in report
        assert "********************" in report
        # The signature is what makes a token of the claims.
        assert not [text for text in texts if text.split(".")[-1] in report]


QUIET = {"raise_request_exception": False}


def test_a_bearer_token_is_hidden(login, broken, reports):
    access = login("jwt").access
    broken()
    client = Client(**QUIET)
    assert client.get(API, headers={"authorization": f"Bearer {access}"}).status_code == 500
    assert_hidden(reports, access)


@pytest.mark.parametrize("path", [API, "/logout/"])
def test_a_token_cookie_is_hidden(path, login, broken, reports, settings):
    settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"
    browser = Browser(**QUIET)
    login("jwt", browser=browser)
    held = [browser.cookies[f"__Host-authmodes_{kind}"].value for kind in ("access", "refresh")]
    broken()
    assert browser.get(path).status_code == 500
    assert_hidden(reports, *held)


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
def test_a_refresh_token_at_simplejwts_view_is_hidden(content_type, login, broken, reports):
    token = login("jwt").refresh_token
    broken()
    body = f"refresh={token}" if "form" in content_type else f'{{"refresh": "{token}"}}'
    assert Client(**QUIET).post("/refresh/", body, content_type).status_code == 500
    assert_hidden(reports, token)


@pytest.fixture
def app(alice):
    app = App(keeps_cookies=Client(**QUIET))
    app.login()
    return app


@pytest.mark.parametrize("name", ["_find_session", "_validate_or_end", "_decrypt"])
def test_an_apps_session_token_is_hidden(name, app, broken, reports, monkeypatch):
    monkeypatch.setattr("authmodes.strategy." + name, fails)
    token = app.session_token
    assert app.call("GET", "auth/session").status_code == 500
    assert_hidden(reports, token)


def test_an_apps_session_token_is_hidden_when_headless_own_view_fails(app, reports, monkeypatch):
    from allauth.headless.account.views import SessionView

    monkeypatch.setattr(SessionView, "get", fails)
    token = app.session_token
    assert app.call("GET", "auth/session").status_code == 500
    assert_hidden(reports, token)


def test_an_apps_refresh_token_is_hidden(app, broken, reports):
    token = app.refresh_token
    broken()
    client = Client(**QUIET)
    assert post_json(f"{APP}tokens/refresh", {"refresh_token": token}, client).status_code == 500
    assert_hidden(reports, token)


def test_the_tokens_of_a_login_that_fails_are_hidden(alice, broken, reports, monkeypatch):
    monkeypatch.setattr("authmodes.strategy.mint", fails)
    app = App(keeps_cookies=Client(**QUIET))
    assert app.login().status_code == 500
    assert_hidden(reports)


def test_with_debug_on_the_report_shows_everything(login, broken, reports, settings):
    access = login("jwt").access
    broken()
    settings.DEBUG = True
    client = Client(**QUIET)
    assert client.get(API, headers={"authorization": f"Bearer {access}"}).status_code == 500
    assert access.split(".")[-1] in reports[0]
