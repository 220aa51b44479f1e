"""Fetches and caches the metadata and keys of the site's providers, and checks signatures.

Only the URLs that a provider is configured with, and the `jwks_uri` that its metadata name, are
fetched, each by one call at a time. Responses and failures are cached, so unauthenticated
callers cannot cause many requests. The cache keys contain the provider and the client, so a
provider cannot change what is cached for a different one.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import jwt
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers.base import Provider
from django.core.cache import cache
from requests import RequestException

from .. import logs
from ..exceptions import ProviderUnavailable
from ..models.digests import digest_of
from ..tokens.keys import ASYMMETRIC_ALGORITHMS
from . import provider_session

# Seconds. A key that the provider withdraws is still accepted for this long.
CACHED = 300
# Seconds until the next attempt after a failure, or after a search for an unknown key.
PAUSE = 10
# Seconds that a call waits for a document which a parallel call is fetching. A slow provider must
# not block every worker.
PATIENCE, POLL = 1.0, 0.05
WELL_KNOWN = "/.well-known/"
WRONG_ISSUER = "The issuer is wrong."
GOOGLE_RISC_CONFIGURATION = "https://accounts.google.com/.well-known/risc-configuration"


class KeyRefused(Exception):
    """The issuer or the signature of a token is wrong; the text says which."""


@dataclass(frozen=True)
class Document:
    """A document of a provider, and its keys in the cache."""

    provider: str
    client_id: str
    url: str

    def key(self, kind: str) -> str:
        name = "\0".join((self.provider, self.client_id, self.url))
        return f"authmodes:upstream:{kind}:{digest_of(name)}"


@dataclass(frozen=True)
class Issuer:
    """The exact `iss`, the document of the keys, and the algorithms that the issuer announces."""

    name: str
    jwks: Document
    algorithms: frozenset[str] | None = None


def openid_providers(providers: Iterable[Provider]) -> list[Provider]:
    """Return the providers with a discovery document: `openid_connect` and its subclasses."""
    return [
        provider
        for provider in providers
        # The class cannot be imported where `allauth.socialaccount` is not installed.
        if hasattr(type(provider), "server_url") and provider.app.settings.get("server_url")
    ]


def transmitters(providers: Iterable[Provider]) -> list[Provider]:
    """Return the providers whose RISC configuration is known, so they may send security events."""
    return [one for one in providers if one.app is not None and _risc_configuration_url(one)]


def metadata(provider: Provider) -> dict[str, Any]:
    """Return the discovery document of one of `openid_providers`. Raises `ProviderUnavailable`."""
    overrides = provider.app.settings.get("openid_configuration_overrides", {})
    return {**_fetch(_document(provider, provider.server_url)), **overrides}


def openid_issuer(provider: Provider, name: Any) -> Issuer:
    """Return the issuer of a provider's ID tokens and logout tokens, for the `iss` in `name`.

    Raises `KeyRefused` for a wrong `iss`, if possible before it fetches anything, or
    `ProviderUnavailable`.
    """
    overrides = provider.app.settings.get("openid_configuration_overrides", {})
    expected = overrides.get("issuer") or _issuer_at(provider.server_url)
    return _issuer(provider, name, expected, lambda: metadata(provider))


def transmitter_issuer(provider: Provider, name: Any) -> Issuer:
    """Return the issuer of a provider's security events; otherwise as `openid_issuer`."""
    url = _risc_configuration_url(provider)
    return _issuer(provider, name, _issuer_at(url), lambda: _fetch(_document(provider, url)))


def check_signature(raw: str, header: dict[str, Any], issuer: Issuer) -> None:
    """Check the signature of a token. Raises `KeyRefused` or `ProviderUnavailable`."""
    algorithm = header["alg"]
    if issuer.algorithms is not None and algorithm not in issuer.algorithms:
        raise KeyRefused("The provider does not use this algorithm.")
    found = keys(issuer, partial(_fits, header))
    # A token that does not name its key can only be verified if one key fits (RFC 7515, 4.1.4).
    if not found or ("kid" not in header and len(found) > 1):
        raise KeyRefused("The key is not known.")
    if not any(_is_signed(raw, algorithm, key) for key in found):
        raise KeyRefused("The signature is wrong.")


def _fits(header: dict[str, Any], key: dict[str, Any]) -> bool:
    algorithm, kid = header["alg"], header.get("kid")
    return (
        key.get("kty") == ASYMMETRIC_ALGORITHMS[algorithm]
        and key.get("alg", algorithm) == algorithm
        and key.get("use", "sig") == "sig"
        and (kid is None or key.get("kid") == kid)
    )


def _is_signed(raw: str, algorithm: str, key: dict[str, Any]) -> bool:
    try:
        verifying = jwt.PyJWK(key, algorithm=algorithm).key
        jwt.PyJWS().decode(raw, verifying, algorithms=[algorithm])
    # A published key may be malformed.
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return False
    return True


