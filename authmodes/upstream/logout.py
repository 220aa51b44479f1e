"""Logout at a provider: its logout tokens, and where a browser signs out there."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from allauth.socialaccount.providers.base import Provider
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.http import urlencode

from .. import policy
from ..exceptions import ProviderUnavailable, UpstreamTokenRefused
from ..models import ExpiringMark, LoginSession
from ..registry import transactions
from ..signin import providers
from . import ending as upstream_ending
from . import issuers, verification
from .issuers import Issuer
from .verification import LEEWAY, Message

EVENT = "http://schemas.openid.net/event/backchannel-logout"


def log_out(providers: Iterable[Provider], raw_token: object) -> int:
    """End the logins a logout token is about; return how many that were, 0 included.

    Raises `UpstreamTokenRefused` or `ProviderUnavailable`, and has ended nothing then.
    """
    message = verification.read(raw_token, {"logout+jwt"})
    provider = verification.addressee(message, providers)
    issuer = issuers.openid_issuer(_checked(message, provider))
    verification.verify(message, issuer)
    return _act_once(provider, message, issuer)


@transactions.retry_on_conflict
def _act_once(provider: Provider, message: Message, issuer: Issuer) -> int:
    name = ("logout_token", issuer.name, message.required_text("jti"))
    # Used up together with what comes of it: whatever goes wrong, a process that is killed
    # included, the provider may send it again.
    with transaction.atomic():
        if not ExpiringMark.objects.set_once(*name, until=message.moment("exp") + LEEWAY):
            raise UpstreamTokenRefused("The token was used before.")
        return _end(provider, message)


def _checked(message: Message, provider: Provider) -> Provider:
    """Whatever needs no key: it costs a stranger more than us."""
    now = timezone.now()
    if policy.is_over(message.moment("exp") + LEEWAY, now):
        raise UpstreamTokenRefused("The token has expired.")
    if policy.is_ahead(message.moment("iat"), LEEWAY, now):
        raise UpstreamTokenRefused("The token is from the future.")
    if EVENT not in message.events():
        raise UpstreamTokenRefused("The event is another.")
    if "nonce" in message.claims:
        # This is how an ID token is told from a logout token (section 2.4).
        raise UpstreamTokenRefused("A logout token has no nonce.")
    if not message.text("sid") and not message.text("sub"):
        raise UpstreamTokenRefused("Both sid and sub are missing.")
    message.required_text("jti")
    return provider


def _end(provider: Provider, message: Message) -> int:
    sid, subject, issued_at = message.text("sid"), message.text("sub"), message.moment("iat")
    uids = upstream_ending.uids_of(provider, subject) if subject else None
    if sid:
        return upstream_ending.end_session(provider, sid, uids, issued_at)
    return upstream_ending.end_accounts(provider, uids or [], issued_at)


def logout_url(
    request: HttpRequest, login_session: LoginSession, redirect_uri: str, state: str
) -> str | None:
    """The provider's logout page for a login that came from there, None if it has none.

    None as well if the provider cannot be asked: the login here has ended anyway. There is
    no `id_token_hint`, because no ID token is kept; `client_id` stands in for it (section 2).
    """
    for provider in issuers.openid_providers(providers.named(request, login_session.provider)):
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
            # Which of the user's sessions there, where the provider named it.
            "logout_hint": login_session.provider_sid,
        }
        separator = "&" if "?" in endpoint else "?"
        return f"{endpoint}{separator}{urlencode({k: v for k, v in query.items() if v})}"
    return None


def _is_web_address(url: str) -> bool:
    try:
        return urlsplit(url).scheme in ("https", "http")
    except ValueError:
        # "https://[idp" and its like are no URLs to Python.
        return False
