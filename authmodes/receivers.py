"""What Django, allauth and simplejwt announce, carried to the registry."""

from contextlib import suppress
from typing import Any

from allauth.account.signals import authentication_step_completed
from allauth.core import context
from allauth.socialaccount.signals import social_account_added, social_account_removed
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.contrib.sessions.backends.base import UpdateError
from django.db.models.signals import post_save, pre_delete
from django.http import HttpRequest
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from . import policy, registry
from .conf import Mode
from .exceptions import LimitReached
from .models import EndReason, LoginSession
from .registry import django_sessions, ending, starting, validation
from .sessions import rotation as session_rotation
from .sessions import state as session_state
from .sessions import store as session_store
from .signin import pending
from .state import request_state


def connect() -> None:
    """Connect every receiver; called once, from `apps.py`."""
    user_logged_in.connect(record_cookie_login, dispatch_uid="authmodes_logged_in")
    user_logged_out.connect(end_cookie_login, dispatch_uid="authmodes_logged_out")
    post_save.connect(
        end_blacklisted_login, sender=BlacklistedToken, dispatch_uid="authmodes_blacklisted"
    )
    # Signals name the class that was saved, which may be a proxy of the user model.
    for user in (model for model in apps.get_models() if issubclass(model, get_user_model())):
        post_save.connect(end_logins_of_changed_user, user, dispatch_uid="authmodes_changed")
        pre_delete.connect(end_logins_of_deleted_user, user, dispatch_uid="authmodes_deleted")
    pre_delete.connect(
        end_login_of_deleted_token, sender=OutstandingToken, dispatch_uid="authmodes_token_deleted"
    )
    for signal in (social_account_added, social_account_removed, *_mfa_signals()):
        signal.connect(end_other_logins, dispatch_uid="authmodes_ways_in")
    authentication_step_completed.connect(
        change_key_at_reauthentication, dispatch_uid="authmodes_reauthenticated"
    )


def _mfa_signals() -> list[Any]:
    if not apps.is_installed("allauth.mfa"):
        return []
    from allauth.mfa import signals

    return [
        signals.authenticator_added,
        signals.authenticator_removed,
        signals.authenticator_reset,
    ]


def record_cookie_login(request: HttpRequest | None, user: Any, **kwargs: Any) -> None:
    """Give every `login()` its row: allauth's, the admin's and the project's own."""
    if request is None or not hasattr(request, "session"):
        return
    try:
        if request_state(request).adds_tokens:
            starting.start_app(request, user)
        else:
            registry.start(request, user, Mode.SESSION)
    except LimitReached:
        # Django has put the user into the session already, and whoever answers the error,
        # such as DRF, would have it saved with the answer.
        session_store.discard(request)
        raise


def end_cookie_login(request: HttpRequest | None, **kwargs: Any) -> None:
    """End the row of a `logout()`; the signal comes before Django flushes the session."""
    session = getattr(request, "session", None)
    remembered = session_state.load(session) if session is not None else None
    if remembered is not None:
        registry.revoke_all(LoginSession.objects.filter(sid=remembered.sid), EndReason.LOGOUT)


def change_key_at_reauthentication(
    request: HttpRequest, reauthenticated: bool = False, **kwargs: Any
) -> None:
    """Whoever proves again who they are goes on under a new session id (ASVS V7.2.4)."""
    if not reauthenticated or not request.session.session_key:
        return
    remembered = session_state.load(request.session)
    if remembered is None or not session_store.is_app_session(request.session):
        # A parallel request may have rotated the key, and of two changes one wins.
        with suppress(UpdateError):
            session_rotation.reload_latest(request.session)
        request.session.cycle_key()
        return
    # An app may have calls under way, and takes a 410 for the end of its login: for the grace,
    # the old session token leads on to the new one.
    try:
        django_sessions.rotate_session(request.session, remembered.sid, lambda session: None)
    except UpdateError:
        request.session.flush()
    else:
        session_state.register_key(request.session)


def end_blacklisted_login(instance: BlacklistedToken, **kwargs: Any) -> None:
    """Whoever blacklists a refresh token through simplejwt ends its login session."""
    ended = registry.revoke_all(LoginSession.objects.filter(refresh_token=instance.token_id))
    if not ended:
        validation.revoke_by_raw_token(instance.token)


def end_logins_of_changed_user(
    instance: Any, created: bool, update_fields: frozenset[str] | None, **kwargs: Any
) -> None:
    """End what a new password or a locked account makes worthless.

    Each request would find out by itself, and does after a `QuerySet.update()`, which
    sends no signal; this is so that lists and the admin tell the truth at once.
    """
    if created or (update_fields is not None and not {"password", "is_active"} & update_fields):
        return
    validation.end_outdated(instance, spare=_current_sid())


def end_logins_of_deleted_user(instance: Any, **kwargs: Any) -> None:
    """Clear Django sessions and blacklist tokens before the rows go with their user."""
    registry.revoke_user(instance, EndReason.USER_DISABLED)


def end_other_logins(**kwargs: Any) -> None:
    """A way in was added or taken away: whoever else is signed in has to prove it anew."""
    user = kwargs.get("user") or (kwargs.get("sociallogin") or kwargs["socialaccount"]).user
    ending.revoke_others(user, spare=_current_sid())
    pending.renew(context.request, user)


def end_login_of_deleted_token(instance: OutstandingToken, **kwargs: Any) -> None:
    """A login whose refresh token is thrown away has nothing left that could be rotated."""
    if not policy.is_over(instance.expires_at, timezone.now()):
        registry.revoke_all(LoginSession.objects.filter(refresh_token=instance.pk))


def _current_sid() -> str | None:
    """The login session of the request under way, if there is one."""
    request = context.request
    return session_state.current_sid(request) if request is not None else None
