"""Logout at a provider: its logout tokens, and the page where a browser signs out there."""

from collections.abc import Iterable
from functools import partial
from urllib.parse import urlsplit

from allauth.socialaccount.providers.base import Provider
from django.http import HttpRequest
from django.utils.http import urlencode

from ..exceptions import ProviderUnavailable, UpstreamTokenRefused
from ..models import LoginSession
from ..signin import issuers
from ..signin import providers as site_providers
from . import ending as upstream_ending
from . import verification
from .verification import LEEWAY, Message

EVENT = "http://schemas.openid.net/event/backchannel-logout"
KIND = "logout_token"


def log_out(providers: Iterable[Provider], raw_token: object) -> int:
    """End the logins that a logout token is about; return how many that were, which may be 0.

    Raises `UpstreamTokenRefused` or `ProviderUnavailable`; then nothing has ended.
    """
    provider, message = _verified(providers, raw_token)
    until = message.moment("exp") + LEEWAY
    return verification.act_once(KIND, message, provider, until, lambda: _end(provider, message))


def would_log_out(providers: Iterable[Provider], raw_token: object) -> bool:
    """Whether a logout token is genuine and not used yet; raises what `log_out` does."""
    provider, message = _verified(providers, raw_token)
    return not verification.is_used(KIND, message, provider)


def _verified(providers: Iterable[Provider], raw_token: object) -> tuple[Provider, Message]:
    message = verification.read(raw_token, {"logout+jwt"})
    provider = verification.addressee(message, providers)
    message.moment("exp")
    verification.check_claims(message)
    if EVENT not in message.events():
        raise UpstreamTokenRefused("The token is not about a logout.")
    if not message.text("sid") and not message.text("sub"):
        raise UpstreamTokenRefused("Both sid and sub are missing.")
    verification.verify(message, partial(issuers.openid_issuer, provider))
    return provider, message


def _end(provider: Provider, message: Message) -> int:
    sid, subject, issued_at = message.text("sid"), message.text("sub"), message.moment("iat")
    uids = upstream_ending.uids_of(provider, subject) if subject else None
    if sid:
        return upstream_ending.end_session(provider, sid, uids, issued_at)
    return upstream_ending.end_accounts(provider, uids or [], issued_at)


def logout_url(
    request: HttpRequest, login_session: LoginSession, redirect_uri: str, state: str
) -> str | None:
    """Return the provider's logout page for a login that came from there, None if it has none.

    None as well if the provider does not respond: the login here has ended anyway. No ID token
    is kept for an `id_token_hint`, so `client_id` is sent instead (section 2).
    """
    named = site_providers.named(request, login_session.provider)
    provider = next(iter(issuers.openid_providers(named)), None)
    if provider is None:
        return None
    try:
        endpoint = issuers.metadata(provider).get("end_session_endpoint")
    except ProviderUnavailable:
        return None
    if not isinstance(endpoint, str) or not _is_web_address(endpoint):
        return None
    query = {
        "client_id": provider.app.client_id,
        "post_logout_redirect_uri": redirect_uri,
        "state": state,
        # The user's session at the provider, if the provider named it.
        "logout_hint": login_session.provider_sid,
    }
    separator = "&" if "?" in endpoint else "?"
    return f"{endpoint}{separator}{urlencode({k: v for k, v in query.items() if v})}"


def _is_web_address(url: str) -> bool:
    try:
        return urlsplit(url).scheme in ("https", "http")
    except ValueError:
        # Python does not parse "https://[idp".
        return False
