"""Receivers of the signals of Django, allauth and simplejwt; the registry does the work.

Rows that `loaddata` loads (`raw`) may come before the rows that they refer to, and end nothing.
Validation reads the user and the blacklist, so a login that they invalidate is refused.
"""

from contextlib import suppress
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from allauth.account.signals import authentication_step_completed, login_code_rejected
from allauth.core import context
from allauth.socialaccount.signals import social_account_added, social_account_removed
from django.apps import apps
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.contrib.sessions.backends.base import UpdateError
from django.db.models.signals import post_save, pre_delete, pre_save
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from . import policy, registry
from .conf import Mode
from .exceptions import INVALID_CODE, InvalidMfaCode, LimitReached, NoActiveAccount, UserInactive
from .models import EndReason, EventKind, LoginSession, is_accepted
from .registry import (
    authentication_context,
    django_sessions,
    ending,
    erasure,
    events,
    impersonation,
    refusals,
    starting,
    transactions,
    validation,
)
from .sessions import rotation as session_rotation
from .sessions import state as session_state
from .sessions import store as session_store
from .signin import password, pending
from .state import request_state
from .tokens import cookies as token_cookies

# The credentials that name an account, Django's and allauth's.
ACCOUNT_NAMES = {"username", "email", "phone"}
# Users by `id()`, between the two signals of the save that changes their password.
has_new_password: WeakValueDictionary[int, Any] = WeakValueDictionary()


def connect() -> None:
    """Connect what depends on the project's models and apps; called once, from `apps.py`."""
    # Signals name the class that was saved, which may be a proxy of the user model.
    for user in (model for model in apps.get_models() if issubclass(model, get_user_model())):
        pre_save.connect(note_new_password, user)
        post_save.connect(end_logins_of_changed_user, user)
        pre_delete.connect(end_logins_of_deleted_user, user)
    if apps.is_installed("allauth.mfa"):
        from allauth.mfa import signals

        signals.authentication_failed.connect(note_wrong_mfa_code)
        signals.authenticator_added.connect(end_other_logins)
        signals.authenticator_removed.connect(end_other_logins)
        signals.authenticator_reset.connect(end_other_logins)


@receiver(user_logged_in, dispatch_uid="authmodes")
def record_cookie_login(request: HttpRequest | None, user: Any, **kwargs: Any) -> None:
    """Start a login session for every `login()`: allauth's, the admin's and the project's own."""
    if request is None or not hasattr(request, "session"):
        return
    if SESSION_KEY not in request.session:
        # A login for tokens, for which Django sends the signal as well.
        return
    try:
        if request_state(request).adds_tokens:
            starting.start_app(request, user)
        elif (left := impersonation.login_to_leave(request)) is not None:
            impersonation.start(request, user, left)
        else:
            registry.start(request, user, Mode.SESSION)
    except (LimitReached, UserInactive) as error:
        refusals.note(request, error.default_code, find_user=lambda: user)
        # Django has put the user into the session already. If the error becomes a response, as
        # in DRF, the session would be saved.
        session_store.discard(request)
        raise


@receiver(user_login_failed)
def note_wrong_password(
    credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
) -> None:
    """Count a password that no backend has accepted, on any page, form or endpoint."""
    # Looked up after the view and then dropped, because a user may type a password as a name.
    named = {key: credentials[key] for key in ACCOUNT_NAMES & credentials.keys()}
    find_user = partial(password.account_of, named)
    refusals.note(request or context.request, NoActiveAccount.default_code, find_user=find_user)


@receiver(login_code_rejected)
def note_wrong_code(request: HttpRequest, user: Any, **kwargs: Any) -> None:
    """Count a wrong code of a mail. allauth pretends to send one to unknown addresses."""
    refusals.note(request, INVALID_CODE, find_user=lambda: user)


def note_wrong_mfa_code(request: HttpRequest, user: Any, **kwargs: Any) -> None:
    """Count a wrong second factor."""
    refusals.note(request, InvalidMfaCode.default_code, find_user=lambda: user)


@receiver(user_logged_out)
def end_logins_of_request(request: HttpRequest | None, **kwargs: Any) -> None:
    """End all logins of the request of a `logout()`: of Django session, header and token cookies.

    The signal comes before Django flushes the session.
    """
    if request is None:
        return
    session, state = getattr(request, "session", None), request_state(request)
    stored = session_state.load(session) if session is not None else None
    sids = {state.sid or "", stored.sid if stored is not None else ""} - {""}
    sids.update(str(each.sid) for each in validation.logins_of_token_cookies(request))
    if sids:
        registry.revoke_all(LoginSession.objects.filter(sid__in=sids), EndReason.LOGOUT)
    state.clears_token_cookies = token_cookies.are_enabled()


