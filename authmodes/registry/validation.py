"""The token cookies: their names, attributes, and nothing about what is in them."""

from datetime import datetime
from functools import partial
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from .. import policy, request_client
from ..conf import Mode, conf, simple_jwt
from ..models import EndReason, LoginSession
from ..sessions import state as session_state
from ..tokens.cookies import access_token, are_enabled, refresh_token
from ..tokens.jwt import AccessToken, LoginToken, RefreshToken, read_token, refresh_deadline
from .ending import revoke, revoke_all, revoke_user
from .transactions import write_or_defer


def logins_of_token_cookies(request: HttpRequest) -> list[LoginSession]:
    """The login sessions, not ended yet, whose tokens are in the cookies."""
    if not are_enabled():
        return []
    found = {}
    for raw_token in (access_token(request), refresh_token(request)):
        identified = identify(raw_token) if raw_token else None
        if identified is not None and identified[1].ended_at is None:
            found[identified[1].pk] = identified[1]
    return list(found.values())


def reason_to_end(login_session: LoginSession, now: datetime) -> EndReason | None:
    """Why this login session no longer counts, although nobody ended it; None if it counts.

    Needs a row of `for_credential()`. Tokens are judged here; of a cookie, Django asks the user's
    state itself, and the limits lie in the session (`cookie_judge.py`).
    """
    user = login_session.user
    if login_session.is_blacklisted:
        return EndReason.REVOKED
    if not simple_jwt().USER_AUTHENTICATION_RULE(user):
        return EndReason.USER_DISABLED
    if not _same_password(login_session, user):
        return EndReason.PASSWORD_CHANGED
    if policy.is_over(login_session.expires_at, now):
        return EndReason.EXPIRED
    if policy.is_idle(login_session.last_seen_at, conf.IDLE_TIMEOUT, now):
        return EndReason.EXPIRED
    return None


def validate_or_end(login_session: LoginSession, request: HttpRequest | None = None) -> bool:
    """Whether a credential of this login session counts now; ends the login if not.

    Needs a row of `for_credential()`. With a `request` that presents the credential, also
    whether it comes from where the login is bound to.
    """
    if login_session.ended_at is not None:
        return False
    reason = reason_to_end(login_session, timezone.now())
    if reason is None and request is not None and _violates_binding(request, login_session):
        reason = EndReason.REVOKED
    if reason is not None and request is not None:
        write_or_defer(request, partial(revoke, login_session, reason))
    elif reason is not None:
        revoke(login_session, reason)
    return reason is None


def _violates_binding(request: HttpRequest, login_session: LoginSession) -> bool:
    agent = session_state.user_agent_digest(login_session.user_agent)
    return request_client.violates_binding(request, login_session.ip_address, agent)


def _same_password(login_session: LoginSession, user: AbstractBaseUser) -> bool:
    """Whether the password is the one of the sign-in, as Django asks of a cookie.

    A rotated SECRET_KEY must not look like a changed password, hence the fallbacks.
    """
    stored = login_session.auth_hash
    return any(constant_time_compare(stored, candidate) for candidate in auth_hashes(user))


def auth_hashes(user: AbstractBaseUser) -> list[str]:
    """The hash of the user's password by SECRET_KEY, and by each of its fallbacks."""
    return [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]


def identify(raw_token: Any) -> tuple[LoginToken, LoginSession] | None:
    """The token of either kind that this text is, and its login session, ended or not."""
    for kind in (AccessToken, RefreshToken):
        try:
            token = read_token(kind, raw_token)
        except TokenError:
            continue
        candidates = LoginSession.objects.for_credential().select_related("user", "refresh_token")
        found = candidates.by_sid(token.sid)
        return (token, found) if found is not None and token.is_of(found) else None
    return None


def is_token_active(raw_token: Any, *kinds: type[LoginToken]) -> bool:
    """Whether this is a token, of one of these kinds, of a login that nobody has ended."""
    identified = identify(raw_token)
    if identified is None or not isinstance(identified[0], kinds):
        return False
    return identified[1].ended_at is None


def validate_token_or_end(token: LoginToken, login_session: LoginSession) -> bool:
    """Whether a token that was identified would be accepted now."""
    if not conf.MODE.allows(Mode.JWT) or not validate_or_end(login_session):
        return False
    if not isinstance(token, RefreshToken):
        return True
    if policy.is_over(refresh_deadline(login_session), timezone.now()):
        return False
    current = login_session.refresh_token
    return current is not None and token[simple_jwt().JTI_CLAIM] == current.jti


def end_outdated(user: Any, *, spare: str | None = None) -> None:
    """End the logins that a user's new state makes worthless, but for the one to `spare`.

    That one belongs to the request that changes the password; Django keeps such a login
    alive if the view asks for it (`update_session_auth_hash`), and ends it if not.
    """
    login_sessions = LoginSession.objects.for_user(user)
    if not simple_jwt().USER_AUTHENTICATION_RULE(user):
        revoke_user(user, EndReason.USER_DISABLED)
        return
    outdated = login_sessions.exclude(auth_hash__in=auth_hashes(user))
    if spare is not None:
        outdated = outdated.exclude(sid=spare)
    revoke_all(outdated, EndReason.PASSWORD_CHANGED)


def revoke_by_raw_token(outstanding: OutstandingToken) -> None:
    """End the login session of a refresh token that simplejwt wrote down to blacklist it.

    simplejwt's `blacklist()` does so with a token that we have rotated away. Its text is
    the only thing that names the login session, and is not left where it is.
    """
    if not outstanding.token:
        return
    identified = identify(outstanding.token)
    if identified is not None:
        _token, login_session = identified
        OutstandingToken.objects.filter(pk=outstanding.pk).update(token="")
        revoke(login_session)
