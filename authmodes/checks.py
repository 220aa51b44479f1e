"""The system checks, in the order of their ids; `docs/checks.md` lists them."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import wraps
from importlib.metadata import version
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import get_adapter
from allauth.socialaccount.adapter import get_adapter as get_social_adapter
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends import db
from django.core.cache import DEFAULT_CACHE_ALIAS, caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router
from django.urls import (
    NoReverseMatch,
    Resolver404,
    URLPattern,
    URLResolver,
    get_resolver,
    resolve,
)
from django.utils.module_loading import import_string
from django.utils.version import get_version_tuple
from rest_framework.authentication import SessionAuthentication
from rest_framework.settings import api_settings
from rest_framework_simplejwt import serializers as simplejwt_serializers
from rest_framework_simplejwt import views as simplejwt_views
from rest_framework_simplejwt.authentication import JWTAuthentication

from .adapter import AuthModesAdapterMixin, AuthModesSocialAccountAdapterMixin
from .api import serializers, throttling
from .api.views import metadata
from .authentication import AuthModesAuthentication
from .conf import AccessTokenCheck, Mode, Transport, conf, simple_jwt
from .models import write_database
from .sessions import store as session_store
from .sessions.db import DigestMixin
from .tokens import encryption, keys

MIDDLEWARE = "authmodes.middleware.LoginSessionMiddleware"
AUTHENTICATION_MIDDLEWARE = "django.contrib.auth.middleware.AuthenticationMiddleware"
TOKEN_BLACKLIST = "rest_framework_simplejwt.token_blacklist"
# By the class that holds the setting's value.
SERIALIZER_SETTINGS: dict[Any, str] = {
    simplejwt_views.TokenObtainPairView: "TOKEN_OBTAIN_SERIALIZER",
    simplejwt_views.TokenRefreshView: "TOKEN_REFRESH_SERIALIZER",
    simplejwt_views.TokenBlacklistView: "TOKEN_BLACKLIST_SERIALIZER",
}
THEIRS = (
    simplejwt_serializers.TokenObtainSerializer,
    simplejwt_serializers.TokenRefreshSerializer,
    simplejwt_serializers.TokenRefreshSlidingSerializer,
    simplejwt_serializers.TokenBlacklistSerializer,
)
OURS = (
    serializers.TokenObtainPairSerializer,
    serializers.TokenRefreshSerializer,
    serializers.TokenBlacklistSerializer,
)
DJ_REST_AUTH_VIEWS = {"LoginView", "RegisterView"}
TENANT_PACKAGES = {"django_tenants", "tenant_schemas", "django_pgschemas"}
LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}
SOCIAL_ACCOUNTS = "socialaccount_socialaccount"
# Collations with other endings take "A" for "a", or "á" for "a".
EXACT_COLLATIONS = ("_bin", "_as_cs")
# A test compares these with the files that `make constraints` writes. A patch release of
# allauth is not reported, because it only repairs.
NEWEST_TESTED = {"django-allauth": "65.22", "djangorestframework-simplejwt": "5.5.1"}

Messages = Iterable[CheckMessage]
Check = Callable[..., Messages]


def unless_misconfigured(check: Check) -> Check:
    """Skip a check that reads an impossible value: E001 reports the value."""

    @wraps(check)
    def guarded(app_configs: Any, **kwargs: Any) -> Messages:
        try:
            return list(check(app_configs, **kwargs))
        except ImproperlyConfigured:
            return []

    return guarded


@register(Tags.security)
def check_settings(app_configs: Any, **kwargs: Any) -> Messages:
    """E001: a setting has an impossible value, such as an unknown mode."""
    for name in sorted(vars(type(conf))):
        if not name.isupper():
            continue
        try:
            getattr(conf, name)
        except (ImproperlyConfigured, ImportError) as error:
            yield Error(str(error), id="authmodes.E001")


@register(Tags.security)
def check_middleware(app_configs: Any, **kwargs: Any) -> Messages:
    """E002: without the middleware, limits and revocation of cookie logins have no effect."""
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
            hint="Move it after AuthenticationMiddleware, because it validates request.user.",
            id="authmodes.E002",
        )


@register(Tags.security)
def check_adapter(app_configs: Any, **kwargs: Any) -> Messages:
    """E003: allauth would make every browser login a cookie login, whatever the mode."""
    if not isinstance(get_adapter(), AuthModesAdapterMixin):
        yield Error(
            "ACCOUNT_ADAPTER is not an adapter of authmodes.",
            hint='Set it to "authmodes.adapter.AuthModesAccountAdapter", or put '
            "authmodes.adapter.AuthModesAdapterMixin before the base of your own adapter.",
            id="authmodes.E003",
        )


@register(Tags.security)
def check_token_blacklist(app_configs: Any, **kwargs: Any) -> Messages:
    """E004: a login session refers to simplejwt's table of outstanding tokens."""
    if not apps.is_installed(TOKEN_BLACKLIST):
        yield Error(f"{TOKEN_BLACKLIST!r} is missing from INSTALLED_APPS.", id="authmodes.E004")


