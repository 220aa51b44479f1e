"""Every reason a login or a token is refused for, as exceptions that DRF answers.

`to_response` answers outside of DRF. A class states the status, the `code` of the body and the
message. Views list the classes that they raise, and the OpenAPI document takes status and code
from there. A class that is raised with several codes lists them in `codes`.
"""

from collections.abc import Iterable
from typing import Any

from django.http import JsonResponse
from django.utils import translation
from django.utils.translation import gettext_lazy as _
from rest_framework import status
from rest_framework.exceptions import (
    APIException,
    AuthenticationFailed,
    ParseError,
    PermissionDenied,
)

REALM = 'Bearer realm="api"'


def to_response(error: APIException, challenge: str | None = None) -> JsonResponse:
    """Answer an exception as DRF would, with `detail` and `code`."""
    headers = {"Cache-Control": "no-store"}
    if challenge:
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(wait)
    detail: Any = error.detail
    # An error that is not ours may have a list.
    code = getattr(detail, "code", error.default_code)
    body = detail if isinstance(detail, dict) else {"detail": detail, "code": code}
    return JsonResponse(body, status=error.status_code, headers=headers)


class CodedError(APIException):
    """An error that is declared with its code, `class InvalidNext(BadRequest, code="…")`."""

    def __init_subclass__(cls, code: str | None = None) -> None:
        if code is not None:
            cls.default_code = code


class CodeInDetail(CodedError):
    """An error whose detail holds its code, and `more` beside it.

    Views that are not ours answer by DRF's own handler, which drops the code of any other.
    """

    def __init__(self, **more: Any) -> None:
        detail: Any = {"detail": self.default_detail, "code": self.default_code, **more}
        super().__init__(detail)


# Why allauth's pages and flows refuse a sign-in; no answer of ours has these codes.
INVALID_CODE = "invalid_code"
PROVIDER_ERROR = "provider_error"
NOWHERE_TO_SEND_TOKENS = "nowhere_to_send_tokens"


def is_refusal(error: Exception) -> bool:
    """Whether an error of a sign-in says that this user or this credential may not sign in.

    The others are mistakes of the caller, a stage that follows, or a server that is away.
    """
    if isinstance(error, StagePending | CsrfFailed):
        return False
    return isinstance(
        error, ModeDisabled | AudienceUnverifiable | Unauthorized | Forbidden | Conflict
    )


def refusal_codes() -> list[str]:
    """Return the codes that a refused sign-in may have, sorted."""
    kinds: list[Any] = [ModeDisabled, AudienceUnverifiable]
    kinds += [kind for base in (Unauthorized, Forbidden) for kind in base.__subclasses__()]
    codes = {kind.default_code for kind in kinds if kind is not StagePending}
    return sorted({*codes, INVALID_CODE, PROVIDER_ERROR, NOWHERE_TO_SEND_TOKENS})


# 400: the request


class BadRequest(CodedError, code="invalid"):
    status_code = status.HTTP_400_BAD_REQUEST
    default_detail = _("The request is invalid.")


class UnsupportedCharset(CodedError, ParseError, code="unsupported_charset"):
    default_detail = _("The charset of the body is not supported.")


class InvalidMode(BadRequest, code="invalid_mode"):
    default_detail = _("The mode must be 'session' or 'jwt'.")


class ModeDisabled(BadRequest, code="mode_disabled"):
    default_detail = _("This mode of login is switched off.")


class InvalidNext(BadRequest, code="invalid_next"):
    default_detail = _("This value of 'next' is not allowed.")


class InvalidState(BadRequest, code="invalid_state"):
    default_detail = _("The state is too long.")


class InvalidCodeChallenge(BadRequest, code="invalid_code_challenge"):
    default_detail = _("The code_challenge must be made by S256.")


class CodeChallengeRequired(BadRequest, code="code_challenge_required"):
    default_detail = _("A code_challenge is required.")


class InvalidClientID(BadRequest, code="invalid_client_id"):
    default_detail = _("This client_id is unknown.")


class InvalidRedirectURI(BadRequest, code="invalid_redirect_uri"):
    default_detail = _("This redirect_uri is not allowed.")


