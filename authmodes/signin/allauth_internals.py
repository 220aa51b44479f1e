"""The private names of allauth that authmodes uses; a test fails when one of them moves.

`allauth.socialaccount` and `allauth.headless` may not be installed, so they are imported where
they are needed.
"""

from typing import Any

from allauth.account import app_settings
from allauth.account.internal.flows.login import record_authentication
from allauth.account.internal.flows.reauthentication import get_reauthentication_flows
from allauth.account.internal.stagekit import LOGIN_SESSION_KEY as LOGIN_KEY
from allauth.account.internal.stagekit import clear_login, get_pending_stage, unstash_login
from allauth.core.internal.ratelimit import parse_rates
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError
from django.forms import CheckboxInput
from django.http import HttpRequest, HttpResponse

__all__ = [
    "LOGIN_KEY",
    "STATES_KEY",
    "clear_login",
    "email_that_matched",
    "expect_headless_tokens",
    "get_pending_stage",
    "get_reauthentication_flows",
    "headless_error",
    "jti_cache_key",
    "parse_rates",
    "record_authentication",
    "remember_ticked",
    "set_expiry",
    "social_flows",
    "unstash_login",
    "verify_jti",
]

# `allauth.socialaccount.internal.statekit.STATES_SESSION_KEY`.
STATES_KEY = "socialaccount_states"


def social_flows() -> Any:
    """Return the module with allauth's flows for social accounts."""
    from allauth.socialaccount.internal import flows

    return flows


def email_that_matched(sociallogin: Any) -> str | None:
    """Return the e-mail address by which allauth found the user of a social login."""
    return getattr(sociallogin, "_did_authenticate_by_email", None)


def remember_ticked(request: HttpRequest) -> bool | None:
    """Return whether "Remember me" is ticked on allauth's login page; None for other requests."""
    if not {"login", "password"} <= request.POST.keys():
        return None
    ticked = CheckboxInput().value_from_datadict(request.POST, request.FILES, "remember")
    return bool(ticked)


def set_expiry(request: HttpRequest, remember: bool | None) -> None:
    """Let the session expire as allauth's form does.

    The form does it after the login, when the session is written and the tokens are made.
    """
    for_all: bool | None = app_settings.SESSION_REMEMBER
    remember = remember if for_all is None else for_all
    if remember is not None:
        request.session.set_expiry(app_settings.SESSION_COOKIE_AGE if remember else 0)


def jti_cache_key(claims: dict[str, Any]) -> str:
    """Return the key in the cache of the `jti` of an ID token that allauth has verified."""
    return f"jwt:iss={claims['iss']},jti={claims.get('jti')}"


def verify_jti(claims: dict[str, Any]) -> None:
    """Have allauth keep the `jti` of a verified ID token. Raises `OAuth2Error` for a used one."""
    from allauth.socialaccount.internal import jwtkit

    jwtkit.verify_jti(claims)


def expect_headless_tokens(request: Any) -> None:
    """Have headless return the tokens of this login even if the client was signed in before.

    Headless returns them only to a client that was anonymous. Signing in again ends the
    earlier login, so the client would be left without tokens.
    """
    request.allauth.headless._pre_user = AnonymousUser()


def headless_error(request: HttpRequest, code: str, detail: str, status: int) -> HttpResponse:
    """Return an error response of headless, which replaces every response that is not its own."""
    from allauth.headless.internal.restkit.response import ErrorResponse

    return ErrorResponse(request, exception=ValidationError(detail, code=code), status=status)