@register(Tags.security)
def check_session_engine(app_configs: Any, **kwargs: Any) -> Messages:
    """E005: a session that only the browser keeps cannot be deleted on the server."""
    if settings.SESSION_ENGINE.endswith(".signed_cookies"):
        yield Error(
            "SESSION_ENGINE keeps sessions in signed cookies, which cannot be revoked.",
            hint="Use the db, cached_db, cache or file engine.",
            id="authmodes.E005",
        )


@register(Tags.urls)
def check_simplejwt_routes(app_configs: Any, **kwargs: Any) -> Messages:
    """E006: other views issue tokens without a login session, and refuse ours.

    Those of simplejwt, made from them, or of dj-rest-auth. They are safe with our serializers.
    """
    for callback in _callbacks(get_resolver().url_patterns):
        view, serializer = _view_of(callback), _serializer_of(callback)
        is_foreign = _is_made_from(serializer, THEIRS) and not _is_made_from(serializer, OURS)
        if is_foreign or _issues_tokens_of_dj_rest_auth(view):
            yield Error(
                f"{view.__module__}.{view.__name__} is routed, and does not use login sessions.",
                hint="Route authmodes.urls instead, or name our serializers in SIMPLE_JWT or in "
                "the view.",
                id="authmodes.E006",
            )


def _callbacks(patterns: Iterable[URLPattern | URLResolver]) -> Iterator[Any]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _callbacks(pattern.url_patterns)
        else:
            yield pattern.callback


def _view_of(callback: Any) -> Any:
    return getattr(callback, "cls", None) or getattr(callback, "view_class", None)


def _serializer_of(callback: Any) -> Any:
    """Return the serializer class that a routed view uses; None if it has none."""
    view, kwargs = _view_of(callback), getattr(callback, "initkwargs", {})
    base = simplejwt_views.TokenViewBase
    is_simplejwts = _is_made_from(view, base)
    if is_simplejwts and view.get_serializer_class is not base.get_serializer_class:
        # It may need a request.
        with suppress(Exception):
            return view(**kwargs).get_serializer_class()
    named = kwargs.get("serializer_class") or getattr(view, "serializer_class", None)
    if named is not None or not is_simplejwts:
        return named
    # simplejwt reads the setting at import, into the class that is found here.
    owner = next(each for each in view.__mro__ if "_serializer_class" in vars(each))
    setting = SERIALIZER_SETTINGS.get(owner)
    try:
        path = getattr(simple_jwt(), setting) if setting else owner._serializer_class
        return import_string(path)
    except ImportError:
        # What is not there is not ours.
        return simplejwt_serializers.TokenObtainPairSerializer


def _is_made_from(found: Any, parents: Any) -> bool:
    return isinstance(found, type) and issubclass(found, parents)