class InvalidPostLogoutRedirectURI(BadRequest, code="invalid_post_logout_redirect_uri"):
    default_detail = _("This post_logout_redirect_uri is not allowed.")


class CookieTransport(CodeInDetail, BadRequest, code="cookie_transport"):
    """simplejwt's own view is called, which knows only tokens in bodies."""

    default_detail = _("Tokens travel in cookies here; use the endpoints of authmodes.")


class UnsupportedCredential(CodeInDetail, BadRequest, code="unsupported_credential"):
    """The provider takes no credential of this kind; `supported` names those that it takes."""

    default_detail = _("This provider's credential is not accepted here.")

    def __init__(self, supported: list[str]) -> None:
        super().__init__(supported=supported)


class AudienceUnverifiable(UnsupportedCredential, code="audience_unverifiable"):
    default_detail = _("The app that this access token was issued to cannot be determined.")


class UidRequired(BadRequest, code="uid_required"):
    default_detail = _("Several accounts are connected. Name one by its uid.")


class DisconnectRefused(BadRequest):
    """By allauth's rules, the user could not sign in any more without this account."""

    codes = ("no_password", "no_verified_email", "disconnect_last")


class UpstreamTokenRefused(BadRequest, code="invalid_request"):
    """A token that a provider is said to have sent is not acceptable; nothing was changed.

    The codes are RFC 8935's (2.4).
    """

    codes = ("invalid_request", "invalid_key", "invalid_issuer", "invalid_audience")


class OAuthError(APIException):
    """An error of a token request: RFC 6749's `error` (5.2) beside our `detail` and `code`."""

    status_code: int = status.HTTP_400_BAD_REQUEST
    codes: tuple[str, ...] = (
        *("invalid_request", "invalid_grant", "unsupported_grant_type", "invalid_scope"),
        *("mode_disabled", "token_not_valid", "token_expired", "token_reused"),
        *("login_session_ended", "limit_reached", "login_outdated", "upstream_logout"),
        "user_inactive",
    )

    def __init__(self, error: str, detail: Any, *, code: str = "", **values: str) -> None:
        with translation.override(None):
            # RFC 6749 allows ASCII only, so it is never translated.
            description = str(detail) % values
        said = {"error": error, "error_description": description, "detail": detail % values}
        super().__init__({**said, "code": code or error})


class InvalidClient(OAuthError):
    """The machine client could not be authenticated; `challenge` is for `WWW-Authenticate`."""

    status_code = status.HTTP_401_UNAUTHORIZED
    codes = ("invalid_client",)

    def __init__(self, challenge: str) -> None:
        super().__init__("invalid_client", _("The client is unknown, or its secret is wrong."))
        # DRF's handler makes the header of it.
        self.auth_header = challenge


# 401: the credential


class Unauthorized(CodedError, AuthenticationFailed):
    """DRF adds the challenge of the view's authentication class."""


class NoActiveAccount(Unauthorized, code="no_active_account"):
    """One answer for a wrong password and for a user who does not exist; simplejwt's words."""

    default_detail = _("No active account found with the given credentials")


class UserInactive(Unauthorized, code="user_inactive"):
    default_detail = _("This account is inactive.")


class LoginRefused(Unauthorized, code="login_refused"):
    """allauth, or a hook of the project's, ended the login without saying why."""

    default_detail = _("The sign-in was refused.")


class StagePending(CodeInDetail, Unauthorized, code="stage_pending"):
    """The user is known, but a stage of allauth's login (MFA, say) is still to be done.

    `page` is where a browser continues, if its Django session holds the pending login, and
    otherwise None. `fields` are those that may be added to the same call.
    """

    default_detail = _("Another step is needed to sign in.")

    def __init__(self, stage: str, *, page: str | None = None, fields: Iterable[str] = ()) -> None:
        super().__init__(stage=stage)
        # Not in the detail: DRF makes text of everything there, and null must stay null.
        self.continuation: dict[str, Any] = {"page": page, "fields": list(fields)}


class InvalidMfaCode(Unauthorized, code="invalid_mfa_code"):
    default_detail = _("The code of the second factor is wrong.")


