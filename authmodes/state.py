"""What we know about the current request: one typed object, `request.authmodes`."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.views import debug
from rest_framework.request import Request

from .conf import RequestSettings
from .exceptions import REALM
from .models import LoginSession

if TYPE_CHECKING:
    from .signin.authorization_request import AuthorizationRequest
    from .tokens.jwt import TokenPair

# On requests and, with a `SessionState`, on Django sessions.
ATTRIBUTE = "authmodes"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an attempt to sign in was refused. `find_user` makes a query, or returns None."""

    code: str
    provider: str = ""
    find_user: Callable[[], Any] | None = None


@dataclass(slots=True)
class RequestState:
    """What we know about one request; none of it is stored.

    `sid` names the login session of an accepted access token or session token; for a cookie see
    `sessions.state.current_sid`. `login_session` is the one that a sign-in in this request started.
    """

    settings: RequestSettings | None = None
    # The user that Django resolved last, and the user that validation made of it.
    validated_user: tuple[Any, Any] = (None, None)
    # Writes that wait for the end of the view's transaction.
    deferred_writes: list[Callable[[], object]] = field(default_factory=list)
    sid: str | None = None
    login_session: LoginSession | None = None
    is_login_committed: bool = False
    # A `login()` in this request is an impersonation, or returns from one.
    impersonates: bool = False
    # What a sign-in in this request will become.
    authorization_request: "AuthorizationRequest | None" = None
    # Whether the Django session of that sign-in gets tokens as well.
    adds_tokens: bool = False
    # Whether that sign-in was begun here, and not by an earlier request.
    has_begun_login: bool = False
    # The code flow that this request belongs to, and the URL of its client that it has ended at.
    code_flow: "AuthorizationRequest | None" = None
    redirect_url: str | None = None
    # Whether a provider has sent the browser back to a flow of headless.
    in_headless_flow: bool = False
    # The visitor's user and the entries of their login, which a code flow has set aside.
    set_aside: tuple[Any, dict[str, Any]] | None = None
    token_pair: "TokenPair | None" = None
    # The session of the browser's cookie, while a login for tokens works in one of its own.
    browser_session: SessionBase | None = None
    # The logins of the token cookies that came along have ended.
    clears_token_cookies: bool = False
    # Why this request's attempt to sign in was refused, and whose it was.
    refusal: Refusal | None = None
    # Headers that the answer depends on and that Django does not know of, for `Vary`.
    vary: set[str] = field(default_factory=set)
    # What the challenge of a 401 or 403 says.
    has_bad_token: bool = False
    challenge: str | None = None

    @property
    def bearer_challenge(self) -> str:
        """The challenge of a 401; it has an `error` only if a token was sent (RFC 6750, 3.1)."""
        return f'{REALM}, error="invalid_token"' if self.has_bad_token else REALM

    def challenge_of(self, status: int) -> str | None:
        """The challenge of an error that is not answered by DRF."""
        return {401: self.bearer_challenge, 403: self.challenge}.get(status)


def to_django(request: HttpRequest | Request) -> HttpRequest:
    """Return the Django request that DRF's wraps, or a Django request itself.

    By a private name of DRF's; a test fails if it moves.
    """
    return getattr(request, "_request", request)


def request_state(request: HttpRequest | Request) -> RequestState:
    state: RequestState | None = getattr(request, ATTRIBUTE, None)
    if state is None:
        state = RequestState()
        setattr(to_django(request), ATTRIBUTE, state)
    return state


def request_settings(request: HttpRequest | None) -> RequestSettings:
    """Return the settings of this request; they do not change while it runs."""
    if request is None:
        return RequestSettings.read()
    state = request_state(request)
    if state.settings is None:
        state.settings = RequestSettings.read()
    return state.settings


def hide_variables(request: HttpRequest) -> None:
    """Have Django's error report of this request show no variables and no form fields.

    For functions that are not ours and have a credential from us or for us in a variable.
    """
    base: Any = type(debug.get_default_exception_reporter_filter())
    reporter_filter = _hiding(base)()
    to_django(request).exception_reporter_filter = reporter_filter


@functools.lru_cache(maxsize=4)
def _hiding(base: Any) -> Any:
    def hide(self: Any, request: HttpRequest, tb_frame: Any) -> Any:
        if not self.is_active(request):
            return base.get_traceback_frame_variables(self, request, tb_frame)
        return [(name, self.cleansed_substitute) for name in tb_frame.f_locals]

    def hide_form(self: Any, request: HttpRequest) -> Any:
        if not self.is_active(request):
            return base.get_post_parameters(self, request)
        return dict.fromkeys(request.POST, self.cleansed_substitute)

    hiding = {"get_traceback_frame_variables": hide, "get_post_parameters": hide_form}
    return type(base.__name__, (base,), hiding)