def _issues_tokens_of_dj_rest_auth(view: Any) -> bool:
    if not (getattr(settings, "REST_AUTH", None) or {}).get("USE_JWT"):
        return False
    return any(
        each.__module__.startswith("dj_rest_auth.") and each.__name__ in DJ_REST_AUTH_VIEWS
        for each in getattr(view, "__mro__", ())
    )


@register(Tags.security)
def check_obtain_serializer(app_configs: Any, **kwargs: Any) -> Messages:
    """W011: authmodes does not call `get_token()`, so the claims it adds are missing."""
    found = [_serializer_of(callback) for callback in _callbacks(get_resolver().url_patterns)]
    with suppress(ImportError):
        found.append(import_string(simple_jwt().TOKEN_OBTAIN_SERIALIZER))
    theirs: Any = simplejwt_serializers.TokenObtainSerializer
    for serializer in dict.fromkeys(each for each in found if _is_made_from(each, theirs)):
        if getattr(serializer.get_token, "__func__", None) is not theirs.get_token.__func__:
            yield Warning(
                f"{serializer.__module__}.{serializer.__name__} overrides get_token(), which has "
                "no effect.",
                hint="Return the claims from the function that AUTHMODES_CLAIMS names; see "
                '"From simplejwt" in the documentation.',
                id="authmodes.W011",
            )


@register(Tags.security)
def check_token_type_claim(app_configs: Any, **kwargs: Any) -> Messages:
    """E007: without the claim, a refresh token would pass as an access token."""
    if not simple_jwt().TOKEN_TYPE_CLAIM or not simple_jwt().JTI_CLAIM:
        yield Error(
            "SIMPLE_JWT switches TOKEN_TYPE_CLAIM or JTI_CLAIM off; authmodes needs both.",
            id="authmodes.E007",
        )


@register(Tags.security)
@unless_misconfigured
def check_tenants(app_configs: Any, **kwargs: Any) -> Messages:
    """E011: without a look at the row, a token of one tenant opens the others as well.

    The user of the same id in a different schema; and the snapshot reads one schema only.
    """
    if conf.ACCESS_TOKEN_CHECK is AccessTokenCheck.DATABASE:
        return
    engines = [database.get("ENGINE") for database in settings.DATABASES.values()]
    named = [*settings.INSTALLED_APPS, *settings.MIDDLEWARE, *settings.DATABASE_ROUTERS, *engines]
    packages = {str(name).partition(".")[0] for name in named}
    if packages & TENANT_PACKAGES or hasattr(settings, "TENANT_MODEL"):
        yield Error(
            "AUTHMODES_ACCESS_TOKEN_CHECK does not look at the login session, and tenants have "
            "schemas of their own.",
            hint='Set it to "database".',
            id="authmodes.E011",
        )


@register(Tags.models)
def check_user_id_field(app_configs: Any, **kwargs: Any) -> Messages:
    """E012: simplejwt finds the user of a token by this field."""
    name = simple_jwt().USER_ID_FIELD
    fields = get_user_model()._meta.concrete_fields
    if name not in {"pk", *(field.name for field in fields), *(field.attname for field in fields)}:
        yield Error(
            f"SIMPLE_JWT names {name!r} as USER_ID_FIELD, which the user model does not have.",
            id="authmodes.E012",
        )


@register(Tags.security)
def check_signing_keys(app_configs: Any, **kwargs: Any) -> Messages:
    """E008: a signing key is missing, does not parse, or does not suit its algorithm."""
    try:
        keys.backend()
    except ImproperlyConfigured as error:
        yield Error(str(error), id="authmodes.E008")


@register(Tags.security)
def check_encryption_keys(app_configs: Any, **kwargs: Any) -> Messages:
    """E014: an encryption key is not 32 bytes, or joserfc is not installed."""
    try:
        encryption.encryption_keys()
    except ImproperlyConfigured as error:
        yield Error(str(error), id="authmodes.E014")


