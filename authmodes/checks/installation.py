"""Checks that the parts of authmodes, and of the packages below it, are where they belong."""

from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.socialaccount.adapter import get_adapter as get_social_adapter
from django.apps import apps
from django.conf import settings
from django.contrib.sessions.backends import db
from django.core.checks import Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router
from django.utils.version import get_version_tuple
from rest_framework.authentication import SessionAuthentication
from rest_framework.settings import api_settings
from rest_framework_simplejwt.authentication import JWTAuthentication

from ..adapter import AuthModesAdapterMixin, AuthModesSocialAccountAdapterMixin
from ..api import throttling
from ..authentication import AuthModesAuthentication
from ..conf import AccessTokenCheck, conf
from ..models import write_database
from ..sessions import store as session_store
from .declaration import check

MIDDLEWARE = "authmodes.middleware.LoginSessionMiddleware"
AUTHENTICATION_MIDDLEWARE = "django.contrib.auth.middleware.AuthenticationMiddleware"
TOKEN_BLACKLIST = "rest_framework_simplejwt.token_blacklist"
TENANT_PACKAGES = {"django_tenants", "tenant_schemas", "django_pgschemas"}
SOCIAL_ACCOUNTS = "socialaccount_socialaccount"
# Collations with other endings take "A" for "a", or "á" for "a".
EXACT_COLLATIONS = ("_bin", "_as_cs")
# A test compares these with the files that `make constraints` writes. A patch release of
# allauth is not reported, because it only repairs.
NEWEST_TESTED = {"django-allauth": "65.22", "djangorestframework-simplejwt": "5.5.1"}


@check("E001")
def check_settings() -> Iterator[str]:
    """A setting has an impossible value, such as an unknown mode."""
    for name in sorted(filter(str.isupper, vars(type(conf)))):
        try:
            getattr(conf, name)
        except (ImproperlyConfigured, ImportError) as error:
            yield str(error)


@check("E002", hint="Put it after AuthenticationMiddleware, because it validates request.user.")
def check_middleware() -> Iterator[str]:
    """Without the middleware, limits and revocation of cookie logins have no effect."""
    listed = list(settings.MIDDLEWARE)
    if MIDDLEWARE not in listed:
        yield f"{MIDDLEWARE!r} is missing from MIDDLEWARE."
    elif AUTHENTICATION_MIDDLEWARE not in listed[: listed.index(MIDDLEWARE)]:
        yield f"{MIDDLEWARE!r} stands before AuthenticationMiddleware in MIDDLEWARE."


@check(
    "E003",
    hint='Set it to "authmodes.adapter.AuthModesAccountAdapter", or put AuthModesAdapterMixin '
    "before the base of your own adapter.",
)
def check_adapter() -> Iterator[str]:
    """allauth would make every browser login a cookie login, whatever the mode."""
    if not isinstance(get_adapter(), AuthModesAdapterMixin):
        yield "ACCOUNT_ADAPTER is not an adapter of authmodes."


@check("E004")
def check_token_blacklist() -> Iterator[str]:
    """A login session refers to simplejwt's table of outstanding tokens."""
    if not apps.is_installed(TOKEN_BLACKLIST):
        yield f"{TOKEN_BLACKLIST!r} is missing from INSTALLED_APPS."


@check("E005", hint="Use the db, cached_db, cache or file engine.")
def check_session_engine() -> Iterator[str]:
    """A session that only the browser keeps cannot be deleted on the server."""
    if settings.SESSION_ENGINE.endswith(".signed_cookies"):
        yield "SESSION_ENGINE keeps sessions in signed cookies, which cannot be revoked."


@check("E009", hint='Use a number and a period, such as "20/min", or None for no limit.')
def check_throttle_rates() -> Iterator[str]:
    """DRF cannot parse a rate, so the default applies instead."""
    for scope in throttling.invalid_rates():
        yield f"DEFAULT_THROTTLE_RATES has an invalid rate for {scope!r}."


@check(
    "E010",
    Tags.models,
    hint="Have DATABASE_ROUTERS keep authmodes, the user model, token_blacklist and sessions in "
    "one database.",
)
def check_tables_sit_together() -> Iterator[str]:
    """A router separates tables that one transaction writes, or that one query joins."""
    labels = [settings.AUTH_USER_MODEL, "token_blacklist.OutstandingToken"]
    models = [*apps.get_app_config("authmodes").get_models()]
    models += [apps.get_model(label) for label in labels if apps.is_installed(TOKEN_BLACKLIST)]
    store = session_store.engine()
    if issubclass(store, db.SessionStore):
        models.append(store.get_model_class())
    here = write_database()
    apart = [model._meta.label for model in models if router.db_for_write(model) != here]
    if apart:
        named = ", ".join(sorted(apart))
        yield f"These models are not in the database {here!r} of login sessions: {named}."


