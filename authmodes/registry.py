"""The only writer of login sessions: it starts, touches, rotates, ends and prunes them.

Every change is one conditional statement on the row, so that any number of processes
agree on who made it. The order of locks is always login session first, refresh token
second; two orders would deadlock.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import Exists, OuterRef, Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from rest_framework_simplejwt.exceptions import ExpiredTokenError, TokenError
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from . import client, policy, signals, stores, tokens
from .client import Origin
from .conf import Mode, conf, simple_jwt
from .models import EndReason, HandoffCode, LoginMode, LoginSession, LoginSessionQuerySet

logger = logging.getLogger("authmodes")

BATCH = 500
ROTATION_ATTEMPTS = 3


@dataclass(frozen=True)
class Refusal:
    """Why a refresh token was not accepted: an error `code` of the API."""

    code: str


TOKEN_NOT_VALID = Refusal("token_not_valid")
TOKEN_EXPIRED = Refusal("token_expired")
TOKEN_REUSED = Refusal("token_reused")
MODE_DISABLED = Refusal("mode_disabled")


# -- start ---------------------------------------------------------------------------------


def start(
    request: HttpRequest,
    user: Any,
    mode: str,
    *,
    origin: Origin | None = None,
    not_after: datetime | None = None,
) -> LoginSession:
    """Record a sign-in that allauth, or Django's `login()`, has finished.

    `mode` is "session" or "jwt". `origin` is read from the request unless given. A
    "session" login is tied to `request.session`, which gets the `sid`; the tokens of a
    "jwt" login are had from `tokens.mint()`. `not_after` shortens its life.
    Sends `login_session_started`.
    """
    login_session = _new(request, user, mode, origin or client.origin(request, user))
    if not_after is not None:
        login_session.expires_at = min(login_session.expires_at, not_after)
    if mode == LoginMode.SESSION:
        _supersede(request)
        _record_cookie(request, login_session)
    else:
        _record_tokens(login_session)
    request._authmodes_login = login_session  # type: ignore[attr-defined]
    logger.info(
        "login session %s started: user %s, mode %s, method %s, ip %s",
        *(login_session.sid, user.pk, mode, login_session.method, login_session.ip_address),
    )
    signals.login_session_started.send_robust(
        LoginSession, login_session=login_session, request=request
    )
    return login_session


def adopt(request: HttpRequest, user: Any) -> None:
    """Give a Django session from before authmodes was installed its row; not a new sign-in."""
    login_session = _new(request, user, LoginMode.SESSION, client.origin(request, user))
    try:
        with transaction.atomic():
            _record_cookie(request, login_session)
    except IntegrityError:
        # A parallel request was first; its row is ours too.
        theirs = LoginSession.objects.active().filter(session_key=request.session.session_key)
        for row in theirs:
            stores.remember(request.session, row)


def _new(request: HttpRequest, user: Any, mode: str, origin: Origin) -> LoginSession:
    now = timezone.now()
    ip_address = client.ip_address(request)
    return LoginSession(
        user=user,
        mode=mode,
        auth_hash=user.get_session_auth_hash(),
        ip_address=ip_address,
        last_ip_address=ip_address,
        user_agent=client.user_agent(request),
        created_at=now,
        last_seen_at=now,
        expires_at=policy.absolute_end(now, conf.ABSOLUTE_LIFETIME),
        **asdict(origin),
    )


def _record_cookie(request: HttpRequest, login_session: LoginSession) -> None:
    login_session.session_key = stores.ensure_key(request.session)
    login_session.save(force_insert=True)
    stores.remember(request.session, login_session)


def _record_tokens(login_session: LoginSession) -> None:
    with transaction.atomic():
        login_session.refresh_token = OutstandingToken.objects.create(
            user=login_session.user,
            jti=tokens.new_jti(),
            # Empty on purpose: no usable token rests in the database.
            token="",
            created_at=login_session.created_at,
            expires_at=login_session.expires_at,
        )
        login_session.save(force_insert=True)


def _supersede(request: HttpRequest) -> None:
    """End the login session that this Django session carried so far.

    Django keeps the key when the same user signs in again; a login of its own needs a
    key of its own (ASVS V7.2.4).
    """
    previous = stores.recall(request.session)
    if previous is not None:
        request.session.cycle_key()
        revoke_all(LoginSession.objects.filter(sid=previous.sid), EndReason.LOGOUT)


# -- judge ---------------------------------------------------------------------------------


def verdict(login_session: LoginSession, now: datetime) -> EndReason | None:
    """Why this login session no longer counts, although nobody ended it; None if it counts.

    Needs a row of `for_credential()`. Both modes are judged here.
    """
    user = login_session.user
    if login_session.is_blacklisted:  # type: ignore[attr-defined]
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


def is_acceptable(login_session: LoginSession) -> bool:
    """Whether a credential of this login session counts now; ends the login if not.

    Needs a row of `for_credential()`.
    """
    if login_session.ended_at is not None:
        return False
    reason = verdict(login_session, timezone.now())
    if reason is not None:
        revoke(login_session, reason)
    return reason is None


def _same_password(login_session: LoginSession, user: AbstractBaseUser) -> bool:
    """Whether the password is the one of the sign-in, as Django asks of a cookie.

    A rotated SECRET_KEY must not look like a changed password, hence the fallbacks.
    """
    stored = login_session.auth_hash
    return any(constant_time_compare(stored, candidate) for candidate in _auth_hashes(user))


def _auth_hashes(user: AbstractBaseUser) -> list[str]:
    return [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]


def identify(raw_token: Any) -> tuple[tokens.LoginToken, LoginSession] | None:
    """The token of either kind that this text is, and its login session, ended or not."""
    for kind in (tokens.AccessToken, tokens.RefreshToken):
        try:
            token = tokens.read(kind, raw_token)
        except TokenError:
            continue
        found = LoginSession.objects.for_credential().filter(sid=token.sid).first()
        return (token, found) if found is not None and token.is_of(found) else None
    return None


def is_live(token: tokens.LoginToken, login_session: LoginSession) -> bool:
    """Whether a token that was identified would be accepted now."""
    if not conf.MODE.allows(Mode.JWT) or not is_acceptable(login_session):
        return False
    if not isinstance(token, tokens.RefreshToken):
        return True
    current = login_session.refresh_token
    return current is not None and token[simple_jwt().JTI_CLAIM] == current.jti


# -- follow --------------------------------------------------------------------------------


def touch(login_session_sid: str, ip_address: str | None) -> bool:
    """Note that a login session was seen; False if it has ended.

    A crowd of requests that arrive at once writes once: the others find a fresh row.
    """
    now = timezone.now()
    alive = LoginSession.objects.active().filter(sid=login_session_sid)
    stale = Q(last_seen_at__lte=now - conf.TOUCH_INTERVAL)
    if alive.filter(stale).update(last_seen_at=now, last_ip_address=ip_address):
        return True
    return alive.exists()


def follow(login_session_sid: str, session_key: str, auth_hash: str) -> bool:
    """Keep up with a Django session that changed its key; False if the login has ended."""
    return bool(
        LoginSession.objects.active()
        .filter(sid=login_session_sid)
        .update(session_key=session_key, auth_hash=auth_hash)
    )


def abandon(session_key: str) -> None:
    """End the login of a Django session that was flushed or whose user was replaced."""
    for login_session in _of_session(session_key):
        # Django flushes a session whose password hash is stale, without saying why.
        if is_acceptable(login_session):
            revoke(login_session, EndReason.LOGOUT)


def recheck(session_key: str | None) -> None:
    """End the login of a Django session that Django refuses, if there is a reason of ours."""
    for login_session in _of_session(session_key):
        is_acceptable(login_session)


def _of_session(session_key: str | None) -> LoginSessionQuerySet:
    return LoginSession.objects.for_credential().filter(session_key=session_key, ended_at=None)


# -- rotate --------------------------------------------------------------------------------


def rotate(raw_token: str, request: HttpRequest | None = None) -> tokens.TokenPair | Refusal:
    """Swap a refresh token for a new pair.

    A token presented twice has two holders, so its whole family is revoked
    (RFC 9700, 4.14.2), unless it is the one swapped last and still within the grace: then
    the client lost our answer and gets the same successor.
    """
    # Return, don't raise: DRF rolls back on exceptions under ATOMIC_REQUESTS,
    # which would undo the revocation.
    try:
        presented = tokens.read(tokens.RefreshToken, raw_token)
    except ExpiredTokenError:
        return TOKEN_EXPIRED
    except TokenError:
        legacy = tokens.read_legacy(raw_token) if conf.ACCEPT_LEGACY_REFRESH else None
        if legacy is None:
            return TOKEN_NOT_VALID
        return MODE_DISABLED if not conf.MODE.allows(Mode.JWT) else _take_over(legacy, request)
    if not conf.MODE.allows(Mode.JWT):
        return MODE_DISABLED
    for _attempt in range(ROTATION_ATTEMPTS):
        try:
            outcome = _try_rotation(presented, request)
        except OperationalError as error:
            if not _is_conflict(error):
                raise
            continue
        if outcome is not None:
            return outcome
    return TOKEN_NOT_VALID


def _try_rotation(
    presented: tokens.RefreshToken, request: HttpRequest | None
) -> tokens.TokenPair | Refusal | None:
    """One attempt; None if another rotation came between our reading and our writing."""
    jti = presented[simple_jwt().JTI_CLAIM]
    login_session = LoginSession.objects.for_credential().filter(sid=presented.sid).first()
    if login_session is None or login_session.refresh_token is None:
        return TOKEN_NOT_VALID
    if not presented.is_of(login_session) or not is_acceptable(login_session):
        return TOKEN_NOT_VALID
    now = timezone.now()
    if jti == login_session.refresh_token.jti:
        if policy.is_over(tokens.refresh_deadline(login_session), now):
            revoke(login_session, EndReason.EXPIRED)
            return TOKEN_EXPIRED
        return tokens.mint(login_session) if _swap(login_session, jti, now) else None
    if jti == login_session.previous_jti and policy.is_within_grace(
        login_session.rotated_at, conf.REFRESH_GRACE, now
    ):
        return tokens.mint(login_session)
    _punish_reuse(login_session, request)
    return TOKEN_REUSED


def _swap(login_session: LoginSession, jti: str, now: datetime) -> bool:
    """Move the token family on; False if somebody else moved or ended it meanwhile."""
    outstanding = login_session.refresh_token
    assert outstanding is not None
    successor = tokens.new_jti()
    blacklisted = BlacklistedToken.objects.filter(token_id=OuterRef("pk"))
    # The row is locked by the first statement and the winner decided by both: each
    # rotation leaves another `previous_jti` and another `jti`.
    with transaction.atomic():
        won = (
            LoginSession.objects.active()
            .filter(pk=login_session.pk, previous_jti=login_session.previous_jti)
            .update(previous_jti=jti, rotated_at=now, last_seen_at=now)
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


def _take_over(
    legacy: tokens.LegacyRefreshToken, request: HttpRequest | None
) -> tokens.TokenPair | Refusal:
    """Turn a refresh token that simplejwt issued before authmodes into a login session, once."""
    user = legacy.find_user()
    if request is None or user is None or not simple_jwt().USER_AUTHENTICATION_RULE(user):
        return TOKEN_NOT_VALID
    with transaction.atomic():
        outstanding, _created = OutstandingToken.objects.get_or_create(
            jti=legacy[simple_jwt().JTI_CLAIM],
            defaults={"user": user, "token": "", "expires_at": legacy.expires_at},
        )
        _entry, is_first = BlacklistedToken.objects.get_or_create(token=outstanding)
        if not is_first:
            return TOKEN_NOT_VALID
        # simplejwt kept the token's text.
        OutstandingToken.objects.filter(pk=outstanding.pk).update(token="")
        login_session = start(
            request, user, LoginMode.JWT, origin=Origin(), not_after=legacy.expires_at
        )
    return tokens.mint(login_session)


def _punish_reuse(login_session: LoginSession, request: HttpRequest | None) -> None:
    logger.warning(
        "refresh token reused: login session %s of user %s is revoked, ip %s",
        *(login_session.sid, login_session.user_id, request and client.ip_address(request)),
    )
    if request is not None and _rolls_back_on_errors():
        # The 401 to come undoes what is written now; the middleware does it afterwards.
        request._authmodes_reused = login_session.sid  # type: ignore[attr-defined]
    else:
        revoke(login_session, EndReason.REUSE)
    signals.refresh_token_reused.send_robust(
        LoginSession, login_session=login_session, request=request
    )


def _rolls_back_on_errors() -> bool:
    """Whether we are inside a view of ATOMIC_REQUESTS; ours are not, simplejwt's own are."""
    return connection.in_atomic_block and bool(connection.settings_dict["ATOMIC_REQUESTS"])


