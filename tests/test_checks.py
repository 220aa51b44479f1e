"""Each misconfiguration has its check, and a sound project has none."""

import io

import pytest
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.decorators import secure_admin_login
from django.conf import settings
from django.contrib import admin
from django.core import checks
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings
from django.urls import clear_url_caches, path
from rest_framework.authentication import SessionAuthentication
from rest_framework_simplejwt import views as simplejwt

from authmodes import checks as checks_module
from authmodes.adapter import AuthModesAdapterMixin
from authmodes.api import serializers
from authmodes.checks import check_headless_strategy
from authmodes.strategy import AuthModesTokenStrategy

MIDDLEWARE = "authmodes.middleware.LoginSessionMiddleware"
HEADLESS = "allauth.headless.tokens.strategies"


class ForeignAdapter(DefaultAccountAdapter):
    """An adapter of a project that never heard of us."""


class ExtendedStrategy(AuthModesTokenStrategy):
    """A strategy of a project that extends ours."""


class MixedAdapter(AuthModesAdapterMixin, DefaultAccountAdapter):
    """An adapter of a project that mixed ours in."""


class OwnSessionAuthentication(SessionAuthentication):
    """A subclass that is no better than what it is made from."""


class OwnObtainSerializer(serializers.TokenObtainPairSerializer):
    """A project's own, made from ours."""


def found(deploy: bool = False) -> set[str]:
    messages = run_checks(include_deployment_checks=deploy)
    # The suite also runs with releases that are newer than the tested ones (I001).
    ids = {message.id for message in messages if message.level > checks.INFO}
    return {id_ for id_ in ids if id_.startswith("authmodes.")}


def without_middleware() -> list[str]:
    return [name for name in settings.MIDDLEWARE if name != MIDDLEWARE]


def test_a_sound_project_has_no_findings():
    assert found() == set()


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("AUTHMODES_MODE", "cookies", "authmodes.E001"),
        ("AUTHMODES_DEFAULT_MODE", "both", "authmodes.E001"),
        ("AUTHMODES_ABSOLUTE_LIFETIME", 3600, "authmodes.E001"),
        ("AUTHMODES_REDIRECT_URIS", "https://spa.example/", "authmodes.E001"),
        ("AUTHMODES_CLAIMS", "nowhere.to_be.found", "authmodes.E001"),
        ("ACCOUNT_ADAPTER", f"{__name__}.ForeignAdapter", "authmodes.E003"),
        (
            "SOCIALACCOUNT_ADAPTER",
            "allauth.socialaccount.adapter.DefaultSocialAccountAdapter",
            "authmodes.W020",
        ),
        ("SESSION_ENGINE", "django.contrib.sessions.backends.signed_cookies", "authmodes.E005"),
        ("AUTHMODES_REDIRECT_URIS", [], "authmodes.W001"),
        (
            "REST_FRAMEWORK",
            {
                "DEFAULT_AUTHENTICATION_CLASSES": [
                    "rest_framework_simplejwt.authentication.JWTAuthentication"
                ]
            },
            "authmodes.W003",
        ),
        # DRF's own default when a project names none has one as well.
        ("REST_FRAMEWORK", {}, "authmodes.W003"),
        (
            "REST_FRAMEWORK",
            {"DEFAULT_AUTHENTICATION_CLASSES": [f"{__name__}.OwnSessionAuthentication"]},
            "authmodes.W003",
        ),
        ("SIMPLE_JWT", {"TOKEN_TYPE_CLAIM": None}, "authmodes.E007"),
        ("REST_FRAMEWORK", {"DEFAULT_THROTTLE_RATES": {"authmodes": "5"}}, "authmodes.E009"),
        ("HEADLESS_TOKEN_STRATEGY", f"{HEADLESS}.sessions.SessionTokenStrategy", "authmodes.W008"),
        ("HEADLESS_TOKEN_STRATEGY", f"{HEADLESS}.jwt.JWTTokenStrategy", "authmodes.W008"),
    ],
)
def test_a_misconfiguration_has_its_check(setting, value, expected):
    with override_settings(**{setting: value}):
        assert expected in found()


def test_a_missing_middleware_is_an_error():
    with override_settings(MIDDLEWARE=without_middleware()):
        assert "authmodes.E002" in found()


def test_a_middleware_before_authentication_is_an_error():
    with override_settings(MIDDLEWARE=[MIDDLEWARE, *without_middleware()]):
        assert "authmodes.E002" in found()


def test_a_project_without_the_token_blacklist_is_told_so():
    # The models cannot even be loaded without it, so the check is asked directly.
    from authmodes.checks import check_token_blacklist

    remaining = [app for app in settings.INSTALLED_APPS if "token_blacklist" not in app]
    assert list(check_token_blacklist(None)) == []
    from django.apps import apps

    original = apps.is_installed
    try:
        apps.is_installed = lambda name: name in remaining
        assert [error.id for error in check_token_blacklist(None)] == ["authmodes.E004"]
    finally:
        apps.is_installed = original


def test_an_adapter_with_the_mixin_is_accepted():
    with override_settings(ACCOUNT_ADAPTER=f"{__name__}.MixedAdapter"):
        assert "authmodes.E003" not in found()


