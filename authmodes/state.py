"""What we know of a request, and of a Django session that was loaded: one attribute on each."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

from .conf import RequestSettings

if TYPE_CHECKING:
    from .intent import Intent
    from .memory import Memory
    from .models import LoginSession
    from .tokens import TokenPair

NAME = "_authmodes"


@dataclass(slots=True)
class SessionState:
    """What is known of a Django session since it was loaded or made; nothing here is stored."""

    # Whether the store was asked for it and has answered; then the key that the request came
    # by, or was led on to (None if it led nowhere), and the data as they were.
    is_loaded: bool = False
    came_by: str | None = None
    came_with: dict[str, Any] | None = None
    # The request came by a key that was rotated a moment ago.
    is_late: bool = False
    # The request has saved it; is not to leave it behind.
    is_settled: bool = False
    is_discarded: bool = False
    # The key that the row is known to have.
    registered_key: str | None = None
    # What is to be remembered with the answer.
    postponed: dict[str, Any] = field(default_factory=dict)
    # The data that were read last, and what they said.
    recalled: "tuple[Any, Memory | None]" = (None, None)


@dataclass(slots=True)
class RequestState:
    """What is known of a request."""

    settings: RequestSettings | None = None
    # The user that Django found last, and what became of them.
    judged: tuple[Any, Any] = (None, None)
    # Writes that wait for the end of the view's transaction.
    outliving: list[Callable[[], object]] = field(default_factory=list)
    # The login session that the request has made; that of its credential.
    login: "LoginSession | None" = None
    sid: str | None = None
    # What its sign-in is to become.
    intent: "Intent | None" = None
    adds_tokens: bool = False
    # What the adapter answers a sign-in with.
    redirect: str | None = None
    pair: "TokenPair | None" = None
    # What a refusal is challenged with.
    bad_token: bool = False
    challenge: str | None = None
    max_age: int | None = None


def of_session(session: SessionBase) -> SessionState:
    state: SessionState | None = getattr(session, NAME, None)
    if state is None:
        state = SessionState()
        setattr(session, NAME, state)
    return state


def of_request(request: HttpRequest) -> RequestState:
    state: RequestState | None = getattr(request, NAME, None)
    if state is None:
        state = RequestState()
        setattr(request, NAME, state)
    return state


def settings_of(request: HttpRequest) -> RequestSettings:
    """The settings as they were when this request first asked for them."""
    state = of_request(request)
    if state.settings is None:
        state.settings = RequestSettings.read()
    return state.settings
