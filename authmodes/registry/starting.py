"""Records sign-ins that are finished: one row each."""

import logging
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from .. import client, policy, signals, stores, tokens
from ..client import Origin
from ..conf import conf
from ..models import EndReason, LoginMode, LoginSession
from .ending import revoke_all

logger = logging.getLogger("authmodes")


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
    transaction.on_commit(lambda: _announce(login_session, request))
    return login_session


def _announce(login_session: LoginSession, request: HttpRequest) -> None:
    logger.info(
        "login session %s started: user %s, mode %s, method %s, ip %s",
        *(login_session.sid, login_session.user_id, login_session.mode),
        *(login_session.method, login_session.ip_address),
    )
    signals.login_session_started.send_robust(
        LoginSession, login_session=login_session, request=request
    )


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