class InvalidGrant(Unauthorized, code="invalid_grant"):
    default_detail = _("The code is unknown, used or expired, or the verifier is wrong.")


class InvalidProviderToken(Unauthorized, code="invalid_provider_token"):
    """One answer for every provider's token that does not verify; the client is not told why."""

    default_detail = _("The provider's token is not acceptable.")


class InvalidNonce(Unauthorized, code="invalid_nonce"):
    default_detail = _("The nonce is not the one of the provider's token.")


class ProviderTokenReplayed(Unauthorized, code="provider_token_replayed"):
    default_detail = _("The provider's token was used already.")


class InsufficientAuthentication(
    CodeInDetail, Unauthorized, code="insufficient_user_authentication"
):
    default_detail = _("A more recent sign-in is required.")


class TokenExpired(CodeInDetail, Unauthorized, code="token_expired"):
    default_detail = _("The refresh token has expired.")


class TokenReused(CodeInDetail, Unauthorized, code="token_reused"):
    default_detail = _("The refresh token was used before; its login session has ended.")


class LoginSessionEnded(CodeInDetail, Unauthorized, code="login_session_ended"):
    default_detail = _("The login session has ended.")


class TokensDisabled(CodeInDetail, Unauthorized, code="mode_disabled"):
    default_detail = _("Tokens are switched off.")


# 403: the login


class Forbidden(CodedError):
    status_code = status.HTTP_403_FORBIDDEN


class CsrfFailed(CodeInDetail, PermissionDenied, code="csrf_failed"):
    """Django's check of a form or of a cookie's call; DRF has put its reason into words."""

    default_detail = _("CSRF Failed.")

    def __init__(self, reason: Any) -> None:
        super().__init__(detail=reason)


class InsufficientScope(CodeInDetail, PermissionDenied, code="insufficient_scope"):
    """Of a credential without a scope that is required (RFC 6750, 3.1)."""

    default_detail = _("The token does not have the required scope.")

    @classmethod
    def challenge(cls, scopes: Iterable[str]) -> str:
        return f'{REALM}, error="{cls.default_code}", scope="{" ".join(sorted(scopes))}"'


class LimitReached(Forbidden, code="limit_reached"):
    default_detail = _("You have reached the maximum number of sign-ins. Sign out elsewhere first.")


class UpstreamLogout(Forbidden, code="upstream_logout"):
    default_detail = _("You have been signed out at your provider. Sign in again.")


class LoginOutdated(Forbidden, code="login_outdated"):
    """A login waited at a stage of allauth's for too long: see `signin.pending`."""

    default_detail = _("This sign-in is out of date. Sign in again.")


class PasswordLoginDisabled(Forbidden, code="password_login_disabled"):
    """allauth's `SOCIALACCOUNT_ONLY`, which allauth enforces in its views."""

    default_detail = _("Signing in with a password is switched off.")


class SignupClosed(Forbidden, code="signup_closed"):
    default_detail = _("Sign-up is closed.")


# 409 and 5xx: the state of the server


class Conflict(CodedError, code="conflict"):
    """A parallel call has created the same account; nothing was changed."""

    status_code = status.HTTP_409_CONFLICT
    default_detail = _("A parallel sign-in created the same account. Try again.")


class ConnectedOther(Conflict, code="connected_other"):
    default_detail = _("This account is connected to another user.")


class TokenTooLarge(CodedError, code="token_too_large"):
    """A token with all its claims does not fit into a cookie (RFC 6265, 6.1)."""

    default_detail = _("The token is too large for a cookie; it has too many claims.")


class Unavailable(CodedError):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE


class ServiceUnavailable(CodeInDetail, Unavailable, code="unavailable"):
    """The database is away or only reads, or so is the store of the Django sessions."""

    default_detail = _("The service is not available at the moment. Try again.")
    # DRF's handler makes `Retry-After` of it: seconds.
    wait = 5


class ProviderUnavailable(Unavailable, code="provider_unavailable"):
    default_detail = _("The identity provider cannot be reached.")


class LimitsUnavailable(Unavailable, code="limits_unavailable"):
    """The cache that allauth counts attempts in is away, so no sign-in is tried."""

    default_detail = _("Signing in is not possible at the moment.")
