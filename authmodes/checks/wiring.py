"""How authmodes is put into a project: its own parts in place, and nobody else's in their way."""

from collections.abc import Iterable, Iterator
from typing import Any

from allauth.account.adapter import get_adapter
from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.module_loading import import_string
from rest_framework.authentication import SessionAuthentication
from rest_framework.settings import api_settings
from rest_framework_simplejwt import views as simplejwt_views
from rest_framework_simplejwt.authentication import JWTAuthentication

from .. import serializers
from ..adapter import AuthModesAdapterMixin
from ..conf import simple_jwt
from .base import Apps

MIDDLEWARE = "authmodes.middleware.LoginSessionMiddleware"
AUTHENTICATION_MIDDLEWARE = "django.contrib.auth.middleware.AuthenticationMiddleware"
TOKEN_BLACKLIST = "rest_framework_simplejwt.token_blacklist"


def check_middleware(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    """E002: without the middleware, limits and revocation of a cookie login are not enforced."""
    listed = list(settings.MIDDLEWARE)
    if MIDDLEWARE not in listed:
        yield Error(
            f"{MIDDLEWARE!r} is missing from MIDDLEWARE.",
            hint="Add it after AuthenticationMiddleware.",
            id="authmodes.E002",
        )
    elif AUTHENTICATION_MIDDLEWARE not in listed[: listed.index(MIDDLEWARE)]:
        yield Error(
            f"{MIDDLEWARE!r} stands before AuthenticationMiddleware in MIDDLEWARE.",
            hint="Move it after AuthenticationMiddleware, whose user it judges.",
            id="authmodes.E002",
        )


def check_adapter(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    """E003: allauth would make every browser login a cookie login, whatever the mode."""
    if not isinstance(get_adapter(), AuthModesAdapterMixin):
        yield Error(
            "ACCOUNT_ADAPTER is not an adapter of authmodes.",
            hint='Set it to "authmodes.adapter.AuthModesAccountAdapter", or put '
            "authmodes.adapter.AuthModesAdapterMixin before the base of your own adapter.",
            id="authmodes.E003",
        )


def check_token_blacklist(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    """E004: a login session points at simplejwt's table of outstanding tokens."""
    if not apps.is_installed(TOKEN_BLACKLIST):
        yield Error(f"{TOKEN_BLACKLIST!r} is missing from INSTALLED_APPS.", id="authmodes.E004")


def check_session_engine(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    """E005: what lies in the browser alone cannot be ended from here."""
    if settings.SESSION_ENGINE.endswith(".signed_cookies"):
        yield Error(
            "SESSION_ENGINE keeps sessions in signed cookies, which nobody can revoke.",
            hint="Use the db, cached_db, cache or file engine.",
            id="authmodes.E005",
        )


def check_simplejwt_routes(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    """E006: simplejwt's own views would pass a rotated token and mint ones nobody can revoke."""
    jwt_settings = simple_jwt()
    sound: dict[type, bool] = {
        simplejwt_views.TokenObtainPairView: _names(
            jwt_settings.TOKEN_OBTAIN_SERIALIZER, serializers.TokenObtainPairSerializer
        ),
        simplejwt_views.TokenRefreshView: _names(
            jwt_settings.TOKEN_REFRESH_SERIALIZER, serializers.TokenRefreshSerializer
        ),
    }
    for view in _views(get_resolver().url_patterns):
        if not sound.get(view, True):
            yield Error(
                f"simplejwt's own {view.__name__} is routed beside authmodes.",
                hint="Route authmodes.urls instead, or name our serializers in SIMPLE_JWT.",
                id="authmodes.E006",
            )


def _names(path: str, serializer: type) -> bool:
    """Whether a dotted path leads to our serializer or to one that is made from it."""
    try:
        return issubclass(import_string(path), serializer)
    except ImportError:
        return False


def check_authentication_classes(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    """W003: another class beside ours lets in what ours refuses."""
    # The stubs give the names that DRF has imported by now.
    classes: Iterable[Any] = api_settings.DEFAULT_AUTHENTICATION_CLASSES
    for found in classes:
        if issubclass(found, SessionAuthentication | JWTAuthentication):
            yield Warning(
                f"{found.__module__}.{found.__name__} is a default authentication class and "
                "knows nothing of login sessions.",
                hint='Name only "authmodes.authentication.AuthModesAuthentication" in '
                'REST_FRAMEWORK["DEFAULT_AUTHENTICATION_CLASSES"]; DRF names others by itself.',
                id="authmodes.W003",
            )


def check_headless_strategy(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    """W008: what another strategy hands out for a login does not end with it at once."""
    if not apps.is_installed("allauth.headless"):
        return
    from allauth.headless import app_settings

    from ..strategy import AuthModesTokenStrategy

    if "app" in app_settings.CLIENTS and not isinstance(
        app_settings.TOKEN_STRATEGY, AuthModesTokenStrategy
    ):
        yield Warning(
            "HEADLESS_TOKEN_STRATEGY is not one of authmodes, which cannot revoke its tokens.",
            hint='Set it to "authmodes.strategy.AuthModesTokenStrategy".',
            id="authmodes.W008",
        )


def _views(patterns: Iterable[URLPattern | URLResolver]) -> Iterator[type]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _views(pattern.url_patterns)
            continue
        view = getattr(pattern.callback, "cls", None) or getattr(
            pattern.callback, "view_class", None
        )
        if view is not None:
            yield view