def finish_reuse(request: HttpRequest) -> None:
    """End the login session of a reused token, now that its request's transaction is over."""
    if sid := getattr(request, "_authmodes_reused", None):
        revoke_all(LoginSession.objects.filter(sid=sid), EndReason.REUSE)


def _is_conflict(error: OperationalError) -> bool:
    """Whether the database chose us as the victim of a deadlock or of serialisation."""
    code = getattr(error.__cause__, "sqlstate", None) or (error.args and error.args[0])
    return code in {"40001", "40P01", 1213, 1205}


# -- end -----------------------------------------------------------------------------------


def revoke(
    login_session: LoginSession,
    reason: str = EndReason.REVOKED,
    *,
    by: Any = None,
) -> bool:
    """End one login session: cookie, access token and refresh token stop working.

    Returns whether this call ended it; False if it had ended before. `reason` is one of
    `EndReason`, `by` the user who acted, None for the system.
    """
    ended = _end([login_session.pk], reason, by)
    for row in ended:
        login_session.ended_at, login_session.end_reason = row.ended_at, row.end_reason
        login_session.ended_by = by
    return bool(ended)


def revoke_all(
    login_sessions: LoginSessionQuerySet,
    reason: str = EndReason.REVOKED,
    *,
    by: Any = None,
) -> int:
    """End every one of `login_sessions` that has not ended; return how many this call ended.

    A fixed number of statements for each batch of 500, in constant memory.
    """
    open_ones = login_sessions.filter(ended_at__isnull=True).order_by("pk")
    count, last = 0, 0
    while pks := list(open_ones.filter(pk__gt=last).values_list("pk", flat=True)[:BATCH]):
        count += len(_end(pks, reason, by))
        last = pks[-1]
    return count


