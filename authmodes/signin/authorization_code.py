"""The authorization code that carries a browser login to the client that will hold the tokens.

A code is valid for 60 seconds, works once, and needs the verifier of its challenge (RFC 7636,
S256 only), so it may travel in a URL.
"""

import base64
import hashlib
import re
import secrets
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponseRedirect
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.http import urlencode

from ..conf import conf, simple_jwt
from ..models import AuthenticationContext, AuthorizationCode, LoginSession, is_accepted
from ..registry import django_sessions
from ..registry.authentication_context import last_authenticated_at, read_authentication_context
from ..registry.validation import matches_password

if TYPE_CHECKING:
    from .authorization_request import AuthorizationRequest

LIFETIME = timedelta(seconds=60)
# The base64url text of a SHA-256 digest, and RFC 7636, 4.1.
CODE_CHALLENGE = re.compile(r"\A[A-Za-z0-9_-]{43}\Z")
CODE_VERIFIER = re.compile(r"\A[A-Za-z0-9._~-]{43,128}\Z")
# RFC 8252, 7.3: the port is whatever the app was given; what follows it is compared as text.
LOOPBACK = re.compile(r"\A(http://(?:127\.0\.0\.1|\[::1\])):[0-9]{1,5}(?=[/?]|\Z)")


class ClientRedirect(HttpResponseRedirect):
    """To a URL of `AUTHMODES_REDIRECT_URIS`, which may have a scheme of the app's own."""

    def __init__(self, redirect_to: str) -> None:
        self.allowed_schemes = [urlsplit(redirect_to).scheme]
        super().__init__(redirect_to)


def is_allowed_redirect_uri(redirect_uri: Any) -> bool:
    """Whether codes may be sent there: see `clients_of`."""
    return bool(clients_of(redirect_uri))


def clients_of(redirect_uri: Any) -> list[str]:
    """Return the clients that list exactly this text (RFC 9700, 4.1.3).

    Only the port of a loopback address may be any.
    """
    if not isinstance(redirect_uri, str):
        return []
    wanted = _without_port(redirect_uri)
    return [
        client_id
        for client_id, listed in conf.REDIRECT_URIS.items()
        if wanted in map(_without_port, listed)
    ]


def _without_port(url: str) -> str:
    return LOOPBACK.sub(r"\1", url)


def issue(
    request: HttpRequest,
    user: Any,
    requested: "AuthorizationRequest",
    login_session: LoginSession | None = None,
) -> str:
    """Create a code for a user who signs in now; return the URL that carries it.

    For a user who is signed in already, `login_session` says when that was, and the code ends
    with it.
    """
    code = secrets.token_urlsafe(32)
    context = read_authentication_context(request, user)
    if login_session is not None:
        moments = (login_session.authenticated_at, last_authenticated_at(request, user))
        latest = max((each for each in moments if each is not None), default=None)
        context = replace(context, authenticated_at=latest)
    AuthorizationCode.objects.create(
        digest=_digest(code),
        user=user,
        auth_hash=user.get_session_auth_hash(),
        client_id=requested.client_id,
        code_challenge=requested.code_challenge,
        next=requested.next,
        expires_at=timezone.now() + LIFETIME,
        sid=login_session.sid if login_session else None,
        **context.as_fields(),
    )
    return answer_url(requested, code=code)


def answer_url(requested: "AuthorizationRequest", **answer: str) -> str:
    """The client's URL with a code or an error (RFC 6749, 4.1.2), and the issuer (RFC 9207)."""
    named = {"state": requested.state, "iss": simple_jwt().ISSUER}
    answer |= {name: value for name, value in named.items() if value}
    separator = "&" if "?" in requested.next else "?"
    return f"{requested.next}{separator}{urlencode(answer)}"


def redeem(
    code: str, code_verifier: str, client_id: str, redirect_uri: str
) -> tuple[Any, AuthenticationContext] | None:
    """Use a code up; return the user and how they signed in, None if it is not acceptable.

    Of two simultaneous calls, only the one that deletes the row gets the code. A wrong
    verifier, or a client or redirect URI that the code was not issued to (RFC 6749, 4.1.3),
    uses the code up as well, because it shows that the code is in the wrong hands.
    """
    entry = AuthorizationCode.objects.select_related("user").filter(digest=_digest(code)).first()
    if entry is None:
        return None
    valid = AuthorizationCode.objects.filter(pk=entry.pk, expires_at__gt=timezone.now())
    deleted, _ = valid.delete()
    if not deleted or (client_id, redirect_uri) != (entry.client_id, entry.next):
        return None
    if not constant_time_compare(code_challenge_of(code_verifier), entry.code_challenge):
        return None
    if entry.sid is not None and not django_sessions.is_active(str(entry.sid)):
        return None
    # In these 60 seconds an account may be locked, or its password changed.
    if not is_accepted(entry.user) or not matches_password(entry.auth_hash, entry.user):
        return None
    return entry.user, entry.authentication_context


def code_challenge_of(code_verifier: str) -> str:
    """The S256 challenge of a verifier (RFC 7636, 4.2)."""
    digest = hashlib.sha256(code_verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _digest(code: str) -> str:
    # JSON can carry half of a surrogate pair, which strict UTF-8 refuses to encode.
    return hashlib.sha256(code.encode(errors="surrogatepass")).hexdigest()
