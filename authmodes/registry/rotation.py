"""Swaps refresh tokens, and ends the login of one that comes back."""

import logging
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.http import HttpRequest
from django.utils import timezone
from rest_framework_simplejwt.exceptions import ExpiredTokenError, TokenError
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from .. import policy, request_client, signals
from ..conf import Mode, conf, simple_jwt
from ..models import AuthenticationContext, EndReason, LoginSession
from ..tokens.jwt import (
    LegacyRefreshToken,
    RefreshToken,
    TokenPair,
    mint,
    new_jti,
    read_legacy_token,
    read_token,
    refresh_deadline,
)
from .ending import revoke
from .starting import start
from .transactions import retry_on_conflict, write_or_defer
from .validation import identify, validate_or_end

logger = logging.getLogger("authmodes")
ATTEMPTS = 3


@dataclass(frozen=True)
class Refusal:
    """Why a refresh token was not accepted: an error `code` of the API."""

    code: str


TOKEN_NOT_VALID = Refusal("token_not_valid")


TOKEN_EXPIRED = Refusal("token_expired")


TOKEN_REUSED = Refusal("token_reused")


LOGIN_SESSION_ENDED = Refusal("login_session_ended")


MODE_DISABLED = Refusal("mode_disabled")


def rotate(raw_token: str, request: HttpRequest | None = None) -> TokenPair | Refusal:
    """Swap a refresh token for a new pair.

    A token presented twice has two holders, so its whole family is revoked
    (RFC 9700, 4.14.2), unless it is the one swapped last and still within the grace: then
    the client lost our answer and gets the same successor.
    """
    # Return, don't raise: DRF rolls back on exceptions under ATOMIC_REQUESTS,
    # which would undo the revocation.
    try:
        presented = read_token(RefreshToken, raw_token)
    except ExpiredTokenError:
        return TOKEN_EXPIRED
    except TokenError:
        legacy = read_legacy_token(raw_token) if conf.ACCEPT_LEGACY_REFRESH else None
        if legacy is None:
            return TOKEN_NOT_VALID
        return MODE_DISABLED if not conf.MODE.allows(Mode.JWT) else _take_over(legacy, request)
    if not conf.MODE.allows(Mode.JWT):
        return MODE_DISABLED
    for _attempt in range(ATTEMPTS):
        outcome = _try_rotation(presented, request)
        if outcome is not None:
            return outcome
    return TOKEN_NOT_VALID


@retry_on_conflict
def _try_rotation(
    presented: RefreshToken, request: HttpRequest | None
) -> TokenPair | Refusal | None:
    """One attempt; None if another rotation came between our reading and our writing.

    That one has moved the family on, so the next attempt does not find the same again,
    unless the caller's transaction shows it the past.
    """
    jti = presented[simple_jwt().JTI_CLAIM]
    candidates = LoginSession.objects.for_credential().select_related("user", "refresh_token")
    login_session = candidates.by_sid(presented.sid)
    if login_session is None or login_session.refresh_token is None:
        return TOKEN_NOT_VALID
    if not presented.is_of(login_session):
        return TOKEN_NOT_VALID
    if not validate_or_end(login_session, request):
        return LOGIN_SESSION_ENDED
    now = timezone.now()
    if jti == login_session.refresh_token.jti:
        if policy.is_over(refresh_deadline(login_session), now):
            revoke(login_session, EndReason.EXPIRED)
            return TOKEN_EXPIRED
        return mint(login_session) if _rotate_row(login_session, jti, now) else None
    if _is_within_grace(login_session, jti, now):
        return mint(login_session)
    _revoke_reused(login_session, request)
    return TOKEN_REUSED


def is_reused(raw_token: Any) -> bool:
    """Whether `rotate` would take this token for one with two holders, and end its login."""
    if not conf.MODE.allows(Mode.JWT):
        return False
    identified = identify(raw_token)
    if identified is None or not isinstance(identified[0], RefreshToken):
        return False
    jti, login_session = identified[0][simple_jwt().JTI_CLAIM], identified[1]
    current = login_session.refresh_token
    if login_session.ended_at is not None or current is None or jti == current.jti:
        return False
    return not _is_within_grace(login_session, jti, timezone.now())