@check("E011", hint='Set it to "database".')
def check_tenants() -> Iterator[str]:
    """If the row is not read, each tenant accepts the tokens of the others.

    The user of the same id in a different schema; and the snapshot reads one schema only.
    """
    if conf.ACCESS_TOKEN_CHECK is AccessTokenCheck.DATABASE:
        return
    engines = [database.get("ENGINE") for database in settings.DATABASES.values()]
    named = [*settings.INSTALLED_APPS, *settings.MIDDLEWARE, *settings.DATABASE_ROUTERS, *engines]
    packages = {str(name).partition(".")[0] for name in named}
    if packages & TENANT_PACKAGES or hasattr(settings, "TENANT_MODEL"):
        yield "AUTHMODES_ACCESS_TOKEN_CHECK reads no row, and each tenant has its own schema."


@check(
    "W003",
    hint='Name "authmodes.authentication.AuthModesAuthentication" in its place, in '
    'REST_FRAMEWORK["DEFAULT_AUTHENTICATION_CLASSES"]; DRF has others by default.',
)
def check_authentication_classes() -> Iterator[str]:
    """A second class accepts credentials that ours refuses."""
    for found in _authentication_classes():
        if issubclass(found, SessionAuthentication | JWTAuthentication):
            name = f"{found.__module__}.{found.__name__}"
            yield f"{name} is a default authentication class and ignores login sessions."


@check("W014", hint='Put "authmodes.authentication.AuthModesAuthentication" first.')
def check_authentication_order() -> Iterator[str]:
    """DRF takes the status and the challenge of a 401 from the first class."""
    classes = _authentication_classes()
    if classes and not issubclass(classes[0], AuthModesAuthentication):
        yield "DEFAULT_AUTHENTICATION_CLASSES does not begin with AuthModesAuthentication."


def _authentication_classes() -> Any:
    # The stubs annotate the names; DRF has imported the classes by now.
    return api_settings.DEFAULT_AUTHENTICATION_CLASSES


@check("W008", hint='Set it to "authmodes.strategy.AuthModesTokenStrategy".')
def check_headless_strategy() -> Iterator[str]:
    """The tokens of a different strategy do not end with the login."""
    if not apps.is_installed("allauth.headless"):
        return
    from allauth.headless import app_settings

    from ..strategy import AuthModesTokenStrategy

    is_ours = isinstance(app_settings.TOKEN_STRATEGY, AuthModesTokenStrategy)
    if "app" in app_settings.CLIENTS and not is_ours:
        yield "HEADLESS_TOKEN_STRATEGY is not ours, so its tokens cannot be revoked."


# By Django's own `register`, because it is told which databases may be asked.
@register(Tags.database)
def check_subject_collation(
    app_configs: Any, databases: Iterable[str] | None = None, **kwargs: Any
) -> Iterator[Warning]:
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


@check("W012", hint='Set it to "Lax".')
def check_session_cookie_samesite() -> Iterator[str]:
    """The browser comes back from a provider without its session, so the state is unknown."""
    is_strict = str(settings.SESSION_COOKIE_SAMESITE).lower() == "strict"
    if is_strict and apps.is_installed("allauth.socialaccount"):
        yield 'SESSION_COOKIE_SAMESITE is "Strict", so no sign-in at a provider can be completed.'


@check(
    "W020",
    hint='Set it to "authmodes.adapter.AuthModesSocialAccountAdapter", or put '
    "AuthModesSocialAccountAdapterMixin before the base of your own adapter.",
)
def check_social_adapter() -> Iterator[str]:
    """allauth follows redirects of a token endpoint, with the client's secret."""
    if not apps.is_installed("allauth.socialaccount"):
        return
    if not isinstance(get_social_adapter(), AuthModesSocialAccountAdapterMixin):
        yield "SOCIALACCOUNT_ADAPTER is not ours, so calls to a provider have no limits."


@check(
    "I001",
    Tags.compatibility,
    hint="Look for a newer authmodes, and run your own tests of signing in and out.",
)
def check_tested_versions() -> Iterator[str]:
    """authmodes extends both packages, and a newer release may work differently."""
    for package, tested in NEWEST_TESTED.items():
        installed = version(package)
        newest = get_version_tuple(tested)
        if get_version_tuple(installed)[: len(newest)] > newest:
            yield f"{package} {installed} is newer than {tested}, the newest release tested."