@register(Tags.security)
def check_throttle_rates(app_configs: Any, **kwargs: Any) -> Messages:
    """E009: DRF cannot parse a rate, so the default applies instead."""
    for scope in throttling.invalid_rates():
        yield Error(
            f"DEFAULT_THROTTLE_RATES has an invalid rate for {scope!r}.",
            hint='Use a number and a period, such as "20/min", or None for no limit.',
            id="authmodes.E009",
        )


@register(Tags.urls)
def check_metadata(app_configs: Any, **kwargs: Any) -> Messages:
    """E013: a client of OAuth's does not find the metadata, or refuses them (RFC 8414, 3)."""
    routed = map(_view_of, _callbacks(get_resolver().url_patterns))
    if metadata.MetadataView in routed and (problem := _metadata_problem(simple_jwt().ISSUER)):
        yield Error(
            problem,
            hint='Set SIMPLE_JWT["ISSUER"] to the URL of the site, and include '
            "authmodes.well_known at the root of that host.",
            id="authmodes.E013",
        )


def _metadata_problem(issuer: Any) -> str:
    if not issuer:
        return "authmodes.well_known is included, and there is no issuer."
    parts = urlsplit(issuer)
    is_secure = parts.scheme == "https" or parts.hostname in LOCAL_HOSTS
    if not parts.netloc or not is_secure or "?" in issuer or "#" in issuer:
        return f"The issuer {issuer!r} is not an https URL without a query and a fragment."
    path = metadata.metadata_path(issuer)
    try:
        metadata.endpoint_url("token_obtain_pair")
        found = _view_of(resolve(path).func) is metadata.MetadataView
    except (Resolver404, NoReverseMatch):
        found = False
    return "" if found else f"The metadata of the issuer {issuer!r} are not served at {path}."


@register(Tags.security)
@unless_misconfigured
def check_redirect_uris(app_configs: Any, **kwargs: Any) -> Messages:
    """W001: no browser login can end in tokens."""
    in_bodies = conf.TOKEN_TRANSPORT is not Transport.COOKIE and conf.MODE.allows(Mode.JWT)
    if in_bodies and not conf.REDIRECT_URIS:
        yield Warning(
            "AUTHMODES_REDIRECT_URIS is empty, so no browser login can end in tokens.",
            hint="List the exact URLs that an authorization code may be sent to.",
            id="authmodes.W001",
        )


@register(Tags.security)
@unless_misconfigured
def check_cookie_secure(app_configs: Any, **kwargs: Any) -> Messages:
    """W002: the token cookies are sent over plain http, and without the `__Host-` prefix."""
    if conf.TOKEN_TRANSPORT is Transport.COOKIE and not conf.COOKIE_SECURE:
        yield Warning(
            "The token cookies are not Secure.",
            hint="This suits development over http; elsewhere set AUTHMODES_COOKIE_SECURE.",
            id="authmodes.W002",
        )


@register(Tags.security)
def check_authentication_classes(app_configs: Any, **kwargs: Any) -> Messages:
    """W003: another class beside ours accepts credentials that ours refuses."""
    # The stubs annotate the names; DRF has imported the classes by now.
    classes: Iterable[Any] = api_settings.DEFAULT_AUTHENTICATION_CLASSES
    for found in classes:
        if issubclass(found, SessionAuthentication | JWTAuthentication):
            yield Warning(
                f"{found.__module__}.{found.__name__} is a default authentication class and "
                "ignores login sessions.",
                hint='Name "authmodes.authentication.AuthModesAuthentication" in its place, in '
                'REST_FRAMEWORK["DEFAULT_AUTHENTICATION_CLASSES"]; DRF has others by default.',
                id="authmodes.W003",
            )


@register(Tags.security)
def check_authentication_order(app_configs: Any, **kwargs: Any) -> Messages:
    """W014: DRF takes the status and the challenge of a 401 from the first class."""
    classes: Any = api_settings.DEFAULT_AUTHENTICATION_CLASSES
    if classes and not issubclass(classes[0], AuthModesAuthentication):
        yield Warning(
            "DEFAULT_AUTHENTICATION_CLASSES does not begin with AuthModesAuthentication.",
            hint='Put "authmodes.authentication.AuthModesAuthentication" first.',
            id="authmodes.W014",
        )


