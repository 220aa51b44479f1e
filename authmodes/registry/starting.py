"""Starts login sessions: the row, its credential, the limit, and the announcement."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import SessionBase
from django.db import connections, transaction
from django.http import HttpRequest
from django.middleware.csrf import rotate_token
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from .. import policy, request_client, signals
from ..conf import LimitPolicy, Mode, conf
from ..exceptions import LimitReached, UserInactive
from ..models import AuthenticationContext, EndReason, LoginSession, is_accepted, write_database
from ..models.compiled import insert
from ..sessions import state as session_state
from ..sessions import store as session_store
from ..state import request_state, to_django
from ..tokens import cookies as token_cookies
from ..tokens.jwt import new_jti
from . import django_sessions, events, notifications
from .authentication_context import read_authentication_context
from .ending import end_without_django_session, revoke, revoke_all
from .validation import logins_of_token_cookies

# Those of C0 and C1, and what changes the direction of the text that follows.
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def start(
    request: HttpRequest | None,
    user: Any,
    mode: str,
    *,
    authentication_context: AuthenticationContext | None = None,
    client_id: str = "",
    not_after: datetime | None = None,
    replacing: Iterable[LoginSession] = (),
    acting_user: Any = None,
    sid: UUID | None = None,
) -> LoginSession:
    """Record a sign-in that allauth, or Django's `login()`, has finished.

    `request` is None in a script, whose login has no address and no user agent. `mode` is
    "session" or "jwt". A "session" login is tied to `request.session`, which gets the `sid`; for
    a "jwt" login, `tokens.mint()` makes the tokens. `authentication_context` is read from the
    request by default. `client_id` names the app that requested the login, if one did.
    `not_after` is an aware datetime that limits the lifetime. `replacing` are login sessions
    that end when this one starts. `acting_user` is the administrator in an impersonation: such
    a login does not count for the limit, and the user gets no mail. `sid` is random by default.

    Sends `login_session_started` after the commit. For a "jwt" login, sends Django's
    `user_logged_in`, as `login()` does for the other. Raises `LimitReached`, or `UserInactive`
    for a user that the project's rules refuse, and then changes nothing.
    """
    if request is None:
        request = HttpRequest()
        request.session = session_store.engine()()
    login_session = new_row(
        request, user, mode, authentication_context or read_authentication_context(request, user)
    )
    login_session.client_id = client_id
    login_session.acting_user = acting_user
    login_session.sid = sid or login_session.sid
    if not_after is not None:
        login_session.expires_at = min(login_session.expires_at, not_after)
    if mode == Mode.SESSION:
        return _start_by_cookie(request, login_session, replacing)
    _start(request, login_session, replacing, session=False, tokens=True)
    # The exchange of a legacy token does not count as a sign-in.
    if login_session.authenticated_at is not None:
        try:
            _tell_django(request, user)
        except Exception:
            # A receiver has refused the login, and no client will ever hold its tokens. A
            # transaction that an error of the database has broken removes the row itself.
            if not connections[write_database()].needs_rollback:
                revoke(login_session, EndReason.LOGOUT)
            raise
    return login_session


def start_tokens(
    request: HttpRequest,
    user: Any,
    authentication_context: AuthenticationContext | None = None,
    not_after: datetime | None = None,
    *,
    client_id: str = "",
    sid: UUID | None = None,
) -> LoginSession:
    """Start a login for tokens. With the cookie transport it replaces the browser's others.

    What the Django session has that is not authentication moves on under a new key (ASVS V7.2.4).
    """
    replacing: list[LoginSession] = []
    session = remains = None
    # Before the session is reduced to what remains of it.
    is_persistent = token_cookies.are_persistent(request.session)
    if token_cookies.are_enabled():
        replacing += logins_of_token_cookies(request)
        session = _session_to_leave(request, user)
        # Before the login ends, which deletes its session.
        if session is not None:
            replacing += django_sessions.logins_of(session)
            remains = session_store.anonymous_data(session, user)
    login_session = start(
        *(request, user, Mode.JWT),
        authentication_context=authentication_context,
        client_id=client_id,
        not_after=not_after,
        replacing=replacing,
        sid=sid,
    )
    login_session.is_persistent = is_persistent
    if session is not None and remains is not None:
        session_store.reduce_to(session, remains)
    if token_cookies.are_enabled():
        rotate_token(request)
    return login_session


def _session_to_leave(request: HttpRequest, user: Any) -> SessionBase | None:
    """The browser's Django session, unless it opens only the admin, for the same user."""
    session = request_state(request).browser_session or request.session
    opens_only_admin = not conf.MODE.allows(Mode.SESSION)
    if session.is_empty() or (
        opens_only_admin and session.get(SESSION_KEY) == user._meta.pk.value_to_string(user)
    ):
        return None
    return session