def keys(issuer: Issuer, fits: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Return the published keys that fit; they are fetched again if none does.

    Raises `ProviderUnavailable`, also if none fits and the keys were fetched a moment ago: the
    token's key may be newer, and a provider does not repeat a message that was refused.
    """
    document = _get("document", issuer.jwks)
    if _has_keys(document):
        if found := _fitting(document, fits):
            return found
        if _get("again", issuer.jwks):
            raise ProviderUnavailable
    return _fitting(_download(issuer.jwks, _has_keys, document), fits)


def _risc_configuration_url(provider: Provider) -> str:
    default = GOOGLE_RISC_CONFIGURATION if provider.id == "google" else ""
    return str(provider.app.settings.get("risc_configuration_url") or default)


def _issuer_at(url: str) -> str:
    """Return the issuer with metadata at a URL (OpenID Connect Discovery, 4.3); "" if unknown."""
    return url.partition(WELL_KNOWN)[0] if WELL_KNOWN in url else ""


def _is_same(name: Any, expected: str) -> bool:
    # The URL in the settings may lack the trailing slash of the issuer.
    return isinstance(name, str) and (not expected or name.rstrip("/") == expected.rstrip("/"))


def _issuer(
    provider: Provider, wanted: Any, expected: str, fetch: Callable[[], dict[str, Any]]
) -> Issuer:
    if not _is_same(wanted, expected):
        raise KeyRefused(WRONG_ISSUER)
    document = fetch()
    name, jwks_uri = document.get("issuer"), document.get("jwks_uri")
    if not _is_same(name, expected) or not isinstance(jwks_uri, str):
        logs.log(logging.WARNING, "provider_issuer_mismatch", provider=provider.sub_id)
        raise ProviderUnavailable
    if wanted != name:
        raise KeyRefused(WRONG_ISSUER)
    announced = document.get("id_token_signing_alg_values_supported")
    algorithms = frozenset(map(str, announced)) if isinstance(announced, list) else None
    return Issuer(str(name), _document(provider, jwks_uri), algorithms)


def _document(provider: Provider, url: str) -> Document:
    return Document(provider.sub_id, provider.app.client_id, url)


def _has_keys(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("keys"), list)


def _fitting(
    document: dict[str, Any], fits: Callable[[dict[str, Any]], bool]
) -> list[dict[str, Any]]:
    return [key for key in document["keys"] if isinstance(key, dict) and fits(key)]


def _is_object(document: Any) -> bool:
    return isinstance(document, dict)


def _fetch(document: Document) -> dict[str, Any]:
    return _get("document", document) or _download(document, _is_object, None)


def _download(document: Document, is_complete: Callable[[Any], bool], known: Any) -> dict[str, Any]:
    """Fetch a document, or wait briefly for the parallel call that is fetching it."""
    if not _add("fetching", document, provider_session.MAX_SECONDS + PAUSE):
        return _await(document, known)
    try:
        # Without this, every call would wait for the timeout of a provider that is down.
        if _get("down", document):
            raise ProviderUnavailable
        # A parallel call may have stored it after this one read the cache.
        found = _get("document", document)
        return found if found and found != known else _download_alone(document, is_complete)
    finally:
        with _cache_is_required():
            cache.delete(document.key("fetching"))


def _await(document: Document, known: Any) -> dict[str, Any]:
    ends_at = time.monotonic() + PATIENCE
    while time.monotonic() < ends_at:
        time.sleep(POLL)
        found = _get("document", document)
        if found and found != known:
            return found
        if not _get("fetching", document):
            break
    raise ProviderUnavailable


def _download_alone(document: Document, is_complete: Callable[[Any], bool]) -> dict[str, Any]:
    try:
        # allauth's session has a timeout (`SOCIALACCOUNT_REQUESTS_TIMEOUT`).
        with provider_session.bound(get_adapter().get_requests_session()) as session:
            response = session.get(document.url)
            response.raise_for_status()
            fetched = response.json()
        if not is_complete(fetched):
            raise ValueError("The document is incomplete.")
    except (RequestException, ValueError, RecursionError) as error:
        fields = {"provider": document.provider, "error": type(error).__name__}
        logs.log(logging.WARNING, "provider_failed", **fields)
        _set("down", document, True, PAUSE)
        raise ProviderUnavailable from error
    _set("document", document, fetched, CACHED)
    _set("again", document, True, PAUSE)
    return fetched


def _get(kind: str, document: Document) -> Any:
    with _cache_is_required():
        return cache.get(document.key(kind))


def _set(kind: str, document: Document, value: Any, seconds: int) -> None:
    with _cache_is_required():
        cache.set(document.key(kind), value, seconds)


def _add(kind: str, document: Document, seconds: int) -> bool:
    """Set a key that does not exist yet; of several processes exactly one succeeds."""
    with _cache_is_required():
        return cache.add(document.key(kind), True, seconds)


@contextmanager
def _cache_is_required() -> Iterator[None]:
    """Raise `ProviderUnavailable` if the cache fails.

    Without it, unauthenticated callers could cause any number of requests.
    """
    try:
        yield
    except Exception as error:
        # Each cache backend raises errors of its own.
        logs.log(logging.WARNING, "provider_metadata_not_cached", error=repr(error))
        raise ProviderUnavailable from error
