"""Who may send us messages: the site's own providers, their metadata and their keys.

Nothing but the addresses that a provider is configured with is ever fetched, and strangers
cannot make us fetch often: what was fetched is kept for a while, and so is a failure.
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
# Seconds. A key that the provider withdraws is still accepted for so long.
KEPT = 300
# Seconds between two attempts: after a failure, and to look for a key we do not know.
PAUSE = 10
GOOGLE_RISC_CONFIGURATION = "https://accounts.google.com/.well-known/risc-configuration"


@dataclass(frozen=True)
class Issuer:
    """Who signs: the exact `iss`, where the keys are, and the algorithms it says it uses."""

    name: str
    jwks_uri: str
    algorithms: frozenset[str] | None = None


def openid_providers(providers: Iterable[Provider]) -> list[Provider]:
    """Those with a discovery document: allauth's `openid_connect`, and what derives from it."""
    return [
        one
        for one in providers
        # Its class cannot be imported where `allauth.socialaccount` is not installed.
        if hasattr(type(one), "server_url") and one.app.settings.get("server_url")
    ]


def transmitters(providers: Iterable[Provider]) -> list[Provider]:
    """Those that are known to send security events."""
    return [one for one in providers if one.app is not None and _risc_configuration_url(one)]


def metadata(provider: Provider) -> dict[str, Any]:
    """The discovery document of one of `openid_providers`. Raises `ProviderUnavailable`."""
    overrides = provider.app.settings.get("openid_configuration_overrides", {})
    return {**_fetch(provider.server_url), **overrides}


def openid_issuer(provider: Provider) -> Issuer:
    """Who signs the logout tokens of one of `openid_providers`. Raises `ProviderUnavailable`."""
    return _issuer(metadata(provider))


def transmitter_issuer(provider: Provider) -> Issuer:
    """Who signs the events of one of `transmitters`. Raises `ProviderUnavailable`."""
    return _issuer(_fetch(_risc_configuration_url(provider)))


def keys(issuer: Issuer, fits: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The published keys that fit; they are fetched again if none does.

    Raises `ProviderUnavailable`, also where the last look was a moment ago: nobody has looked
    for this key then, and a refusal would be final, of a token by a key newer than that.
    """
    document = _kept("document", issuer.jwks_uri)
    if isinstance(document, dict) and _has_keys(document):
        if found := _fitting(document, fits):
            return found
        if _kept("again", issuer.jwks_uri):
            raise ProviderUnavailable
    return _fitting(_download(issuer.jwks_uri, _has_keys), fits)


def _risc_configuration_url(provider: Provider) -> str:
    default = GOOGLE_RISC_CONFIGURATION if provider.id == "google" else ""
    return str(provider.app.settings.get("risc_configuration_url") or default)


def _issuer(document: dict[str, Any]) -> Issuer:
    name, jwks_uri = document.get("issuer"), document.get("jwks_uri")
    if not isinstance(name, str) or not isinstance(jwks_uri, str):
        raise ProviderUnavailable
    named_ones = document.get("id_token_signing_alg_values_supported")
    algorithms = frozenset(map(str, named_ones)) if isinstance(named_ones, list) else None
    return Issuer(name, jwks_uri, algorithms)


def _has_keys(document: dict[str, Any]) -> bool:
    return isinstance(document.get("keys"), list)


def _fitting(
    document: dict[str, Any], fits: Callable[[dict[str, Any]], bool]
) -> list[dict[str, Any]]:
    return [key for key in document["keys"] if isinstance(key, dict) and fits(key)]


def _fetch(url: str) -> dict[str, Any]:
    document = _kept("document", url)
    return document if isinstance(document, dict) else _download(url)


def _download(
    url: str, is_complete: Callable[[dict[str, Any]], bool] | None = None
) -> dict[str, Any]:
    # Else a provider that is down costs every call the whole timeout, stranger's or not.
    if _kept("down", url):
        raise ProviderUnavailable
    try:
        # It has allauth's timeout (`SOCIALACCOUNT_REQUESTS_TIMEOUT`).
        with get_adapter().get_requests_session() as session:
            response = session.get(url)
            response.raise_for_status()
            document = response.json()
        if not isinstance(document, dict) or (is_complete and not is_complete(document)):
            raise ValueError("not what it should be")
    except (RequestException, ValueError, RecursionError) as error:
        _keep("down", url, True, PAUSE)
        raise ProviderUnavailable from error
    _keep("document", url, document, KEPT)
    _keep("again", url, True, PAUSE)
    return document


def _kept(kind: str, url: str) -> Any:
    with _cache_is_needed():
        return cache.get(_name(kind, url))


def _keep(kind: str, url: str, value: Any, seconds: int) -> None:
    with _cache_is_needed():
        cache.set(_name(kind, url), value, seconds)


@contextmanager
def _cache_is_needed() -> Iterator[None]:
    """Without it strangers could make us fetch without bound."""
    try:
        yield
    except Exception as error:
        # Whatever a cache raises when it is away.
        logger.warning("Cannot keep what providers say: %r", error)
        raise ProviderUnavailable from error


def _name(kind: str, url: str) -> str:
    return f"authmodes:upstream:{kind}:{hashlib.sha256(url.encode()).hexdigest()}"
