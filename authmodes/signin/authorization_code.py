"""The authorization code that carries a browser login to the client that will hold the tokens.

A code is valid for 60 seconds, works once, and needs the verifier of its challenge (RFC 7636,
S256 only), so it may travel in a URL.
"""

import base64
import hashlib
import re
import secrets
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.db import transaction
from django.http import HttpRequest, HttpResponseRedirect
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.http import urlencode
from rest_framework.exceptions import APIException

from ..conf import conf, simple_jwt
from ..models import AuthorizationCode, EndReason, LoginSession, is_accepted, write_database
from ..models.digests import digest_of
from ..registry import django_sessions, events, revoke
from ..registry.authentication_context import last_authenticated_at, read_authentication_context
from ..registry.starting import start_tokens
from ..registry.transactions import retry_on_conflict
from ..registry.validation import matches_password
from ..tokens import cookies as token_cookies

if TYPE_CHECKING:
    from .authorization_request import AuthorizationRequest

LIFETIME = timedelta(seconds=60)
# Ends the code of a sign-in that is not to outlast the browser. The digest of a code covers it.
UNTIL_BROWSER_CLOSE = "."
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
    is_persistent = token_cookies.are_persistent(request.session)
    code = secrets.token_urlsafe(32) + ("" if is_persistent else UNTIL_BROWSER_CLOSE)
    context = read_authentication_context(request, user)
    if login_session is not None:
        moments = (login_session.authenticated_at, last_authenticated_at(request, user))
        latest = max((each for each in moments if each is not None), default=None)
        context = replace(context, authenticated_at=latest)
    AuthorizationCode.objects.create(
        digest=digest_of(code),
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
    """Return the client's URL with a code or an error (RFC 6749, 4.1.2), and `iss` (RFC 9207)."""
    named = {"state": requested.state, "iss": simple_jwt().ISSUER}
    answer |= {name: value for name, value in named.items() if value}
    separator = "&" if "?" in requested.next else "?"
    return f"{requested.next}{separator}{urlencode(answer)}"


def redeem(
    request: HttpRequest, code: str, code_verifier: str, client_id: str, redirect_uri: str
) -> LoginSession | None:
    """Use a code up and start its login; return None if the code is not acceptable.

    A wrong verifier, or a client or redirect URI that the code was not issued to (RFC 6749,
    4.1.3), uses the code up as well, because it shows that the code is in the wrong hands. A code
    that is presented again with its verifier has two holders, so the login that it started is
    revoked (4.1.2).
    """
    entry = AuthorizationCode.objects.select_related("user").filter(digest=digest_of(code)).first()
    asked = (code_challenge_of(code_verifier), client_id, redirect_uri)
    sid = _sid(code, code_verifier)
    login_session = _start(request, entry, asked, sid) if entry is not None else None
    if login_session is not None:
        login_session.is_persistent = not code.endswith(UNTIL_BROWSER_CLOSE)
    elif started := find_started(code, code_verifier):
        events.log_reuse(started, request)
        revoke(started, EndReason.REUSE)
    return login_session


@retry_on_conflict
def _start(
    request: HttpRequest, entry: AuthorizationCode, asked: tuple[str, str, str], sid: uuid.UUID
) -> LoginSession | None:
    valid = AuthorizationCode.objects.filter(pk=entry.pk, expires_at__gt=timezone.now())
    try:
        # Of simultaneous calls, only the one that deletes the row gets the code. The others
        # wait for the end of its transaction, and then find the login.
        with transaction.atomic(using=write_database()):
            if not valid.delete()[0] or not _is_acceptable(entry, *asked):
                return None
            context, client_id = entry.authentication_context, entry.client_id
            return start_tokens(request, entry.user, context, client_id=client_id, sid=sid)
    except APIException:
        # The login was refused and all is rolled back, but the code is used.
        valid.delete()
        raise


def _is_acceptable(
    entry: AuthorizationCode, code_challenge: str, client_id: str, redirect_uri: str
) -> bool:
    if (client_id, redirect_uri) != (entry.client_id, entry.next):
        return False
    if not constant_time_compare(code_challenge, entry.code_challenge):
        return False
    if entry.sid is not None and not django_sessions.is_active(str(entry.sid)):
        return False
    # In these 60 seconds an account may be locked, or its password changed.
    return is_accepted(entry.user) and matches_password(entry.auth_hash, entry.user)


def find_started(code: str, code_verifier: str) -> LoginSession | None:
    """Return the active login that a code and its verifier have started."""
    return LoginSession.objects.active().filter(sid=_sid(code, code_verifier)).first()


def _sid(code: str, code_verifier: str) -> uuid.UUID:
    """Return the `sid` of the login that these start; it tells nothing of either."""
    return uuid.UUID(digest_of(f"{code} {code_verifier}")[:32], version=4)


def code_challenge_of(code_verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636, 4.2)."""
    digest = hashlib.sha256(code_verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
