"""What a login or a token can be refused for, as exceptions that DRF answers."""

from collections.abc import Iterable
from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import exceptions, status

REALM = 'Bearer realm="api"'


class StagePending(exceptions.AuthenticationFailed):
    """The user is known, but a stage of allauth's login (MFA, say) is still to be done.

    `page` is where a browser goes on that holds the pending login in its Django session,
    None where nothing was kept; `fields` are what the same call may be made with again.
    """

    def __init__(self, stage: str, *, page: str | None = None, fields: Iterable[str] = ()) -> None:
        super().__init__(
            {
                "detail": _("Another step is needed to sign in."),
                "code": "stage_pending",
                "stage": stage,
            }
        )
        # Beside the errors of DRF, which makes text of everything: null stays null.
        self.go_on: dict[str, Any] = {"page": page, "fields": list(fields)}


class ModeDisabled(exceptions.APIException):
    """The login asked for a mode that is switched off."""

    status_code = status.HTTP_400_BAD_REQUEST
    default_detail = _("This mode of login is switched off.")
    default_code = "mode_disabled"


class LimitReached(exceptions.APIException):
    """`AUTHMODES_MAX_LOGIN_SESSIONS` are active, and the policy is to refuse another."""

    status_code = status.HTTP_403_FORBIDDEN
    default_detail = _("You are signed in too often already. Sign out somewhere else first.")
    default_code = "limit_reached"


class UpstreamLogout(exceptions.APIException):
    """The provider has ended the login while it waited at a stage of allauth's."""

    status_code = status.HTTP_403_FORBIDDEN
    default_detail = _("You have been signed out at your provider. Sign in again.")
    default_code = "upstream_logout"


class LoginOutdated(exceptions.APIException):
    """A login waited at a stage of allauth's for too long: see `pending.py` and `id_tokens.py`."""

    status_code = status.HTTP_403_FORBIDDEN
    default_detail = _("This sign-in is out of date. Sign in again.")
    default_code = "login_outdated"


class TokenTooLarge(exceptions.APIException):
    """A token with all its claims does not fit into a cookie (RFC 6265, 6.1)."""

    default_detail = _("The token is too large for a cookie; it has too many claims.")
    default_code = "token_too_large"


class BadRequest(exceptions.APIException):
    status_code = status.HTTP_400_BAD_REQUEST
    default_detail = _("The request is invalid.")
    default_code = "invalid"


class OAuthError(exceptions.APIException):
    """An error of a token request: RFC 6749's `error` (5.2) beside our `detail` and `code`."""

    def __init__(
        self, error: str, detail: Any, *, code: str = "", challenge: str | None = None
    ) -> None:
        super().__init__({"error": error, "detail": detail, "code": code or error})
        # DRF's handler looks for both; only a client that was not let in is challenged.
        self.status_code = (
            status.HTTP_401_UNAUTHORIZED if challenge else status.HTTP_400_BAD_REQUEST
        )
        self.auth_header = challenge


class SignupClosed(exceptions.APIException):
    """The provider's user has no account here, and the site takes no new ones."""

    status_code = status.HTTP_403_FORBIDDEN
    default_detail = _("Sign-up is closed.")
    default_code = "signup_closed"


class Conflict(exceptions.APIException):
    """Somebody else was faster, or has it already; nothing was changed."""

    status_code = status.HTTP_409_CONFLICT
    default_detail = _("Another sign-in came between. Try again.")
    default_code = "conflict"


class ProviderUnavailable(exceptions.APIException):
    """The identity provider did not answer; nothing was changed."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = _("The identity provider cannot be reached.")
    default_code = "provider_unavailable"


class UpstreamTokenRefused(BadRequest):
    """A token that a provider is said to have sent is not acceptable; nothing was changed.

    The codes are RFC 8935's (2.4): `invalid_key`, `invalid_issuer`, `invalid_audience`.
    """

    default_code = "invalid_request"


class LimitsUnavailable(exceptions.APIException):
    """The cache that allauth counts attempts in is away; nobody may guess meanwhile."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = _("Signing in is not possible at the moment.")
    default_code = "limits_unavailable"


def no_active_account() -> exceptions.AuthenticationFailed:
    """One answer for a wrong password and for a user who does not exist; simplejwt's words."""
    return exceptions.AuthenticationFailed(
        _("No active account found with the given credentials"), "no_active_account"
    )


def user_inactive() -> exceptions.AuthenticationFailed:
    """The account is locked, by Django's `is_active` or by simplejwt's rule."""
    return exceptions.AuthenticationFailed(_("This account is inactive."), "user_inactive")


def login_refused() -> exceptions.AuthenticationFailed:
    """allauth, or a hook of the project's, ended the login without saying why."""
    return exceptions.AuthenticationFailed(_("The sign-in was refused."), "login_refused")
