"""Rotates refresh tokens, and ends the login session of a token that is reused."""

import enum
from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from rest_framework_simplejwt.exceptions import ExpiredTokenError, TokenError
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from .. import policy, signals
from ..conf import RequestSettings, conf, simple_jwt
from ..models import AuthenticationContext, EndReason, LoginSession, is_accepted, write_database
from ..models.compiled import CompiledUpdate
from ..state import hide_variables
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
from . import events
from .ending import latest_revocation_of, revoke
from .starting import start_tokens
from .transactions import retry_on_conflict, write_or_defer
from .validation import find_login_session, identify, validate_or_end

ATTEMPTS = 3


class Refusal(enum.Enum):
    """Why a refresh token was not accepted."""

    TOKEN_NOT_VALID = "token_not_valid"
    TOKEN_EXPIRED = "token_expired"
    TOKEN_REUSED = "token_reused"
    LOGIN_SESSION_ENDED = "login_session_ended"
    MODE_DISABLED = "mode_disabled"

    @property
    def code(self) -> str:
        """The error code of the API."""
        return self.value


@sensitive_variables()
def rotate(raw_token: str, request: HttpRequest | None = None) -> TokenPair | Refusal:
    """Exchange a refresh token for a new pair.

    A token that is presented twice has two holders, so its whole family is revoked
    (RFC 9700, 4.14.2). The exception is the previous token within the grace: its client lost
    our answer, and is given the same successor.
    """
    if request is not None:
        hide_variables(request)
    # Return, don't raise: DRF rolls back on exceptions under ATOMIC_REQUESTS,
    # which would undo the revocation.
    try:
        presented = read_token(RefreshToken, raw_token)
    except ExpiredTokenError:
        return Refusal.TOKEN_EXPIRED
    except TokenError:
        legacy = read_legacy_token(raw_token)
        if legacy is None:
            return Refusal.TOKEN_NOT_VALID
        return _exchange_legacy(legacy, request) if _is_jwt_allowed() else Refusal.MODE_DISABLED
    if not _is_jwt_allowed():
        return Refusal.MODE_DISABLED
    for _attempt in range(ATTEMPTS):
        outcome = _try_rotation(presented, request)
        if outcome is not None:
            return outcome
    return Refusal.TOKEN_NOT_VALID


def _is_jwt_allowed() -> bool:
    return RequestSettings.read().allows_tokens


@retry_on_conflict
def _try_rotation(
    presented: RefreshToken, request: HttpRequest | None
) -> TokenPair | Refusal | None:
    """Make one attempt; return None if a parallel rotation changed the row in between.

    The next attempt then reads the changed row, unless the isolation level of the caller's
    transaction hides the change.
    """
    login_session = find_login_session(presented)
    if login_session is None or login_session.refresh_token_id is None:
        return Refusal.TOKEN_NOT_VALID
    if not validate_or_end(login_session, request):
        return Refusal.LOGIN_SESSION_ENDED
    login_session.is_persistent = presented.is_persistent
    jti, now = presented[simple_jwt().JTI_CLAIM], timezone.now()
    if jti == login_session.current_jti:
        if policy.is_over(refresh_deadline(login_session), now):
            revoke(login_session, EndReason.EXPIRED)
            return Refusal.TOKEN_EXPIRED
        return _rotate_row(login_session, jti, now)
    if _is_within_grace(login_session, jti, now):
        return mint(login_session)
    _revoke_reused(login_session, request)
    return Refusal.TOKEN_REUSED


def is_reused(raw_token: Any) -> bool:
    """Whether `rotate` would treat this token as reused."""
    identified = identify(raw_token, RefreshToken) if _is_jwt_allowed() else None
    if identified is None or identified[1].ended_at is not None:
        return False
    jti, login_session = identified[0][simple_jwt().JTI_CLAIM], identified[1]
    if login_session.refresh_token_id is None or jti == login_session.current_jti:
        return False
    return not _is_within_grace(login_session, jti, timezone.now())


def _is_within_grace(login_session: LoginSession, jti: str, now: datetime) -> bool:
    """Whether this is the previous token, and still within the grace."""
    return jti == login_session.previous_jti and policy.is_within_grace(
        login_session.rotated_at, conf.REFRESH_GRACE, now
    )