@receiver(authentication_step_completed)
def drop_authentication_records_of_others(request: HttpRequest, user: Any, **kwargs: Any) -> None:
    """Keep one user's records apart from those of the next, whatever the release of allauth."""
    authentication_context.drop_records_of_others(request, user)


@receiver(authentication_step_completed)
def record_reauthentication(
    request: HttpRequest, user: Any, method: str, reauthenticated: bool = False, **kwargs: Any
) -> None:
    """Write the event of a step-up, with the login that was confirmed."""
    stored = session_state.load(request.session) if reauthenticated else None
    if stored is None:
        return
    is_app = session_store.is_app_session(request.session)
    events.record(
        EventKind.STEP_UP,
        user=user,
        sid=stored.sid,
        mode=Mode.JWT if is_app else Mode.SESSION,
        method=method,
        provider=kwargs.get("provider", ""),
    )


@receiver(authentication_step_completed)
def change_key_at_reauthentication(
    request: HttpRequest, reauthenticated: bool = False, **kwargs: Any
) -> None:
    """Change the session key when the user re-authenticates (ASVS V7.2.4)."""
    if not reauthenticated or not request.session.session_key:
        return
    stored = session_state.load(request.session)
    if stored is None or not session_store.is_app_session(request.session):
        # A parallel request may have rotated the key, and only one of two changes wins.
        with suppress(UpdateError):
            session_rotation.reload_latest(request.session)
        request.session.cycle_key()
        return
    # An app may have running calls, and a 410 would tell it that its login has ended. During the
    # grace, the old session token still identifies the session.
    try:
        django_sessions.rotate_session(request.session, stored.sid)
    except UpdateError:
        request.session.flush()
    else:
        session_state.register_key(request.session)


@receiver(post_save, sender=BlacklistedToken)
def end_blacklisted_login(instance: BlacklistedToken, raw: bool, **kwargs: Any) -> None:
    """End the login session of a refresh token that was blacklisted through simplejwt."""
    if not raw:
        registry.revoke_all(LoginSession.objects.filter(refresh_token=instance.token_id))


def note_new_password(
    instance: Any, update_fields: frozenset[str] | None, using: str, raw: bool, **kwargs: Any
) -> None:
    """Note that a save is about to change the password."""
    has_new_password.pop(id(instance), None)
    if raw or instance.pk is None:
        return
    if update_fields is not None and "password" not in update_fields:
        return
    stored = get_user_model()._base_manager.using(using).filter(pk=instance.pk)
    if any(known != instance.password for known in stored.values_list("password", flat=True)):
        has_new_password[id(instance)] = instance


def end_logins_of_changed_user(
    instance: Any, created: bool, update_fields: frozenset[str] | None, raw: bool, **kwargs: Any
) -> None:
    """End logins that a new password or a deactivated account invalidates.

    Each request would notice this too, also after `QuerySet.update()`, which sends no signal.
    Ending them here keeps lists and the admin correct.
    """
    is_new_password = has_new_password.pop(id(instance), None) is not None
    if raw or created:
        return
    if update_fields is not None and not {"password", "is_active"} & update_fields:
        return
    if not is_accepted(instance):
        registry.revoke_user(instance, EndReason.USER_DISABLED)
    elif is_new_password:
        request = context.request
        spare = session_state.current_sid(request)
        validation.end_outdated(instance, spare=spare)
        if spare is not None:
            transactions.defer(request, partial(django_sessions.end_spared, request, spare))


def end_logins_of_deleted_user(instance: Any, **kwargs: Any) -> None:
    """End the user's logins before their rows are deleted with the user."""
    registry.revoke_user(instance, EndReason.USER_DISABLED)
    erasure.keep_or_remove_identity(instance)


@receiver([social_account_added, social_account_removed])
def end_other_logins(**kwargs: Any) -> None:
    """End the user's other logins after a way to sign in was added or removed."""
    user = kwargs.get("user") or (kwargs.get("sociallogin") or kwargs["socialaccount"]).user
    ending.revoke_others(user, spare=session_state.current_sid(context.request))
    pending.renew(context.request, user)


@receiver(pre_delete, sender=OutstandingToken)
def end_login_of_deleted_token(instance: OutstandingToken, **kwargs: Any) -> None:
    """End a login whose refresh token was deleted: it has nothing left to rotate."""
    if not policy.is_over(instance.expires_at, timezone.now()):
        registry.revoke_all(LoginSession.objects.filter(refresh_token=instance.pk))
