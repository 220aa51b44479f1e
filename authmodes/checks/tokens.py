"""Checks of what issues tokens: routes, keys, claims, metadata, transport and lifetimes."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.checks import Tags
from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, Resolver404, URLPattern, URLResolver, get_resolver, resolve
from django.utils.module_loading import import_string
from rest_framework_simplejwt import serializers as simplejwt_serializers
from rest_framework_simplejwt import views as simplejwt_views

from ..api import serializers
from ..api.views import metadata
from ..conf import Mode, Transport, conf, simple_jwt
from ..tokens import encryption, keys
from .declaration import check

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
LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}


@check(
    "E006",
    Tags.urls,
    hint="Route authmodes.urls instead, or name our serializers in SIMPLE_JWT or in the view.",
)
def check_simplejwt_routes() -> Iterator[str]:
    """Other views issue tokens without a login session, and refuse ours.

    Those of simplejwt, made from them, or of dj-rest-auth. They are safe with our serializers.
    """
    for callback in _callbacks():
        view, serializer = _view_of(callback), _serializer_of(callback)
        is_foreign = _is_made_from(serializer, THEIRS) and not _is_made_from(serializer, OURS)
        if is_foreign or _issues_tokens_of_dj_rest_auth(view):
            yield f"{_name_of(view)} is routed, and does not use login sessions."


@check(
    "W011",
    hint='Return the claims from the function that AUTHMODES_CLAIMS names; see "From simplejwt" '
    "in the documentation.",
)
def check_obtain_serializer() -> Iterator[str]:
    """authmodes does not call `get_token()`, so the claims it adds are missing."""
    found = [_serializer_of(callback) for callback in _callbacks()]
    with suppress(ImportError):
        found.append(import_string(simple_jwt().TOKEN_OBTAIN_SERIALIZER))
    theirs: Any = simplejwt_serializers.TokenObtainSerializer
    for serializer in dict.fromkeys(each for each in found if _is_made_from(each, theirs)):
        if getattr(serializer.get_token, "__func__", None) is not theirs.get_token.__func__:
            yield f"{_name_of(serializer)} overrides get_token(), which has no effect."


@check(
    "E013",
    Tags.urls,
    hint='Set SIMPLE_JWT["ISSUER"] to the URL of the site, and include authmodes.well_known at '
    "the root of that host.",
)
def check_metadata() -> Iterator[str]:
    """An OAuth client does not find the metadata, or refuses it (RFC 8414, 3)."""
    routed = map(_view_of, _callbacks())
    if metadata.MetadataView in routed and (problem := _metadata_problem(simple_jwt().ISSUER)):
        yield problem


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


def _callbacks(patterns: Iterable[URLPattern | URLResolver] | None = None) -> Iterator[Any]:
    """Yield what answers each URL of the project."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(pattern, URLResolver):
            yield from _callbacks(pattern.url_patterns)
        else:
            yield pattern.callback


def _view_of(callback: Any) -> Any:
    return getattr(callback, "cls", None) or getattr(callback, "view_class", None)


def _serializer_of(callback: Any) -> Any:
    """Return the serializer class that a routed view uses; None if it has none."""
    view, kwargs = _view_of(callback), getattr(callback, "initkwargs", {})
    named = kwargs.get("serializer_class") or getattr(view, "serializer_class", None)
    if not _is_made_from(view, simplejwt_views.TokenViewBase):
        return named
    try:
        return view(**kwargs).get_serializer_class()
    except Exception:
        # A project's own method may need a request; and a class that is not there is not ours.
        return named or simplejwt_serializers.TokenObtainPairSerializer


def _is_made_from(found: Any, parents: Any) -> bool:
    return isinstance(found, type) and issubclass(found, parents)


def _issues_tokens_of_dj_rest_auth(view: Any) -> bool:
    if not (getattr(settings, "REST_AUTH", None) or {}).get("USE_JWT"):
        return False
    return any(
        each.__module__.startswith("dj_rest_auth.") and each.__name__ in DJ_REST_AUTH_VIEWS
        for each in getattr(view, "__mro__", ())
    )


def _name_of(found: type) -> str:
    return f"{found.__module__}.{found.__name__}"


@check("E007")
def check_token_type_claim() -> Iterator[str]:
    """Without the claim, a refresh token would pass as an access token."""
    if not simple_jwt().TOKEN_TYPE_CLAIM or not simple_jwt().JTI_CLAIM:
        yield "SIMPLE_JWT switches TOKEN_TYPE_CLAIM or JTI_CLAIM off; authmodes needs both."


@check("E012", Tags.models)
def check_user_id_field() -> Iterator[str]:
    """simplejwt finds the user of a token by this field."""
    name = simple_jwt().USER_ID_FIELD
    fields = get_user_model()._meta.concrete_fields
    if name not in {"pk", *(field.name for field in fields), *(field.attname for field in fields)}:
        yield f"SIMPLE_JWT names {name!r} as USER_ID_FIELD, which the user model does not have."


@check("E008")
def check_signing_keys() -> Iterator[str]:
    """A signing key is missing, does not parse, or does not suit its algorithm."""
    yield from _problem_of(keys.backend)


@check("E014")
def check_encryption_keys() -> Iterator[str]:
    """An encryption key is not 32 bytes, or joserfc is not installed."""
    yield from _problem_of(encryption.encryption_keys)


def _problem_of(prepare: Callable[[], object]) -> Iterator[str]:
    try:
        prepare()
    except ImproperlyConfigured as error:
        yield str(error)


@check("W001", hint="List the exact URLs that an authorization code may be sent to.")
def check_redirect_uris() -> Iterator[str]:
    """No browser login can end in tokens."""
    in_bodies = conf.TOKEN_TRANSPORT is not Transport.COOKIE and conf.MODE.allows(Mode.JWT)
    if in_bodies and not conf.REDIRECT_URIS:
        yield "AUTHMODES_REDIRECT_URIS is empty, so no browser login can end in tokens."


@check("W002", hint="Set AUTHMODES_COOKIE_SECURE, except for development over http.")
def check_cookie_secure() -> Iterator[str]:
    """The token cookies are sent over plain http, and without the `__Host-` prefix."""
    if conf.TOKEN_TRANSPORT is Transport.COOKIE and not conf.COOKIE_SECURE:
        yield "The token cookies are not Secure."


@check("W013", hint="Raise AUTHMODES_ABSOLUTE_LIFETIME, or lower the other setting.")
def check_lifetimes() -> Iterator[str]:
    """A login ends earlier than a setting of Django or simplejwt says."""
    cookie_age = timedelta(seconds=settings.SESSION_COOKIE_AGE)
    unused = simple_jwt().REFRESH_TOKEN_LIFETIME
    for mode, name, lifetime in (
        (Mode.SESSION, "SESSION_COOKIE_AGE", cookie_age),
        (Mode.JWT, 'SIMPLE_JWT["REFRESH_TOKEN_LIFETIME"]', unused),
    ):
        if conf.MODE.allows(mode) and lifetime > conf.ABSOLUTE_LIFETIME:
            yield f"{name} is longer than AUTHMODES_ABSOLUTE_LIFETIME, which ends the login."
