"""Every reason a login or a token is refused for, as exceptions that DRF answers.

A class states the status, the `code` of the body and the message. Views list the classes that
they raise, and the OpenAPI document takes status and code from there. A class that is raised
with several codes lists them in `codes`.
"""

from collections.abc import Iterable
from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import status
from rest_framework.exceptions import APIException, AuthenticationFailed, ParseError

REALM = 'Bearer realm="api"'


class CodeInDetail(APIException):
    """An error whose detail holds its code, and `more` beside it.

    Views that are not ours answer by DRF's own handler, which drops the code of any other.
    """

    def __init__(self, **more: Any) -> None:
        detail: Any = {"detail": self.default_detail, "code": self.default_code, **more}
        super().__init__(detail)


# 400: the request


class BadRequest(APIException):
    status_code = status.HTTP_400_BAD_REQUEST
    default_detail = _("The request is invalid.")
    default_code = "invalid"


class UnsupportedCharset(ParseError):
    default_detail = _("The charset of the body is not supported.")
    default_code = "unsupported_charset"


class InvalidMode(BadRequest):
    default_detail = _("The mode must be 'session' or 'jwt'.")
    default_code = "invalid_mode"


class ModeDisabled(BadRequest):
    default_detail = _("This mode of login is switched off.")
    default_code = "mode_disabled"


class InvalidNext(BadRequest):
    default_detail = _("This next is not allowed.")
    default_code = "invalid_next"


class InvalidState(BadRequest):
    default_detail = _("The state is too long.")
    default_code = "invalid_state"


class InvalidCodeChallenge(BadRequest):
    default_detail = _("The code_challenge must be made by S256.")
    default_code = "invalid_code_challenge"


class CodeChallengeRequired(BadRequest):
    default_detail = _("A code_challenge is required.")
    default_code = "code_challenge_required"


class InvalidRedirectURI(BadRequest):
    default_detail = _("This redirect_uri is not allowed.")
    default_code = "invalid_redirect_uri"


class InvalidPostLogoutRedirectURI(BadRequest):
    default_detail = _("This post_logout_redirect_uri is not allowed.")
    default_code = "invalid_post_logout_redirect_uri"


class CookieTransport(CodeInDetail, BadRequest):
    """simplejwt's own view is called, which knows only tokens in bodies."""

    default_detail = _("Tokens travel in cookies here; use the endpoints of authmodes.")
    default_code = "cookie_transport"


class UnsupportedCredential(CodeInDetail, BadRequest):
    """The provider takes no credential of this kind; `supported` names those that it takes."""

    default_detail = _("This provider's credential is not accepted here.")
    default_code = "unsupported_credential"

    def __init__(self, supported: list[str]) -> None:
        super().__init__(supported=supported)


class AudienceUnverifiable(UnsupportedCredential):
    default_detail = _("The app that this access token was issued to cannot be determined.")
    default_code = "audience_unverifiable"


class UidRequired(BadRequest):
    default_detail = _("Say which account by its uid.")
    default_code = "uid_required"


class DisconnectRefused(BadRequest):
    """By allauth's rules, the user could not sign in any more without this account."""

    codes = ("no_password", "no_verified_email", "disconnect_last")


class UpstreamTokenRefused(BadRequest):
    """A token that a provider is said to have sent is not acceptable; nothing was changed.

    The codes are RFC 8935's (2.4).
    """

    default_code = "invalid_request"
    codes = ("invalid_request", "invalid_key", "invalid_issuer", "invalid_audience")


class OAuthError(APIException):
    """An error of a token request: RFC 6749's `error` (5.2) beside our `detail` and `code`."""

    status_code: int = status.HTTP_400_BAD_REQUEST
    codes: tuple[str, ...] = (
        "invalid_request",
        "unsupported_grant_type",
        "invalid_scope",
        "mode_disabled",
    )

    def __init__(self, error: str, detail: Any, *, code: str = "") -> None:
        super().__init__({"error": error, "detail": detail, "code": code or error})


class InvalidClient(OAuthError):
    """The machine client could not be authenticated; `challenge` is for `WWW-Authenticate`."""

    status_code = status.HTTP_401_UNAUTHORIZED
    codes = ("invalid_client",)

    def __init__(self, challenge: str) -> None:
        super().__init__("invalid_client", _("The client is unknown, or its secret is wrong."))
        # DRF's handler makes the header of it.
        self.auth_header = challenge


# 401: the credential


class NoActiveAccount(AuthenticationFailed):
    """One answer for a wrong password and for a user who does not exist; simplejwt's words."""

    default_detail = _("No active account found with the given credentials")
    default_code = "no_active_account"


