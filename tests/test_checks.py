"""Each misconfiguration has its check, and a sound project has none."""

import io
import logging
from datetime import timedelta
from types import SimpleNamespace

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
from django.views.decorators.cache import never_cache
from rest_framework.authentication import SessionAuthentication
from rest_framework.decorators import api_view
from rest_framework.generics import GenericAPIView
from rest_framework_simplejwt import serializers as simplejwt_serializers
from rest_framework_simplejwt import views as simplejwt

from authmodes.adapter import AuthModesAdapterMixin
from authmodes.api import serializers
from authmodes.authentication import AuthModesAuthentication
from authmodes.checks import deployment, installation
from authmodes.checks.installation import check_headless_strategy
from authmodes.strategy import AuthModesTokenStrategy

MIDDLEWARE = "authmodes.middleware.LoginSessionMiddleware"
BASIC = "rest_framework.authentication.BasicAuthentication"
OURS = "authmodes.authentication.AuthModesAuthentication"
HEADLESS = "allauth.headless.tokens.strategies"


class ForeignAdapter(DefaultAccountAdapter):
    """An adapter of a project that never heard of us."""


class ExtendedStrategy(AuthModesTokenStrategy):
    """A strategy of a project that extends ours."""


class MixedAdapter(AuthModesAdapterMixin, DefaultAccountAdapter):
    """An adapter of a project that mixed ours in."""


class OwnSessionAuthentication(SessionAuthentication):
    """A subclass that is no better than what it is made from."""


class OwnAuthentication(AuthModesAuthentication):
    """A subclass of ours."""


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
        ("SESSION_COOKIE_SAMESITE", "Strict", "authmodes.W012"),
        ("SESSION_COOKIE_AGE", 31 * 86400, "authmodes.W013"),
        ("SIMPLE_JWT", {"REFRESH_TOKEN_LIFETIME": timedelta(days=31)}, "authmodes.W013"),
        ("AUTHMODES_ABSOLUTE_LIFETIME", timedelta(days=7), "authmodes.W013"),
        (
            "REST_FRAMEWORK",
            {"DEFAULT_AUTHENTICATION_CLASSES": [BASIC, OURS]},
            "authmodes.W014",
        ),
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
    from authmodes.checks.installation import check_token_blacklist

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
        callback = view.as_view() if isinstance(view, type) else view
        self.urlpatterns = [path("token/refresh/", callback)]


@pytest.mark.parametrize("view", [simplejwt.TokenRefreshView, simplejwt.TokenObtainPairView])
def test_simplejwts_own_view_beside_ours_is_an_error(view):
    with override_settings(ROOT_URLCONF=Routes(view)):
        clear_url_caches()
        assert "authmodes.E006" in found()
    clear_url_caches()


class OwnRefreshView(simplejwt.TokenRefreshView):
    """A project's, with a throttle or a schema of its own."""


class OwnMethodView(simplejwt.TokenRefreshView):
    def get_serializer_class(self):
        return serializers.TokenRefreshSerializer


class OwnMethodOfARequestView(simplejwt.TokenRefreshView):
    def get_serializer_class(self):
        return self.request.version and super().get_serializer_class()


class OwnBlacklistView(simplejwt.TokenBlacklistView):
    pass


class OwnGenericView(GenericAPIView):
    serializer_class = simplejwt_serializers.TokenRefreshSerializer


class CookieRefreshSerializer(simplejwt_serializers.TokenRefreshSerializer):
    """As in dj-rest-auth, whose refresh view is a subclass too."""


class ViewWithASettingOfItsOwn(simplejwt.TokenViewBase):
    _serializer_class = "rest_framework_simplejwt.serializers.TokenObtainPairSerializer"


@api_view(["GET"])
def a_function(request):
    raise NotImplementedError


def found_with(callback):
    with override_settings(ROOT_URLCONF=Routes(callback)):
        clear_url_caches()
        try:
            return found()
        finally:
            clear_url_caches()


@pytest.mark.parametrize(
    "callback",
    [
        OwnRefreshView.as_view(),
        never_cache(OwnRefreshView.as_view()),
        OwnBlacklistView.as_view(),
        OwnMethodOfARequestView.as_view(),
        OwnGenericView.as_view(),
        ViewWithASettingOfItsOwn.as_view(),
        simplejwt.TokenObtainSlidingView.as_view(),
        simplejwt.TokenRefreshSlidingView.as_view(),
        simplejwt.TokenRefreshView.as_view(serializer_class=CookieRefreshSerializer),
        GenericAPIView.as_view(serializer_class=CookieRefreshSerializer),
    ],
)
def test_a_view_that_works_as_simplejwts_is_an_error(callback):
    assert "authmodes.E006" in found_with(callback)


@pytest.mark.parametrize(
    "callback",
    [
        OwnRefreshView.as_view(serializer_class=serializers.TokenRefreshSerializer),
        OwnBlacklistView.as_view(serializer_class=serializers.TokenBlacklistSerializer),
        GenericAPIView.as_view(serializer_class=OwnObtainSerializer),
        OwnMethodView.as_view(),
        simplejwt.TokenVerifyView.as_view(),
        GenericAPIView.as_view(),
        a_function,
    ],
)
def test_a_view_with_our_serializers_or_none_of_simplejwts_is_accepted(callback):
    assert "authmodes.E006" not in found_with(callback)