@register(Tags.security, deploy=True)
@unless_misconfigured
def check_key_length(app_configs: Any, **kwargs: Any) -> Messages:
    """W004: an HMAC key that is shorter than its hash can be guessed (RFC 7518, 3.2)."""
    for key in keys.backend().ring:
        if not isinstance(key.verifying, bytes):
            continue
        bits = 8 * len(key.verifying)
        if bits < int(key.algorithm[2:]):
            yield Warning(
                f"A signing key of {bits} bits is too short for {key.algorithm}.",
                hint="Use a random key of at least as many bits as the hash has.",
                id="authmodes.W004",
            )


@register(Tags.security, deploy=True)
@unless_misconfigured
def check_redirect_schemes(app_configs: Any, **kwargs: Any) -> Messages:
    """W005: a code that is sent over plain http can be read on the way."""
    for uri in chain.from_iterable(conf.REDIRECT_URIS.values()):
        parts = urlsplit(uri)
        if parts.scheme == "http" and parts.hostname not in LOCAL_HOSTS:
            yield Warning(
                f"AUTHMODES_REDIRECT_URIS lists {uri!r}, which is not https.", id="authmodes.W005"
            )


@register(Tags.security, deploy=True)
def check_session_cookie_secure(app_configs: Any, **kwargs: Any) -> Messages:
    """W006: the cookie of a login session is sent over plain http."""
    if not settings.SESSION_COOKIE_SECURE:
        yield Warning(
            "SESSION_COOKIE_SECURE is off: the cookie of a login session can be read on the way.",
            id="authmodes.W006",
        )


@register(Tags.security, deploy=True)
def check_reauthentication(app_configs: Any, **kwargs: Any) -> Messages:
    """W007: an intruder at an open browser adds their own way to sign in (ASVS V7.5.1)."""
    if not get_adapter().is_reauthentication_required(app="allauth.account"):
        yield Warning(
            "allauth's pages change an e-mail address or connect a provider without a recent "
            "login.",
            hint="Set ACCOUNT_REAUTHENTICATION_REQUIRED = True.",
            id="authmodes.W007",
        )


@register(Tags.security)
def check_headless_strategy(app_configs: Any, **kwargs: Any) -> Messages:
    """W008: the tokens of another strategy do not end with the login."""
    if not apps.is_installed("allauth.headless"):
        return
    from allauth.headless import app_settings

    from .strategy import AuthModesTokenStrategy

    is_ours = isinstance(app_settings.TOKEN_STRATEGY, AuthModesTokenStrategy)
    if "app" in app_settings.CLIENTS and not is_ours:
        yield Warning(
            "HEADLESS_TOKEN_STRATEGY is not a strategy of authmodes, which cannot revoke its "
            "tokens.",
            hint='Set it to "authmodes.strategy.AuthModesTokenStrategy".',
            id="authmodes.W008",
        )


@register(Tags.security, deploy=True)
def check_admin_login(app_configs: Any, **kwargs: Any) -> Messages:
    """W009: the admin's form skips the second factor that allauth asks for (ASVS V6.3.4)."""
    if not apps.is_installed("allauth.mfa") or not apps.is_installed("django.contrib.admin"):
        return
    # An admin site of the project, or allauth's decorator on this one, has another function.
    if getattr(admin.site.login, "__func__", None) is admin.AdminSite.login:
        yield Warning(
            "The admin's own form signs staff in without their second factor.",
            hint="admin.site.login = secure_admin_login(admin.site.login), "
            "from allauth.account.decorators.",
            id="authmodes.W009",
        )