def _start_by_cookie(
    request: HttpRequest, login_session: LoginSession, replacing: Iterable[LoginSession]
) -> LoginSession:
    """Start a login of a Django session; it replaces those of the browser's token cookies."""
    found = logins_of_token_cookies(request)
    # A cookie that opens only the admin leaves the tokens of the same user.
    kept = [
        each
        for each in found
        if not conf.MODE.allows(Mode.SESSION) and each.user_id == login_session.user_id
    ]
    replaced = [*replacing, *(each for each in found if each not in kept)]
    _start(request, login_session, replaced, session=True, tokens=False)
    request_state(request).clears_token_cookies = token_cookies.are_enabled() and not kept
    return login_session


def _tell_django(request: Any, user: Any) -> None:
    """Send Django's `user_logged_in`; a Django session that only a receiver makes is dropped."""
    # DRF's request has a user of its own.
    request = to_django(request)
    with session_store.detached(request):
        request.user = user
        user_logged_in.send(sender=user.__class__, request=request, user=user)


def start_app(request: HttpRequest, user: Any) -> LoginSession:
    """Start a login of mode "jwt" that has a Django session and tokens, otherwise as `start`.

    This is what an app gets from allauth.headless.
    """
    context = read_authentication_context(request, user)
    login_session = new_row(request, user, Mode.JWT, context)
    return _start(request, login_session, session=True, tokens=True)


def new_row(
    request: HttpRequest, user: Any, mode: str, authentication_context: AuthenticationContext
) -> LoginSession:
    """Return the row of a login that begins now, not saved yet."""
    now = timezone.now()
    ip_address = request_client.ip_address(request)
    return LoginSession(
        user=user,
        mode=mode,
        auth_hash=user.get_session_auth_hash(),
        ip_address=ip_address,
        last_ip_address=ip_address,
        user_agent=request_client.user_agent(request),
        created_at=now,
        last_seen_at=now,
        expires_at=policy.absolute_end(now, conf.ABSOLUTE_LIFETIME),
        **authentication_context.as_fields(),
    )


def _start(
    request: HttpRequest,
    login_session: LoginSession,
    replacing: Iterable[LoginSession] = (),
    *,
    session: bool,
    tokens: bool,
) -> LoginSession:
    if not is_accepted(login_session.user):
        raise UserInactive
    with transaction.atomic(using=write_database()):
        _serialize_logins(login_session.user)
        for previous in replacing:
            is_same_kind = previous.mode == login_session.mode
            revoke(previous, EndReason.LOGOUT if is_same_kind else EndReason.REPLACED)
        if tokens:
            login_session.current_jti = new_jti()
            login_session.refresh_token = _new_family(login_session)
        if session:
            _end_previous(request)
            record_cookie(request, login_session)
        else:
            insert(login_session)
        if session and tokens:
            # An app keeps no cookie, so the Django session lasts as long as the tokens.
            request.session.set_expiry(login_session.expires_at)
        _enforce_limit(login_session)
        events.record_start(login_session)
    state = request_state(request)
    state.login_session, state.is_login_committed = login_session, False
    transaction.on_commit(lambda: _announce(login_session, request), using=write_database())
    return login_session


