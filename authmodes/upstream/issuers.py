"""The issuers of messages: the site's own providers, their metadata and their keys.

Only the addresses that a provider is configured with are fetched. Responses are cached, and so
are failures, so that unauthenticated callers cannot cause many requests.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers.base import Provider
from django.core.cache import cache
from requests import RequestException

from ..exceptions import ProviderUnavailable

logger = logging.getLogger("authmodes")
# Seconds. A key that the provider withdraws is still accepted for this long.
CACHED = 300
# Seconds to the next attempt, after a failure or a search for an unknown key.
PAUSE = 10
GOOGLE_RISC_CONFIGURATION = "https://accounts.google.com/.well-known/risc-configuration"


@dataclass(frozen=True)
class Issuer:
    """The exact `iss`, the address of the keys, and the algorithms that the issuer announces."""

    name: str
    jwks_uri: str
    algorithms: frozenset[str] | None = None


def openid_providers(providers: Iterable[Provider]) -> list[Provider]:
    """The providers with a discovery document: allauth's `openid_connect` and its subclasses."""
    return [
        provider
        for provider in providers
        # The class cannot be imported where `allauth.socialaccount` is not installed.
        if hasattr(type(provider), "server_url") and provider.app.settings.get("server_url")
    ]


def transmitters(providers: Iterable[Provider]) -> list[Provider]:
    """The providers that are known to send security events."""
    return [one for one in providers if one.app is not None and _risc_configuration_url(one)]


def metadata(provider: Provider) -> dict[str, Any]:
    """The discovery document of one of `openid_providers`. Raises `ProviderUnavailable`."""
    overrides = provider.app.settings.get("openid_configuration_overrides", {})
    return {**_fetch(provider.server_url), **overrides}


def openid_issuer(provider: Provider) -> Issuer:
    """The issuer of the logout tokens of a provider. Raises `ProviderUnavailable`."""
    return _issuer(metadata(provider))


def transmitter_issuer(provider: Provider) -> Issuer:
    """The issuer of the security events of a provider. Raises `ProviderUnavailable`."""
    return _issuer(_fetch(_risc_configuration_url(provider)))


def keys(issuer: Issuer, fits: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The published keys that fit; they are fetched again if none does.

    Raises `ProviderUnavailable`, also if the keys were fetched a moment ago: the token's key may
    be newer, and the provider does not send a token again that was refused.
    """
    document = _get("document", issuer.jwks_uri)
    if _has_keys(document):
        if found := _fitting(document, fits):
            return found
        if _get("again", issuer.jwks_uri):
            raise ProviderUnavailable
    return _fitting(_download(issuer.jwks_uri, _has_keys), fits)


def _risc_configuration_url(provider: Provider) -> str:
    default = GOOGLE_RISC_CONFIGURATION if provider.id == "google" else ""
    return str(provider.app.settings.get("risc_configuration_url") or default)


def _issuer(document: dict[str, Any]) -> Issuer:
    name, jwks_uri = document.get("issuer"), document.get("jwks_uri")
    if not isinstance(name, str) or not isinstance(jwks_uri, str):
        raise ProviderUnavailable
    announced = document.get("id_token_signing_alg_values_supported")
    algorithms = frozenset(map(str, announced)) if isinstance(announced, list) else None
    return Issuer(name, jwks_uri, algorithms)


def _has_keys(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("keys"), list)


def _fitting(
    document: dict[str, Any], fits: Callable[[dict[str, Any]], bool]
) -> list[dict[str, Any]]:
    return [key for key in document["keys"] if isinstance(key, dict) and fits(key)]


def _is_object(document: Any) -> bool:
    return isinstance(document, dict)


def _fetch(url: str) -> dict[str, Any]:
    return _get("document", url) or _download(url, _is_object)


def _download(url: str, is_complete: Callable[[Any], bool]) -> dict[str, Any]:
    # Without this, every call would wait for the time-out of a provider that is down.
    if _get("down", url):
        raise ProviderUnavailable
    try:
        # allauth's session has a time-out (`SOCIALACCOUNT_REQUESTS_TIMEOUT`).
        with get_adapter().get_requests_session() as session:
            response = session.get(url)
            response.raise_for_status()
            document = response.json()
        if not is_complete(document):
            raise ValueError("The document is incomplete.")
    except (RequestException, ValueError, RecursionError) as error:
        _set("down", url, True, PAUSE)
        raise ProviderUnavailable from error
    _set("document", url, document, CACHED)
    _set("again", url, True, PAUSE)
    return document


def _get(kind: str, url: str) -> Any:
    with _cache_is_required():
        return cache.get(_key(kind, url))


def _set(kind: str, url: str, value: Any, seconds: int) -> None:
    with _cache_is_required():
        cache.set(_key(kind, url), value, seconds)


@contextmanager
def _cache_is_required() -> Iterator[None]:
    """Without a cache, unauthenticated callers could cause any number of requests."""
    try:
        yield
    except Exception as error:
        # Each cache backend raises errors of its own.
        logger.warning("Cannot cache a provider's metadata: %r", error)
        raise ProviderUnavailable from error


def _key(kind: str, url: str) -> str:
    return f"authmodes:upstream:{kind}:{hashlib.sha256(url.encode()).hexdigest()}"