@register(Tags.database)
def check_subject_collation(
    app_configs: Any, databases: Iterable[str] | None = None, **kwargs: Any
) -> Messages:
    """W010: two accounts of a provider that differ in case only cannot both sign in."""
    if not apps.is_installed("allauth.socialaccount"):
        return
    for alias in databases or ():
        if connections[alias].vendor != "mysql":
            continue
        with connections[alias].cursor() as cursor:
            cursor.execute(
                "SELECT collation_name FROM information_schema.columns WHERE "
                "table_schema = DATABASE() AND table_name = %s AND column_name = 'uid'",
                [SOCIAL_ACCOUNTS],
            )
            found = cursor.fetchone()
        if found and not str(found[0]).endswith(EXACT_COLLATIONS):
            yield Warning(
                f"{SOCIAL_ACCOUNTS}.uid has the collation {found[0]}, which treats several "
                "accounts of a provider as one; only the first of them can sign in.",
                hint=f"ALTER TABLE {SOCIAL_ACCOUNTS} MODIFY uid varchar(191) CHARACTER SET "
                "utf8mb4 COLLATE utf8mb4_bin NOT NULL, with the length that the column has.",
                id="authmodes.W010",
            )


@register()
def check_tables_sit_together(app_configs: Any, **kwargs: Any) -> Messages:
    """E010: a router parts tables that one transaction writes, or that one query joins."""
    labels = [settings.AUTH_USER_MODEL, "token_blacklist.OutstandingToken"]
    models = [*apps.get_app_config("authmodes").get_models()]
    models += [apps.get_model(label) for label in labels if apps.is_installed(TOKEN_BLACKLIST)]
    store = session_store.engine()
    if issubclass(store, db.SessionStore):
        models.append(store.get_model_class())
    here = write_database()
    apart = [model._meta.label for model in models if router.db_for_write(model) != here]
    if apart:
        yield Error(
            f"Login sessions are written to the database {here!r}, but not so "
            f"{', '.join(sorted(apart))}.",
            hint="Have DATABASE_ROUTERS keep authmodes, the user model, token_blacklist and "
            "sessions in one database.",
            id="authmodes.E010",
        )


@register(Tags.security)
def check_session_cookie_samesite(app_configs: Any, **kwargs: Any) -> Messages:
    """W012: the browser comes back from a provider without its session, and nothing matches."""
    is_strict = str(settings.SESSION_COOKIE_SAMESITE).lower() == "strict"
    if is_strict and apps.is_installed("allauth.socialaccount"):
        yield Warning(
            'SESSION_COOKIE_SAMESITE is "Strict", so no sign-in at a provider can be finished.',
            hint='Set it to "Lax".',
            id="authmodes.W012",
        )


@register(Tags.security)
def check_social_adapter(app_configs: Any, **kwargs: Any) -> Messages:
    """W020: allauth follows redirects of a token endpoint, with the client's secret."""
    if not apps.is_installed("allauth.socialaccount"):
        return
    if not isinstance(get_social_adapter(), AuthModesSocialAccountAdapterMixin):
        yield Warning(
            "SOCIALACCOUNT_ADAPTER is not an adapter of authmodes, so calls of a provider have "
            "no bounds and follow redirects.",
            hint='Set it to "authmodes.adapter.AuthModesSocialAccountAdapter", or put '
            "authmodes.adapter.AuthModesSocialAccountAdapterMixin before the base of your own.",
            id="authmodes.W020",
        )


@register(Tags.security)
@unless_misconfigured
def check_lifetimes(app_configs: Any, **kwargs: Any) -> Messages:
    """W013: a login ends earlier than a setting of Django or simplejwt says."""
    cookie_age = timedelta(seconds=settings.SESSION_COOKIE_AGE)
    unused = simple_jwt().REFRESH_TOKEN_LIFETIME
    for mode, name, lifetime in (
        (Mode.SESSION, "SESSION_COOKIE_AGE", cookie_age),
        (Mode.JWT, 'SIMPLE_JWT["REFRESH_TOKEN_LIFETIME"]', unused),
    ):
        if conf.MODE.allows(mode) and lifetime > conf.ABSOLUTE_LIFETIME:
            yield Warning(
                f"{name} is longer than AUTHMODES_ABSOLUTE_LIFETIME, which ends the login.",
                hint="Raise AUTHMODES_ABSOLUTE_LIFETIME, or lower the other one.",
                id="authmodes.W013",
            )


