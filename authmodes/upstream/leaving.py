"""Where a browser signs out at its provider: OpenID Connect RP-Initiated Logout 1.0."""

from urllib.parse import urlsplit

from django.http import HttpRequest
from django.utils.http import urlencode

from ..errors import ProviderUnavailable
from ..models import LoginSession
from . import issuers


def logout_url(
    request: HttpRequest, login_session: LoginSession, redirect_uri: str, state: str
) -> str | None:
    """The provider's logout page for a login that came from there, None if it has none.

    None as well if the provider cannot be asked: the login here has ended anyway. There is
    no `id_token_hint`, because no ID token is kept; `client_id` stands in for it (section 2).
    """
    for provider in issuers.openid_providers(issuers.named(request, login_session.provider)):
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
