"""What Django and simplejwt announce, carried to the registry."""

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db.models.signals import post_save, pre_delete
from django.http import HttpRequest
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken

from . import registry, stores
from .models import EndReason, LoginMode, LoginSession


def connect() -> None:
    """Connect every receiver; called once, from `apps.py`."""
    user_logged_in.connect(record_cookie_login, dispatch_uid="authmodes_logged_in")
    user_logged_out.connect(end_cookie_login, dispatch_uid="authmodes_logged_out")
    post_save.connect(
        end_blacklisted_login, sender=BlacklistedToken, dispatch_uid="authmodes_blacklisted"
    )
    pre_delete.connect(
        end_logins_of_deleted_user, sender=get_user_model(), dispatch_uid="authmodes_user_deleted"
    )


def record_cookie_login(request: HttpRequest | None, user: Any, **kwargs: Any) -> None:
    """Give every `login()` its row: allauth's, the admin's and the project's own."""
    if request is not None and hasattr(request, "session"):
        registry.start(request, user, LoginMode.SESSION)


def end_cookie_login(request: HttpRequest | None, **kwargs: Any) -> None:
    """End the row of a `logout()`; the signal comes before Django flushes the session."""
    session = getattr(request, "session", None)
    memory = stores.recall(session) if session is not None else None
    if memory is not None:
        registry.revoke_all(LoginSession.objects.filter(sid=memory.sid), EndReason.LOGOUT)


def end_blacklisted_login(instance: BlacklistedToken, **kwargs: Any) -> None:
    """Whoever blacklists a refresh token through simplejwt ends its login session."""
    registry.revoke_all(LoginSession.objects.filter(refresh_token=instance.token_id))


def end_logins_of_deleted_user(instance: Any, **kwargs: Any) -> None:
    """Clear Django sessions and blacklist tokens before the rows go with their user."""
    registry.revoke_all(LoginSession.objects.for_user(instance), EndReason.USER_DISABLED)