@pytest.mark.parametrize("name", ["LoginView", "RegisterView"])
@pytest.mark.parametrize("use_jwt", [True, False])
def test_the_views_of_dj_rest_auth_that_issue_tokens_are_an_error(name, use_jwt):
    theirs = type(name, (GenericAPIView,), {"__module__": "dj_rest_auth.views"})
    social = type("SocialLoginView", (theirs,), {"__module__": "project.views"})
    with override_settings(REST_AUTH={"USE_JWT": use_jwt}):
        for view in (theirs, social):
            assert ("authmodes.E006" in found_with(view.as_view())) is use_jwt


class ClaimsSerializer(simplejwt_serializers.TokenObtainPairSerializer):
    @classmethod
    def get_token(cls, user):
        return super().get_token(user)


class OwnClaimsSerializer(serializers.TokenObtainPairSerializer):
    @classmethod
    def get_token(cls, user):
        return super().get_token(user)


@pytest.mark.parametrize("name", ["ClaimsSerializer", "OwnClaimsSerializer"])
def test_an_overridden_get_token_is_told_of(name):
    with override_settings(SIMPLE_JWT={"TOKEN_OBTAIN_SERIALIZER": f"{__name__}.{name}"}):
        assert "authmodes.W011" in found()
    routed = simplejwt.TokenObtainPairView.as_view(serializer_class=globals()[name])
    assert "authmodes.W011" in found_with(routed)


@pytest.mark.parametrize(
    "changed",
    [
        {"INSTALLED_APPS": [*settings.INSTALLED_APPS, "django_tenants"]},
        {"INSTALLED_APPS": [*settings.INSTALLED_APPS, "tenant_schemas"]},
        {"DATABASE_ROUTERS": ["django_tenants.routers.TenantSyncRouter"]},
        {"MIDDLEWARE": ["django_tenants.middleware.TenantMainMiddleware"]},
        {"DATABASES": {"default": {"ENGINE": "django_tenants.postgresql_backend"}}},
        {"TENANT_MODEL": "customers.Client"},
    ],
)
@pytest.mark.parametrize("check", ["database", "snapshot", "none"])
def test_tenants_with_schemas_of_their_own_need_the_row(check, changed):
    # The apps are not installed here, so the check is asked directly.
    names = {f"{name}": value for name, value in changed.items() if name != "TENANT_MODEL"}
    project = SimpleNamespace(
        **{
            "INSTALLED_APPS": settings.INSTALLED_APPS,
            "MIDDLEWARE": settings.MIDDLEWARE,
            "DATABASE_ROUTERS": [],
            "DATABASES": settings.DATABASES,
            **names,
        }
    )
    if "TENANT_MODEL" in changed:
        project.TENANT_MODEL = changed["TENANT_MODEL"]
    with (
        override_settings(AUTHMODES_ACCESS_TOKEN_CHECK=check),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(installation, "settings", project)
        ids = [error.id for error in installation.check_tenants(None)]
    assert ids == ([] if check == "database" else ["authmodes.E011"])


def test_one_schema_may_do_without_the_row():
    with override_settings(AUTHMODES_ACCESS_TOKEN_CHECK="snapshot"):
        assert found() == set()


@pytest.mark.parametrize("name", ["id", "pk", "email"])
def test_a_field_of_the_user_model_may_name_the_user(name):
    with override_settings(SIMPLE_JWT={"USER_ID_FIELD": name}):
        assert "authmodes.E012" not in found()


@pytest.mark.parametrize("name", ["uuid", "login_sessions", "get_username", "", None])
def test_a_name_that_is_no_field_of_the_user_model_is_an_error(name):
    with override_settings(SIMPLE_JWT={"USER_ID_FIELD": name}):
        assert "authmodes.E012" in found()


def test_a_strict_session_cookie_is_no_matter_without_social_login():
    remaining = [app for app in settings.INSTALLED_APPS if "socialaccount" not in app]
    with override_settings(SESSION_COOKIE_SAMESITE="Strict", INSTALLED_APPS=remaining):
        assert list(installation.check_session_cookie_samesite(None)) == []


def test_a_lifetime_of_a_mode_that_is_off_is_no_matter():
    with override_settings(AUTHMODES_MODE="jwt", SESSION_COOKIE_AGE=10**8):
        assert "authmodes.W013" not in found()
    long = {"REFRESH_TOKEN_LIFETIME": timedelta(days=31)}
    with override_settings(AUTHMODES_MODE="session", SIMPLE_JWT=long):
        assert "authmodes.W013" not in found()


def test_a_class_made_from_ours_may_come_first():
    classes = [f"{__name__}.OwnAuthentication", BASIC]
    with override_settings(REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": classes}):
        assert "authmodes.W014" not in found()


@pytest.mark.parametrize(
    ("serializer", "is_error"),
    [(f"{__name__}.OwnObtainSerializer", False), ("nowhere.to_be.Found", True)],
)
def test_simplejwts_view_is_accepted_with_a_serializer_made_from_ours(
    monkeypatch, serializer, is_error
):
    # Here simplejwt keeps its setting, which it reads at import.
    monkeypatch.setattr(simplejwt.TokenObtainPairView, "_serializer_class", serializer)
    callback = simplejwt.TokenObtainPairView.as_view()
    assert ("authmodes.E006" in found_with(callback)) is is_error


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


BACKENDS = "django.core.cache.backends"


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        (f"{BACKENDS}.locmem.LocMemCache", True),
        (f"{BACKENDS}.dummy.DummyCache", True),
        ("tests.support.caches.UnreachableCache", True),
        (f"{BACKENDS}.db.DatabaseCache", False),
        (f"{BACKENDS}.redis.RedisCache", False),
    ],
)
def test_a_cache_that_processes_do_not_share_is_told_of(backend, expected):
    with override_settings(CACHES={"default": {"BACKEND": backend, "LOCATION": "redis://none"}}):
        assert ("authmodes.W021" in found(deploy=True)) is expected
        assert "authmodes.W021" not in found()


