"""Gives Django sessions from before authmodes was installed their rows; no new sign-ins."""

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
from django.utils.crypto import constant_time_compare

from .. import policy
from ..conf import Mode, conf, simple_jwt
from ..models import LoginSession
from ..sessions import rotation as session_rotation
from ..sessions import state as session_state
from ..sessions import store as session_store
from . import authentication_context
from .django_sessions import belongs_to, find_sid_by_key, follow_key
from .starting import new_row, record_cookie
from .transactions import defer, in_view_transaction
from .validation import auth_hashes


def adopt(request: HttpRequest, user: Any) -> bool:
    """Adopt the Django session of a request; False if it had a login session that ended."""
    # It may have been loaded long before the user is asked for. A parallel request can have
    # adopted it since, and rotated it, and somebody can have revoked that.
    if session_rotation.loaded_key(request.session, None) == request.session.session_key:
        try:
            session_rotation.reload_latest(request.session)
        except UpdateError:
            return False
        if session_state.load(request.session) is not None:
            return True
    elif (sid := find_sid_by_key(request.session, _key_it_came_by(request))) is not None:
        # The view has changed the key before it asked for the user.
        key, auth_hash = (
            session_store.ensure_key(request.session),
            request.session[HASH_SESSION_KEY],
        )
        return follow_key(sid, None, key, auth_hash) and load_existing(request.session)
    if session_state.DATA_KEY in request.session:
        # Not from before us: another version of us wrote it, and there is or was a row.
        return load_existing(request.session)
    # To be seen is no proof: Django sessions may be years old.
    context = replace(
        authentication_context.read_authentication_context(request, user),
        authenticated_at=authentication_context.last_authenticated_at(request, user),
    )
    login_session = new_row(request, user, Mode.SESSION, context)
    try:
        with transaction.atomic():
            record_cookie(request, login_session)
    except IntegrityError:
        # A parallel request was first, or `adopt_many`; its row is ours too.
        return load_existing(request.session, login_session)
    if in_view_transaction():
        # An error will take the row back, and not what the session remembers of it.
        defer(request, partial(_save_again, login_session))
    return True


def _key_it_came_by(request: HttpRequest) -> str:
    return session_rotation.loaded_key(request.session, None) or ""


def load_existing(session: SessionBase, seen: LoginSession | None = None) -> bool:
    """Have a Django session remember the row that has its key; False if there is none active.

    `adopt_many` has made that, or another version of us remembered it in a way of its own.
    `seen` is the row that the request would have made.
    """
    key = session_store.stored_key(session_store.ensure_key(session))
    row = LoginSession.objects.active().select_related("user").filter(session_key=key).first()
    if row is None or not belongs_to(row, session.get(SESSION_KEY, "")):
        return False
    if seen is not None:
        _complete(row, seen)
    session_state.attach(session, row)
    return True


def _save_again(login_session: LoginSession) -> None:
    if not LoginSession.objects.filter(sid=login_session.sid).exists():
        login_session.pk = None
        login_session.save(force_insert=True)


def _complete(row: LoginSession, seen: LoginSession) -> None:
    """Note where a login is that `adopt_many` has made a row for, and that had no request then."""
    if row.user_agent or row.ip_address:
        return
    row.user_agent = seen.user_agent
    row.ip_address = row.last_ip_address = seen.ip_address
    row.save(update_fields=["user_agent", "ip_address", "last_ip_address"])


def adopt_many(sessions: Mapping[str, Mapping[str, Any]]) -> int:
    """Adopt Django sessions by stored key and decoded data; return how many rows were made.

    A fixed number of statements. Sessions that nobody is signed in by, whose login Django
    would refuse, or that have a row already are passed over.
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
    found = get_user_model()._default_manager.filter(pk__in=known)
    return {get_user_model()._meta.pk.value_to_string(user): user for user in found}


def _primary_key(text: str) -> Any:
    """What a session says of its user; None if it is from another user model."""
    try:
        return get_user_model()._meta.pk.to_python(text)
    except ValidationError:
        return None


def _row(user: Any, stored_key: str) -> LoginSession:
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
    stored = data.get(HASH_SESSION_KEY, "")
    return any(constant_time_compare(stored, hash_) for hash_ in auth_hashes(user))