@pytest.mark.parametrize(
    "changed",
    [
        {"HEADLESS_TOKEN_STRATEGY": f"{__name__}.ExtendedStrategy"},
        # No token is handed out there.
        {
            "HEADLESS_TOKEN_STRATEGY": f"{HEADLESS}.sessions.SessionTokenStrategy",
            "HEADLESS_CLIENTS": ("browser",),
        },
    ],
)
def test_a_strategy_that_leaves_nothing_out_of_reach_is_accepted(changed):
    with override_settings(**changed):
        assert "authmodes.W008" not in found()


def test_a_project_without_headless_needs_no_strategy():
    remaining = [app for app in settings.INSTALLED_APPS if app != "allauth.headless"]
    foreign = f"{HEADLESS}.sessions.SessionTokenStrategy"
    with override_settings(INSTALLED_APPS=remaining, HEADLESS_TOKEN_STRATEGY=foreign):
        assert list(check_headless_strategy(None)) == []


def test_token_cookies_that_are_not_secure_are_warned_about():
    with override_settings(AUTHMODES_TOKEN_TRANSPORT="cookie", AUTHMODES_COOKIE_SECURE=False):
        assert "authmodes.W002" in found()


class Routes:
    """A URLconf that also routes simplejwt's own refresh view."""

    def __init__(self, view):
        self.urlpatterns = [path("token/refresh/", view.as_view())]


@pytest.mark.parametrize("view", [simplejwt.TokenRefreshView, simplejwt.TokenObtainPairView])
def test_simplejwts_own_view_beside_ours_is_an_error(view):
    with override_settings(ROOT_URLCONF=Routes(view)):
        clear_url_caches()
        assert "authmodes.E006" in found()
    clear_url_caches()


def test_simplejwts_view_with_a_serializer_made_from_ours_is_accepted():
    named = {"TOKEN_OBTAIN_SERIALIZER": f"{__name__}.OwnObtainSerializer"}
    with override_settings(ROOT_URLCONF=Routes(simplejwt.TokenObtainPairView), SIMPLE_JWT=named):
        clear_url_caches()
        assert "authmodes.E006" not in found()
    clear_url_caches()


def test_a_serializer_that_is_not_there_is_no_traceback():
    named = {"TOKEN_OBTAIN_SERIALIZER": "nowhere.to_be.Found"}
    with override_settings(ROOT_URLCONF=Routes(simplejwt.TokenObtainPairView), SIMPLE_JWT=named):
        clear_url_caches()
        assert "authmodes.E006" in found()
    clear_url_caches()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"SIMPLE_JWT": {"SIGNING_KEY": "short"}}, "authmodes.W004"),
        ({"SIMPLE_JWT": {"SIGNING_KEY": "k" * 40, "ALGORITHM": "HS512"}}, "authmodes.W004"),
        ({"AUTHMODES_REDIRECT_URIS": ["http://spa.example/"]}, "authmodes.W005"),
        ({"SESSION_COOKIE_SECURE": False}, "authmodes.W006"),
        ({"ACCOUNT_REAUTHENTICATION_REQUIRED": False}, "authmodes.W007"),
    ],
)
def test_what_is_unsafe_in_deployment_is_found_there_only(changed, expected):
    with override_settings(**changed):
        assert expected in found(deploy=True)
        assert expected not in found()


def test_a_project_that_asks_for_a_recent_login_is_not_warned():
    with override_settings(ACCOUNT_REAUTHENTICATION_REQUIRED=True):
        assert "authmodes.W007" not in found(deploy=True)


def test_an_admin_that_asks_for_no_second_factor_is_found_in_deployment(monkeypatch):
    assert "authmodes.W009" in found(deploy=True)
    assert "authmodes.W009" not in found()
    monkeypatch.setattr(admin.site, "login", secure_admin_login(admin.site.login))
    assert "authmodes.W009" not in found(deploy=True)


@pytest.mark.parametrize(
    ("package", "installed", "is_found"),
    [
        ("django-allauth", "65.22.9", False),
        ("django-allauth", "65.23.0", True),
        ("django-allauth", "66.0.0", True),
        ("djangorestframework-simplejwt", "5.5.1", False),
        ("djangorestframework-simplejwt", "5.5.2", True),
        ("djangorestframework-simplejwt", "5.10.0", True),
    ],
)
def test_a_release_that_was_not_tested_is_told_of(monkeypatch, package, installed, is_found):
    tested = {"django-allauth": "65.22", "djangorestframework-simplejwt": "5.5.1"}
    monkeypatch.setattr(checks_module, "NEWEST_TESTED", tested)
    monkeypatch.setattr(checks_module, "version", {**tested, package: installed}.__getitem__)
    found = [message for message in run_checks() if message.id == "authmodes.I001"]
    assert [f"{package} {installed}" in message.msg for message in found] == [True] * is_found


def test_an_error_stops_the_check_command():
    with override_settings(AUTHMODES_MODE="cookies"), pytest.raises(SystemCheckError):
        call_command("check", stdout=io.StringIO(), stderr=io.StringIO())