REDIS = {"BACKEND": f"{BACKENDS}.redis.RedisCache", "LOCATION": "redis://127.0.0.1"}
LOCAL = {"BACKEND": f"{BACKENDS}.locmem.LocMemCache"}


@pytest.mark.parametrize(
    ("project", "expected"),
    [
        ({"CACHES": {"default": REDIS}}, True),
        ({"CACHES": {"default": {**REDIS, "OPTIONS": {"db": 3}}}}, True),
        ({"CACHES": {"default": {**REDIS, "OPTIONS": {"socket_timeout": 1}}}}, False),
        ({"CACHES": {"default": {**REDIS, "LOCATION": "redis://x?socket_timeout=1"}}}, False),
        # As django-redis names it.
        ({"CACHES": {"default": {**REDIS, "OPTIONS": {"SOCKET_TIMEOUT": 1}}}}, False),
        ({"CACHES": {"default": LOCAL, "other": REDIS}}, False),
        ({"CACHES": {"default": LOCAL, "other": REDIS}, "SESSION_CACHE_ALIAS": "other"}, True),
        ({"CACHES": {"default": LOCAL}}, False),
    ],
)
def test_a_redis_without_a_timeout_is_told_of(project, expected, monkeypatch):
    monkeypatch.setattr(deployment, "_redis_waits_for_ever", lambda: True)
    with override_settings(**project):
        assert ("authmodes.W022" in found(deploy=True)) is expected
        assert "authmodes.W022" not in found()


def test_a_redis_client_with_a_timeout_of_its_own_needs_none(monkeypatch):
    for default in (None, 5):
        monkeypatch.setattr(
            "redis.Connection", lambda default=default: SimpleNamespace(socket_timeout=default)
        )
        with override_settings(CACHES={"default": REDIS}):
            assert ("authmodes.W022" in found(deploy=True)) is (default is None)


def hints() -> set[str]:
    return {message.id for message in run_checks(include_deployment_checks=True)}


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ("django.contrib.sessions.backends.db", True),
        ("django.contrib.sessions.backends.cached_db", True),
        ("django.contrib.sessions.backends.cache", True),
        ("authmodes.sessions.db", False),
        ("authmodes.sessions.cached_db", False),
    ],
)
def test_an_engine_that_stores_session_keys_is_told_of(engine, expected):
    with override_settings(SESSION_ENGINE=engine):
        assert ("authmodes.I002" in hints()) is expected


@pytest.mark.parametrize(
    ("level", "handler", "expected"),
    [
        (logging.INFO, logging.NOTSET, False),
        (logging.DEBUG, logging.INFO, False),
        (logging.WARNING, logging.NOTSET, True),
        (logging.INFO, logging.WARNING, True),
        (logging.INFO, None, True),
    ],
)
def test_a_log_that_hides_who_signs_in_is_told_of(level, handler, expected, monkeypatch, caplog):
    logger = logging.getLogger("authmodes")
    handlers = [] if handler is None else [logging.NullHandler(handler)]
    monkeypatch.setattr(logger, "handlers", handlers)
    # What pytest adds to the root logger is not the project's.
    monkeypatch.setattr(logger, "propagate", False)
    caplog.set_level(level, logger="authmodes")
    assert ("authmodes.I003" in hints()) is expected


def test_a_log_that_hides_nothing_may_be_the_root_loggers(monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.NullHandler()])
    caplog.set_level(logging.INFO)
    assert "authmodes.I003" not in hints()


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
    monkeypatch.setattr(installation, "NEWEST_TESTED", tested)
    monkeypatch.setattr(installation, "version", {**tested, package: installed}.__getitem__)
    found = [message for message in run_checks() if message.id == "authmodes.I001"]
    assert [f"{package} {installed}" in message.msg for message in found] == [True] * is_found


def test_an_error_stops_the_check_command():
    with override_settings(AUTHMODES_MODE="cookies"), pytest.raises(SystemCheckError):
        call_command("check", stdout=io.StringIO(), stderr=io.StringIO())
