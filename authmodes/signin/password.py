"""Signing in with a password over REST, through allauth's login flow."""

from collections.abc import Mapping
from typing import Any

from allauth import app_settings as allauth_settings
from allauth.account import app_settings
from allauth.account.adapter import get_adapter
from allauth.account.auth_backends import AuthenticationBackend
from allauth.account.forms import LoginForm
from allauth.account.utils import filter_users_by_email, filter_users_by_username, user_username
from allauth.utils import get_form_class
from django.conf import settings
from django.contrib.auth import get_backends, get_user_model
from django.core.exceptions import NON_FIELD_ERRORS, ObjectDoesNotExist
from django.http import HttpRequest
from rest_framework.exceptions import ValidationError

from ..exceptions import NoActiveAccount, PasswordLoginDisabled
from ..models import LoginSession
from . import allauth_internals, stages
from .flow import clear_earlier_login, run, throttled
from .stages import Answers

OWN_FIELDS = {"login", "password", NON_FIELD_ERRORS}


def sign_in(
    request: HttpRequest,
    login: str,
    password: str,
    mode: str,
    mfa_code: str = "",
    further: Mapping[str, Any] | None = None,
) -> LoginSession:
    """Sign a user in by name or e-mail address; return the new login session.

    `further` are fields of the project's own login form, and `remember` of allauth's. Raises
    `AuthenticationFailed` (wrong password, inactive user), `StagePending` (one of allauth's
    stages has to be done first), `Throttled` (allauth's rate limits), `ValidationError` (a
    further field) or `PasswordLoginDisabled`.
    """
    if allauth_settings.SOCIALACCOUNT_ONLY:
        raise PasswordLoginDisabled
    with run(request, mode):
        form = _valid_form(request, {**(further or {}), "login": login, "password": password})
        clear_earlier_login(request)
        allauth_internals.set_expiry(request, form.cleaned_data.get("remember"))
        form.login(request)
        return stages.conclude(request, form.user, Answers(mfa_code))


def form_fields() -> list[str]:
    """Return the names of the fields of the login form, allauth's or the project's own."""
    return list(_form_class().base_fields)


def _form_class() -> Any:
    return get_form_class(app_settings.FORMS, "login", LoginForm)


def _valid_form(request: HttpRequest, data: dict[str, Any]) -> Any:
    # Without "remember", allauth ends the cookie with the browser, whatever Django's setting.
    data.setdefault("remember", not settings.SESSION_EXPIRE_AT_BROWSER_CLOSE)
    form = _form_class()(data, request=request)
    for field in form.fields.values():
        # No page shows the form, and for a password allauth renders a template.
        field.help_text = ""
    if form.is_valid():
        return form
    # An error in allauth's own fields would tell whether the account exists.
    wrong = {name: found for name, found in form.errors.items() if name not in OWN_FIELDS}
    if wrong:
        raise ValidationError(wrong)
    if "too_many_login_attempts" in stages.error_codes(form):
        raise throttled("login_failed")
    raise NoActiveAccount


def account_of(credentials: dict[str, Any]) -> Any:
    """Return the account that may be opened by these credentials, None without one.

    It may be named in several ways: by its e-mail address, in other letters that the backends
    take for the same, and on MySQL with accents, which Django's own backend does not see.
    """
    name = credentials.get("email") or credentials.get("username") or ""
    # allauth looks up a user name as an address as well.
    if users := _by_email(name if "@" in name else ""):
        return min(users, key=lambda user: user.pk)
    if phone := credentials.get("phone"):
        return get_adapter().get_user_by_phone(phone)
    return _by_name(name)


def narrow(credentials: dict[str, Any]) -> dict[str, Any]:
    """Leave the user name out where allauth sends an e-mail address as both.

    Otherwise Django's backend and allauth's would each hash the password, and allauth's twice
    for an address that is known, so that the time would tell. An account whose user name is the
    address of a different account still needs it.
    """
    email, name = credentials.get("email"), credentials.get("username")
    if not email or email != name or not _has_allauth_backend():
        return credentials
    by_name = _by_name(name)
    if by_name is not None and by_name not in _by_email(email):
        return credentials
    return {key: value for key, value in credentials.items() if key != "username"}


def _has_allauth_backend() -> bool:
    return any(isinstance(backend, AuthenticationBackend) for backend in get_backends())


def _by_email(email: str) -> list[Any]:
    return filter_users_by_email(email, prefer_verified=True) if email else []


def _by_name(name: str) -> Any:
    if not name:
        return None
    try:
        return get_user_model()._default_manager.get_by_natural_key(name)
    except ObjectDoesNotExist:
        if not app_settings.USER_MODEL_USERNAME_FIELD:
            return None
    # Compared here as well, because a database's collation may take "á" for "a".
    found = filter_users_by_username(name)
    matching = [user for user in found if user_username(user).lower() == name.lower()]
    return matching[0] if len(matching) == 1 else None
