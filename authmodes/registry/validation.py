"""Decides whether a credential counts now, and ends the logins that are found to be over.

One question, one function:

- Has the login session ended, or passed its absolute lifetime? `LoginSession.is_active`, and
  `objects.active()` in a query.
- Why would validation end it? `reason_to_end`, which only looks.
- Does a credential of this login session count? `validate_or_end`.
- Does this token count? `validate_token_or_end`.
- Would revoking this token end a login? `is_token_active`, which only looks.

For cookies, `middleware.validation` asks the same questions of the Django session.
"""

from datetime import datetime
from functools import partial
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.views.decorators.debug import sensitive_variables

from .. import policy, request_client
from ..conf import Mode, conf, simple_jwt
from ..models import EndReason, LoginSession, LoginSessionQuerySet, is_accepted, write_database
from ..models.compiled import CompiledQuery
from ..sessions import state as session_state
from ..tokens import cookies as token_cookies
from ..tokens.jwt import AccessToken, LoginToken, RefreshToken, read_any, refresh_deadline
from .ending import cancel_pending, revoke, revoke_all
from .transactions import write_or_defer

# What validating a request with an access token reads; the rest is not loaded.
VALIDATED = {
    *("id", "user", "acting_user", "auth_hash", "ip_address", "user_agent"),
    *("last_seen_at", "expires_at", "ended_at"),
}
NOT_VALIDATED = [
    field.name for field in LoginSession._meta.concrete_fields if field.name not in VALIDATED
]


def _by_sid(sid: Any) -> LoginSessionQuerySet:
    return LoginSession.objects.for_credential().filter(sid=sid)


_of_token = CompiledQuery[LoginSession](LoginSession, _by_sid, sid="sid")
_of_request = CompiledQuery[LoginSession](
    LoginSession, lambda sid: _by_sid(sid).defer(*NOT_VALIDATED), sid="sid"
)


def find_login_session(token: LoginToken) -> LoginSession | None:
    """Load the login session of a verified token, ended or not; None for another user's."""
    return _find(_of_token, token)


def find_for_request(token: AccessToken) -> LoginSession | None:
    """As `find_login_session`, with the columns alone that every request needs."""
    return _find(_of_request, token)


def _find(query: CompiledQuery[LoginSession], token: LoginToken) -> LoginSession | None:
    found = query.first(write_database(), sid=token.sid)
    return found if found is not None and token.belongs_to_user_of(found) else None


@sensitive_variables()
def identify(raw_token: Any, *kinds: type[LoginToken]) -> tuple[LoginToken, LoginSession] | None:
    """Verify a token of one of these kinds (by default, of either) and load its login session."""
    token = read_any(raw_token, *(kinds or (AccessToken, RefreshToken)))
    login_session = find_login_session(token) if token is not None else None
    return None if token is None or login_session is None else (token, login_session)


def is_token_active(raw_token: Any, *kinds: type[LoginToken]) -> bool:
    """Whether this is a token of one of these kinds whose login session has not ended."""
    identified = identify(raw_token, *kinds)
    return identified is not None and identified[1].ended_at is None


@sensitive_variables()
def logins_of_token_cookies(request: HttpRequest) -> list[LoginSession]:
    """Return the login sessions, not ended, whose tokens are in the request's cookies."""
    if not token_cookies.are_enabled():
        return []
    tokens = (token_cookies.access_token(request), token_cookies.refresh_token(request))
    # A list: Django does not find the decorator from within a generator.
    identified = [identify(raw_token) for raw_token in tokens if raw_token]
    logins = (found[1] for found in identified if found is not None)
    return list(dict.fromkeys(each for each in logins if each.ended_at is None))


def validate_token_or_end(token: LoginToken, login_session: LoginSession) -> bool:
    """Return whether a token that was identified counts now; end its login if that is over."""
    if not conf.MODE.allows(Mode.JWT) or not validate_or_end(login_session):
        return False
    if not isinstance(token, RefreshToken):
        return True
    if policy.is_over(refresh_deadline(login_session), timezone.now()):
        return False
    has_token = login_session.refresh_token_id is not None
    return has_token and token[simple_jwt().JTI_CLAIM] == login_session.current_jti


def validate_or_end(login_session: LoginSession, request: HttpRequest | None = None) -> bool:
    """Return whether a credential of this login session counts now; end the login if not.

    Needs a row of `for_credential()`. With the `request` that presents the credential, this
    also enforces the binding to an address or a user agent.
    """
    if login_session.ended_at is not None:
        return False
    reason = reason_to_end(login_session, timezone.now())
    if reason is None and not matches_password(login_session.auth_hash, login_session.user):
        # Not ended: a SECRET_KEY that this process does not have yet looks the same as a new
        # password, whose `save()` ends the login.
        return False
    if reason is None and request is not None and _violates_binding(request, login_session):
        reason = EndReason.REVOKED
    if reason is None:
        return True
    if request is None:
        revoke(login_session, reason)
    else:
        write_or_defer(request, partial(revoke, login_session, reason))
    return False


def reason_to_end(login_session: LoginSession, now: datetime) -> EndReason | None:
    """Return why a login session that has not ended is over; None if it is not.

    Needs a row of `for_credential()`. This is for tokens. Django checks the user of a cookie
    itself, and the times of a cookie login are in its Django session.
    """
    if login_session.blacklist_entry is not None:
        return EndReason.REVOKED
    if not is_accepted(login_session.user) or not is_actor_accepted(login_session):
        return EndReason.USER_DISABLED
    if policy.is_over(login_session.expires_at, now):
        return EndReason.EXPIRED
    if policy.is_idle(login_session.last_seen_at, conf.IDLE_TIMEOUT, now):
        return EndReason.EXPIRED
    return None


def is_actor_accepted(login_session: LoginSession) -> bool:
    """Whether the project's rules accept the user who acts in an impersonation; else True.

    Makes a query for an impersonation alone.
    """
    return login_session.acting_user is None or is_accepted(login_session.acting_user)


def _violates_binding(request: HttpRequest, login_session: LoginSession) -> bool:
    agent = session_state.user_agent_digest(login_session.user_agent)
    return request_client.violates_binding(request, login_session.ip_address, agent)


def matches_password(auth_hash: str, user: AbstractBaseUser) -> bool:
    """Whether a session auth hash is of the user's password, by a SECRET_KEY that is known here."""
    return any(constant_time_compare(auth_hash, known) for known in auth_hashes(user))


def auth_hashes(user: AbstractBaseUser) -> list[str]:
    """Return the session auth hash of a user under SECRET_KEY and under each fallback."""
    return [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]


def end_outdated(user: Any, *, spare: str | None = None) -> None:
    """End the logins with the password before this one, except the `spare` one.

    `spare` is the `sid` of the request that changes the password: Django decides about that
    login itself (`update_session_auth_hash`).
    """
    cancel_pending(user.pk)
    outdated = LoginSession.objects.for_user(user).exclude(auth_hash__in=auth_hashes(user))
    if spare is not None:
        outdated = outdated.exclude(sid=spare)
    revoke_all(outdated, EndReason.PASSWORD_CHANGED)