def _end(pks: Sequence[Any], reason: str, by: Any) -> list[LoginSession]:
    """Set `ended_at` and bring both mirrors into line; return the rows this call ended."""
    now = timezone.now()
    rows = LoginSession.objects.filter(pk__in=pks)
    with transaction.atomic():
        # Writing first takes the lock (and, on SQLite, the database) before anything is
        # read; the timestamp then tells our rows from those that somebody else ended.
        if not rows.filter(ended_at__isnull=True).update(
            ended_at=now, end_reason=reason, ended_by=by
        ):
            return []
        ended = list(rows.filter(ended_at=now).select_related("user"))
        stores.delete([row.session_key for row in ended if row.session_key])
        BlacklistedToken.objects.bulk_create(
            [
                BlacklistedToken(token_id=row.refresh_token_id)
                for row in ended
                if row.refresh_token_id
            ],
            ignore_conflicts=True,
        )
    _announce(ended, by)
    return ended


def _announce(ended: Iterable[LoginSession], by: Any) -> None:
    for login_session in ended:
        logger.info(
            "login session %s ended: user %s, mode %s, reason %s, by %s",
            *(login_session.sid, login_session.user_id, login_session.mode),
            *(login_session.end_reason, by.pk if by else None),
        )
        signals.login_session_ended.send_robust(LoginSession, login_session=login_session)


