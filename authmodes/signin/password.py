"""Signing in with a password over REST, through allauth's login flow."""

from typing import Any

from allauth.account import app_settings
from allauth.account.forms import LoginForm
from allauth.utils import get_form_class
from django.conf import settings
from django.http import HttpRequest

from ..exceptions import NoActiveAccount
from ..models import LoginSession
from . import stages
from .flow import clear_earlier_login, run, throttled
from .stages import Answers


def sign_in(
    request: HttpRequest, login: str, password: str, mode: str, mfa_code: str = ""
) -> LoginSession:
    """Sign a user in by name or e-mail address; return the new login session.

    Raises `AuthenticationFailed` (wrong password, inactive user), `StagePending` (one of
    allauth's stages has to be done first) or `Throttled` (allauth's rate limits).
    """
    with run(request, mode):
        form = _valid_form(request, login, password)
        clear_earlier_login(request)
        form.login(request)
        return stages.conclude(request, form.user, Answers(mfa_code))


def _valid_form(request: HttpRequest, login: str, password: str) -> Any:
    form_class = get_form_class(app_settings.FORMS, "login", LoginForm)
    # Without "remember", allauth ends the cookie with the browser, whatever Django's setting.
    remember = not settings.SESSION_EXPIRE_AT_BROWSER_CLOSE
    data = {"login": login, "password": password, "remember": remember}
    form = form_class(data, request=request)
    if form.is_valid():
        return form
    if "too_many_login_attempts" in stages.error_codes(form):
        raise throttled("login_failed")
    raise NoActiveAccount
