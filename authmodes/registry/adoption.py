"""Makes rows for Django sessions from before authmodes was installed; starts no new logins."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils import timezone

from .. import policy
from ..conf import Mode, conf, simple_jwt
from ..models import LoginSession, write_database
from ..sessions import StoredKey
from ..sessions import rotation as session_rotation
from ..sessions import state as session_state
from ..sessions import store as session_store
from . import authentication_context
from .django_sessions import belongs_to, find_sid, follow_key
from .starting import new_row, record_cookie
from .transactions import defer, in_view_transaction
from .validation import matches_password


def adopt(request: HttpRequest, user: Any) -> bool:
    """Adopt the Django session of a request; return False if its login session has ended."""
    session = request.session
    if session_state.of(session).loaded_key == session.session_key:
        # It may have been loaded long before the view reads the user. Since then, a parallel
        # request may have adopted and rotated it, and the login may have been revoked.
        try:
            session_rotation.reload_latest(session)
        except UpdateError:
            return False
        if session_state.load(session) is not None:
            return True
    elif (sid := find_sid(session)) is not None:
        # The view changed the key before it read the user.
        return follow_key(session, sid) and attach_existing(session)
    if session_state.DATA_KEY in session:
        # authmodes made it, but its data cannot be read.
        return attach_existing(session)
    # A request proves no sign-in: Django sessions may be years old.
    context = replace(
        authentication_context.read_authentication_context(request, user),
        authenticated_at=authentication_context.last_authenticated_at(request, user),
    )
    login_session = new_row(request, user, Mode.SESSION, context)
    try:
        with transaction.atomic(using=write_database()):
            record_cookie(request, login_session)
    except IntegrityError:
        # A parallel request or `adopt_many` was first; its row is the one of this session.
        return attach_existing(session, login_session)
    if in_view_transaction():
        # An error would roll the row back, but not the data in the session.
        defer(request, partial(_save_again, login_session))
    return True


def attach_existing(session: SessionBase, new: LoginSession | None = None) -> bool:
    """Attach the row that has this Django session's key.

    Return False if no active row of its user has it. `adopt_many` or a parallel request has
    made that row. `new` is the row that this request would have made.
    """
    key = session_store.stored_key(session_store.ensure_key(session))
    row = LoginSession.objects.active().select_related("user").filter(session_key=key).first()
    if row is None or not belongs_to(row, session.get(SESSION_KEY, "")):
        return False
    if new is not None and not row.user_agent and not row.ip_address:
        # `adopt_many` had no request, so it did not know the address and the user agent.
        row.user_agent = new.user_agent
        row.ip_address = row.last_ip_address = new.ip_address
        row.save(update_fields=["user_agent", "ip_address", "last_ip_address"])
    session_state.attach(session, row)
    return True


def _save_again(login_session: LoginSession) -> None:
    if not LoginSession.objects.filter(sid=login_session.sid).exists():
        login_session.pk = None
        login_session.save(force_insert=True)


def adopt_many(sessions: Mapping[StoredKey, Mapping[str, Any]]) -> int:
    """Adopt Django sessions by stored key and decoded data; return how many rows were made.

    It makes a fixed number of statements. It skips anonymous sessions, those whose login Django
    would reject, and those that have a row already.
    """
    candidates = {
        key: data
        for key, data in sessions.items()
        if SESSION_KEY in data and session_state.DATA_KEY not in data
    }
    known = LoginSession.objects.filter(session_key__in=candidates)
    taken = set(known.values_list("session_key", flat=True))
    users = _users({data[SESSION_KEY] for data in candidates.values()})
    rows = [
        _row(users[data[SESSION_KEY]], key)
        for key, data in candidates.items()
        if key not in taken and _is_accepted(users.get(data[SESSION_KEY]), data)
    ]
    # A request may adopt one of them at the same moment.
    LoginSession.objects.bulk_create(rows, ignore_conflicts=True)
    return len(rows)


def _users(ids: set[str]) -> dict[str, Any]:
    known = [pk for text in ids if (pk := _primary_key(text)) is not None]
    found = get_user_model()._default_manager.using(write_database()).filter(pk__in=known)
    return {get_user_model()._meta.pk.value_to_string(user): user for user in found}


def _primary_key(text: str) -> Any:
    """Return the key of a session's user; None if it is from a different user model."""
    try:
        return get_user_model()._meta.pk.to_python(text)
    except ValidationError:
        return None


def _row(user: Any, stored_key: StoredKey) -> LoginSession:
    now = timezone.now()
    return LoginSession(
        user=user,
        mode=Mode.SESSION,
        session_key=stored_key,
        auth_hash=user.get_session_auth_hash(),
        created_at=now,
        last_seen_at=now,
        expires_at=policy.absolute_end(now, conf.ABSOLUTE_LIFETIME),
    )


def _is_accepted(user: Any, data: Mapping[str, Any]) -> bool:
    if user is None or not simple_jwt().USER_AUTHENTICATION_RULE(user):
        return False
    if data.get(BACKEND_SESSION_KEY) not in settings.AUTHENTICATION_BACKENDS:
        return False
    return matches_password(data.get(HASH_SESSION_KEY, ""), user)