def end_outdated(user: Any, *, spare: str | None = None) -> None:
    """End the logins that a user's new state makes worthless, but for the one to `spare`.

    That one belongs to the request that changes the password; Django keeps such a login
    alive if the view asks for it (`update_session_auth_hash`), and ends it if not.
    """
    login_sessions = LoginSession.objects.for_user(user)
    if not simple_jwt().USER_AUTHENTICATION_RULE(user):
        revoke_all(login_sessions, EndReason.USER_DISABLED)
        return
    outdated = login_sessions.exclude(auth_hash__in=_auth_hashes(user))
    if spare is not None:
        outdated = outdated.exclude(sid=spare)
    revoke_all(outdated, EndReason.PASSWORD_CHANGED)


def end_by_token_text(outstanding: OutstandingToken) -> None:
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


# -- prune ---------------------------------------------------------------------------------


def prune() -> int:
    """End what has expired, then delete what ended longer ago than `AUTHMODES_RETENTION`.

    Works in batches and can be interrupted. A row is kept at least until its tokens have
    expired: without it and its blacklist entry they would have no one to refuse them.
    Returns the number of rows deleted.
    """
    now = timezone.now()
    revoke_all(LoginSession.objects.expired(), EndReason.EXPIRED)
    HandoffCode.objects.filter(expires_at__lt=now).delete()
    dead = LoginSession.objects.filter(
        ended_at__lt=now - conf.RETENTION, expires_at__lt=now
    ).order_by("pk")
    deleted = 0
    while batch := list(dead.values_list("pk", "refresh_token_id")[:BATCH]):
        with transaction.atomic():
            LoginSession.objects.filter(pk__in=[pk for pk, _ in batch]).delete()
            OutstandingToken.objects.filter(pk__in=[pk for _, pk in batch if pk]).delete()
        deleted += len(batch)
    return deleted