class UserInactive(AuthenticationFailed):
    default_detail = _("This account is inactive.")
    default_code = "user_inactive"


class PasswordLoginDisabled(APIException):
    """allauth's `SOCIALACCOUNT_ONLY`, which allauth enforces in its views."""

    status_code = status.HTTP_403_FORBIDDEN
    default_detail = _("Signing in with a password is switched off.")
    default_code = "password_login_disabled"


class LoginRefused(AuthenticationFailed):
    """allauth, or a hook of the project's, ended the login without saying why."""

    default_detail = _("The sign-in was refused.")
    default_code = "login_refused"


class StagePending(CodeInDetail, AuthenticationFailed):
    """The user is known, but a stage of allauth's login (MFA, say) is still to be done.

    `page` is where a browser goes on that holds the pending login in its Django session,
    None where nothing was kept; `fields` are what the same call may be made with again.
    """

    default_detail = _("Another step is needed to sign in.")
    default_code = "stage_pending"

    def __init__(self, stage: str, *, page: str | None = None, fields: Iterable[str] = ()) -> None:
        super().__init__(stage=stage)
        # Beside the errors of DRF, which makes text of everything: null stays null.
        self.go_on: dict[str, Any] = {"page": page, "fields": list(fields)}


class InvalidMfaCode(AuthenticationFailed):
    default_detail = _("The code of the second factor is wrong.")
    default_code = "invalid_mfa_code"


class InvalidGrant(AuthenticationFailed):
    default_detail = _("The code is unknown, used or expired, or the verifier is wrong.")
    default_code = "invalid_grant"


class InvalidProviderToken(AuthenticationFailed):
    """One answer for every provider's token that does not verify; the client is not told why."""

    default_detail = _("The provider's token is not acceptable.")
    default_code = "invalid_provider_token"


class InvalidNonce(AuthenticationFailed):
    default_detail = _("The nonce is not the one of the provider's token.")
    default_code = "invalid_nonce"


class ProviderTokenReplayed(AuthenticationFailed):
    default_detail = _("The provider's token was used already.")
    default_code = "provider_token_replayed"


class InsufficientAuthentication(CodeInDetail, AuthenticationFailed):
    default_detail = _("A more recent sign-in is required.")
    default_code = "insufficient_user_authentication"


class TokenExpired(CodeInDetail, AuthenticationFailed):
    default_detail = _("The refresh token has expired.")
    default_code = "token_expired"


class TokenReused(CodeInDetail, AuthenticationFailed):
    default_detail = _("The refresh token was used before; its login session has ended.")
    default_code = "token_reused"


class LoginSessionEnded(CodeInDetail, AuthenticationFailed):
    default_detail = _("The login session has ended.")
    default_code = "login_session_ended"


class TokensDisabled(CodeInDetail, AuthenticationFailed):
    default_detail = _("Tokens are switched off.")
    default_code = "mode_disabled"


# 403: the login


class Forbidden(APIException):
    status_code = status.HTTP_403_FORBIDDEN


class LimitReached(Forbidden):
    default_detail = _("You have reached the maximum number of sign-ins. Sign out elsewhere first.")
    default_code = "limit_reached"


class UpstreamLogout(Forbidden):
    default_detail = _("You have been signed out at your provider. Sign in again.")
    default_code = "upstream_logout"


class LoginOutdated(Forbidden):
    """A login waited at a stage of allauth's for too long: see `signin.pending`."""

    default_detail = _("This sign-in is out of date. Sign in again.")
    default_code = "login_outdated"


class SignupClosed(Forbidden):
    default_detail = _("Sign-up is closed.")
    default_code = "signup_closed"


# 409 and 5xx: the state of the server


class Conflict(APIException):
    """A concurrent call has made the same account; nothing was changed."""

    status_code = status.HTTP_409_CONFLICT
    default_detail = _("Another sign-in came between. Try again.")
    default_code = "conflict"


class ConnectedOther(Conflict):
    default_detail = _("This account is connected to another user.")
    default_code = "connected_other"


class TokenTooLarge(APIException):
    """A token with all its claims does not fit into a cookie (RFC 6265, 6.1)."""

    default_detail = _("The token is too large for a cookie; it has too many claims.")
    default_code = "token_too_large"


class Unavailable(APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE


class ProviderUnavailable(Unavailable):
    default_detail = _("The identity provider cannot be reached.")
    default_code = "provider_unavailable"


class LimitsUnavailable(Unavailable):
    """The cache that allauth counts attempts in is away, so no sign-in is tried."""

    default_detail = _("Signing in is not possible at the moment.")
    default_code = "limits_unavailable"