@register(Tags.caches, deploy=True)
def check_shared_cache(app_configs: Any, **kwargs: Any) -> Messages:
    """W021: each process counts failed sign-ins, and keeps used one-time codes, for itself."""
    if isinstance(caches[DEFAULT_CACHE_ALIAS], DummyCache | LocMemCache):
        yield Warning(
            "The default cache is not shared by processes, so allauth's rate limits and ours "
            "apply to each process separately.",
            hint="Use Redis, Memcached or the database as the default cache.",
            id="authmodes.W021",
        )


@register(Tags.caches, deploy=True)
def check_cache_timeout(app_configs: Any, **kwargs: Any) -> Messages:
    """W022: a Redis that accepts connections and never answers stops every worker."""
    for alias in sorted({DEFAULT_CACHE_ALIAS, settings.SESSION_CACHE_ALIAS}):
        cache = settings.CACHES.get(alias, {})
        # Also django-redis, whose names of options are in capitals, and options in a URL.
        options = f"{cache.get('OPTIONS')} {cache.get('LOCATION')}".lower()
        if "redis" not in cache.get("BACKEND", "").lower() or "socket_timeout" in options:
            continue
        if _redis_waits_for_ever():
            yield Warning(
                f"The cache {alias!r} has no timeout, so requests wait for ever if Redis hangs.",
                hint='Set "OPTIONS": {"socket_timeout": 1, "socket_connect_timeout": 1}.',
                id="authmodes.W022",
            )


def _redis_waits_for_ever() -> bool:
    """Whether redis-py has no timeout of its own; newer releases have one of 5 seconds."""
    # An extra of ours; part of it is not annotated.
    connection: Any = import_string("redis.Connection")
    return connection().socket_timeout is None


@register(Tags.security, deploy=True)
def check_keys_at_rest(app_configs: Any, **kwargs: Any) -> Messages:
    """I002: what is stored in the table of sessions, or in a dump of it, can be used to sign in."""
    if not issubclass(session_store.engine(), DigestMixin):
        yield Info(
            "SESSION_ENGINE stores session keys as they are, so a database dump, dumpdata or the "
            "database's own log can be used to sign in.",
            hint='Set it to "authmodes.sessions.db" or "authmodes.sessions.cached_db", which '
            "store digests. The change signs all users out.",
            id="authmodes.I002",
        )


@register(Tags.compatibility, deploy=True)
def check_logging(app_configs: Any, **kwargs: Any) -> Messages:
    """I003: the log does not say which logins start and end."""
    logger: logging.Logger | None = logging.getLogger("authmodes")
    is_enabled = logger.isEnabledFor(logging.INFO) if logger else False
    handlers: list[logging.Handler] = []
    while logger is not None:
        handlers += logger.handlers
        logger = logger.parent if logger.propagate else None
    if not is_enabled or all(handler.level > logging.INFO for handler in handlers):
        yield Info(
            'LOGGING hides INFO messages of the logger "authmodes", which say what logins start '
            "and end.",
            hint='Add "authmodes": {"level": "INFO", "handlers": […]} to its loggers.',
            id="authmodes.I003",
        )


@register(Tags.compatibility)
def check_tested_versions(app_configs: Any, **kwargs: Any) -> Messages:
    """I001: authmodes extends both packages, and a newer release may work differently."""
    for package, tested in NEWEST_TESTED.items():
        installed = version(package)
        newest = get_version_tuple(tested)
        if get_version_tuple(installed)[: len(newest)] > newest:
            yield Info(
                f"{package} {installed} is newer than {tested}, the newest release that "
                "authmodes was tested with.",
                hint="Look for a newer authmodes, and run your own tests of signing in and out.",
                id="authmodes.I001",
            )