def _build_update(
    pk: Any, jti: Any, known_hash: Any, successor: Any, now: Any, auth_hash: Any
) -> Any:
    blacklisted = BlacklistedToken.objects.filter(token_id=OuterRef("refresh_token_id"))
    rows = LoginSession.objects.active(now).filter(
        ~Exists(blacklisted),
        pk=pk,
        current_jti=jti,
        # The login may have changed the password since it was read.
        auth_hash=known_hash,
        refresh_token__isnull=False,
    )
    return rows, {
        "previous_jti": jti,
        "current_jti": successor,
        "rotated_at": now,
        "last_seen_at": now,
        "auth_hash": auth_hash,
    }


_update = CompiledUpdate(
    LoginSession,
    _build_update,
    pk="id",
    jti="current_jti",
    known_hash="auth_hash",
    successor="current_jti",
    now="rotated_at",
    auth_hash="auth_hash",
)


def _rotate_row(login_session: LoginSession, jti: str, now: datetime) -> TokenPair | None:
    """Write the next `jti`; return None if a parallel request rotated or ended the family."""
    known_hash, successor = login_session.auth_hash, new_jti()
    # Of the user that was validated, and with the current SECRET_KEY, so that its fallbacks can be
    # removed.
    auth_hash = login_session.user.get_session_auth_hash()
    login_session.previous_jti, login_session.current_jti = jti, successor
    login_session.rotated_at = login_session.last_seen_at = now
    # Before the row is written: where a project's claims fail, the client keeps its token.
    pair = mint(login_session)
    # Each rotation changes `current_jti`, so of two at once the second matches nothing. One
    # statement needs no transaction, which would take three more round trips to the database.
    won = _update.execute(
        write_database(),
        pk=login_session.pk,
        jti=jti,
        known_hash=known_hash,
        successor=successor,
        now=now,
        auth_hash=auth_hash,
    )
    return pair if won else None


def _revoke_reused(login_session: LoginSession, request: HttpRequest | None) -> None:
    events.log_reuse(login_session, request)
    if request is None:
        revoke(login_session, EndReason.REUSE)
    else:
        # The 401 that follows would roll it back.
        write_or_defer(request, partial(revoke, login_session, EndReason.REUSE))
    signals.refresh_token_reused.send_robust(
        LoginSession, login_session=login_session, request=request
    )


def _exchange_legacy(
    legacy: LegacyRefreshToken, request: HttpRequest | None
) -> TokenPair | Refusal:
    """Start a login session for a refresh token from before authmodes, once."""
    user = legacy.find_user()
    if request is None or user is None or not is_accepted(user):
        return Refusal.TOKEN_NOT_VALID
    if not legacy.matches_password_of(user) or latest_revocation_of(user) is not None:
        return Refusal.TOKEN_NOT_VALID
    # Its `iat` is not the sign-in: simplejwt changes it at each rotation.
    context = AuthenticationContext(authenticated_at=None)
    with transaction.atomic(using=write_database()):
        if not _blacklist(legacy):
            return Refusal.TOKEN_NOT_VALID
        login_session = start_tokens(request, user, context, legacy.expires_at)
    return mint(login_session)


def blacklist_legacy(raw_token: str) -> bool:
    """Blacklist a refresh token from before authmodes; return False if this is none."""
    legacy = read_legacy_token(raw_token)
    if legacy is not None:
        _blacklist(legacy)
    return legacy is not None


def _blacklist(legacy: LegacyRefreshToken) -> bool:
    """Blacklist a legacy token; return False if it was blacklisted before."""
    # Kept for the leeway as well, or `flushexpiredtokens` would make the token valid again.
    expires_at = legacy.expires_at + legacy.get_token_backend().get_leeway()
    outstanding, _created = OutstandingToken.objects.get_or_create(
        jti=legacy[simple_jwt().JTI_CLAIM],
        defaults={"user": legacy.find_user(), "token": "", "expires_at": expires_at},
    )
    _entry, is_first = BlacklistedToken.objects.get_or_create(token=outstanding)
    # simplejwt had stored the text of the token.
    OutstandingToken.objects.filter(pk=outstanding.pk).update(token="", expires_at=expires_at)
    return is_first