def _is_within_grace(login_session: LoginSession, jti: str, now: datetime) -> bool:
    """Whether it is the token swapped last, still within the grace."""
    return jti == login_session.previous_jti and policy.is_within_grace(
        login_session.rotated_at, conf.REFRESH_GRACE, now
    )


def _rotate_row(login_session: LoginSession, jti: str, now: datetime) -> bool:
    """Move the token family on; False if somebody else moved or ended it meanwhile."""
    outstanding = login_session.refresh_token
    assert outstanding is not None
    successor = new_jti()
    blacklisted = BlacklistedToken.objects.filter(token_id=OuterRef("pk"))
    # The row is locked by the first statement and the winner decided by both: each
    # rotation leaves another `previous_jti` and another `jti`.
    with transaction.atomic():
        won = (
            LoginSession.objects.active()
            .filter(pk=login_session.pk, previous_jti=login_session.previous_jti)
            .update(
                previous_jti=jti,
                rotated_at=now,
                last_seen_at=now,
                # Made with the SECRET_KEY of today, so that its fallbacks can be dropped.
                auth_hash=login_session.user.get_session_auth_hash(),
            )
        ) and (
            OutstandingToken.objects.filter(
                ~Exists(blacklisted), pk=outstanding.pk, jti=jti
            ).update(jti=successor, created_at=now)
        )
        if not won:
            transaction.set_rollback(True)
            return False
    login_session.previous_jti, login_session.rotated_at = jti, now
    login_session.last_seen_at = now
    outstanding.jti, outstanding.created_at = successor, now
    return True


def _take_over(legacy: LegacyRefreshToken, request: HttpRequest | None) -> TokenPair | Refusal:
    """Turn a refresh token that simplejwt issued before authmodes into a login session, once."""
    user = legacy.find_user()
    if request is None or user is None or not simple_jwt().USER_AUTHENTICATION_RULE(user):
        return TOKEN_NOT_VALID
    if not legacy.is_of_password(user):
        return TOKEN_NOT_VALID
    # Its `iat` is no sign-in: simplejwt moves it on with each rotation.
    origin = AuthenticationContext(authenticated_at=None)
    with transaction.atomic():
        if not _blacklist(legacy):
            return TOKEN_NOT_VALID
        login_session = start(request, user, Mode.JWT, origin=origin, not_after=legacy.expires_at)
    return mint(login_session)


def blacklist_legacy(raw_token: str) -> bool:
    """Blacklist a refresh token from before authmodes, for whom it signs out; False if none."""
    legacy = read_legacy_token(raw_token) if conf.ACCEPT_LEGACY_REFRESH else None
    return legacy is not None and (_blacklist(legacy) or True)


def _blacklist(legacy: LegacyRefreshToken) -> bool:
    """Blacklist a legacy token; False if it was blacklisted before."""
    # Kept for the leeway too, or simplejwt's `flushexpiredtokens` would make it good again.
    expires_at = legacy.expires_at + legacy.get_token_backend().get_leeway()
    outstanding, _created = OutstandingToken.objects.get_or_create(
        jti=legacy[simple_jwt().JTI_CLAIM],
        defaults={"user": legacy.find_user(), "token": "", "expires_at": expires_at},
    )
    _entry, is_first = BlacklistedToken.objects.get_or_create(token=outstanding)
    # simplejwt kept the token's text.
    OutstandingToken.objects.filter(pk=outstanding.pk).update(token="", expires_at=expires_at)
    return is_first


def _revoke_reused(login_session: LoginSession, request: HttpRequest | None) -> None:
    logger.warning(
        "refresh token reused: login session %s of user %s is revoked, ip %s",
        *(login_session.sid, login_session.user_id, request and request_client.ip_address(request)),
    )
    if request is None:
        revoke(login_session, EndReason.REUSE)
    else:
        # The 401 to come would undo it.
        write_or_defer(request, partial(revoke, login_session, EndReason.REUSE))
    signals.refresh_token_reused.send_robust(
        LoginSession, login_session=login_session, request=request
    )