def _serialize_logins(user: Any) -> None:
    """Run the logins of one user one after the other, so that the limit is exact.

    SQLite has no row locks and needs none: the first write locks the database.
    """
    using = write_database()
    if conf.MAX_LOGIN_SESSIONS is not None and connections[using].features.has_select_for_update:
        get_user_model()._base_manager.using(using).select_for_update().get(pk=user.pk)


def _new_family(login_session: LoginSession) -> OutstandingToken:
    family = OutstandingToken(
        user=login_session.user,
        jti=login_session.current_jti,
        # Empty on purpose: no usable token rests in the database.
        token="",
        created_at=login_session.created_at,
        expires_at=login_session.expires_at,
    )
    insert(family)
    return family


def _end_previous(request: HttpRequest) -> None:
    """End the login session that this Django session belonged to.

    Django keeps the key when the same user signs in again; a new login needs a new key
    (ASVS V7.2.4).
    """
    session = request.session
    previous, key = session_state.load(session), session_state.key_of(session)
    if previous is not None:
        session.cycle_key()
        if session.get_expiry_date() == session_state.to_datetime(previous.expires_at):
            # Our own expiry, which was that of the previous login.
            session.set_expiry(None)
        revoke_all(LoginSession.objects.filter(sid=previous.sid), EndReason.LOGOUT)
    elif key is not None and session_state.of(session).loaded_key == key:
        # The session has no `sid`, but `adopt_sessions` may have made a row for it.
        session.cycle_key()
        adopted = LoginSession.objects.filter(session_key=session_store.stored_key(key))
        if session.get_expiry_date() in adopted.values_list("expires_at", flat=True):
            session.set_expiry(None)
        revoke_all(adopted, EndReason.LOGOUT)
    earlier = request_state(request).login_session
    if earlier is not None and earlier.session_key is not None:
        # An earlier `login()` in this same request, whose session Django has flushed.
        revoke_all(LoginSession.objects.filter(sid=earlier.sid), EndReason.LOGOUT)


def record_cookie(request: HttpRequest, login_session: LoginSession) -> None:
    """Save the row of a Django session, and its `sid` in the session."""
    login_session.session_key = session_store.stored_key(session_store.ensure_key(request.session))
    insert(login_session)
    session_state.attach(request.session, login_session)
    django_sessions.insert_deferred(request.session)


def _enforce_limit(login_session: LoginSession) -> None:
    limit = conf.MAX_LOGIN_SESSIONS
    if limit is None or login_session.is_impersonated:
        return
    mine = LoginSession.objects.for_user(login_session.user)
    # Expired logins do not count against the limit.
    revoke_all(mine.idle(), EndReason.EXPIRED)
    surplus = _surplus(login_session, limit)
    # The session store is asked only if a login would have to end: it costs a query.
    if surplus and sum(end_without_django_session(mine)):
        surplus = _surplus(login_session, limit)
    if not surplus:
        return
    if conf.LIMIT_POLICY is LimitPolicy.REFUSE:
        raise LimitReached
    revoke_all(LoginSession.objects.filter(pk__in=surplus), EndReason.LIMIT)


def _surplus(login_session: LoginSession, limit: int) -> list[Any]:
    """Return the oldest logins of the user that exceed the limit together with the new one."""
    active = LoginSession.objects.active().for_user(login_session.user)
    others = active.filter(acting_user=None).exclude(pk=login_session.pk)
    newest_first = others.order_by("-created_at", "-pk").values_list("pk", flat=True)
    return list(newest_first[limit - 1 :])


def rename(login_session: LoginSession, name: str) -> None:
    """Set what the user calls the login session, as one line without control characters."""
    login_session.name = CONTROLS.sub(" ", name).strip()
    login_session.save(update_fields=["name"])


def _announce(login_session: LoginSession, request: HttpRequest) -> None:
    state = request_state(request)
    state.is_login_committed = state.login_session is login_session
    notifies = conf.NOTIFY_NEW_LOGIN and not login_session.is_impersonated
    is_new_client = notifications.is_new_client(login_session) if notifies else None
    signals.login_session_started.send_robust(
        LoginSession, login_session=login_session, request=request, is_new_client=is_new_client
    )
    if is_new_client:
        notifications.send(request, login_session)
