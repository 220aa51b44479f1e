"""Signing in with a password over REST, through allauth's login flow."""

from collections.abc import Mapping
from typing import Any

from allauth import app_settings as allauth_settings
from allauth.account import app_settings
from allauth.account.forms import LoginForm
from allauth.utils import get_form_class
from django.conf import settings
from django.core.exceptions import NON_FIELD_ERRORS
from django.http import HttpRequest
from rest_framework.exceptions import ValidationError

from ..exceptions import NoActiveAccount, PasswordLoginDisabled
from ..models import LoginSession
from . import stages
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
        form.login(request)
        return stages.conclude(request, form.user, Answers(mfa_code))


def _valid_form(request: HttpRequest, data: dict[str, Any]) -> Any:
    form_class = get_form_class(app_settings.FORMS, "login", LoginForm)
    # Without "remember", allauth ends the cookie with the browser, whatever Django's setting.
    data.setdefault("remember", not settings.SESSION_EXPIRE_AT_BROWSER_CLOSE)
    form = form_class(data, request=request)
    if form.is_valid():
        return form
    # An error in allauth's own fields would tell whether the account exists.
    wrong = {name: found for name, found in form.errors.items() if name not in OWN_FIELDS}
    if wrong:
        raise ValidationError(wrong)
    if "too_many_login_attempts" in stages.error_codes(form):
        raise throttled("login_failed")
    raise NoActiveAccount
