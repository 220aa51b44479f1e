"""What every sign-in over REST shares: the rate limit, the flow and a session to run it in."""

from collections.abc import Iterator
from contextlib import contextmanager

from allauth.account.adapter import get_adapter
from allauth.account.internal.stagekit import clear_login
from django.contrib.auth.models import AnonymousUser
from django.contrib.messages.storage import default_storage
from django.http import HttpRequest

from ..conf import Mode
from ..sessions import store as session_store
from . import authorization_request, ratelimit
from .authorization_request import AuthorizationRequest


@contextmanager
def run(request: HttpRequest, mode: str) -> Iterator[AuthorizationRequest]:
    """Declare what the login shall become, within allauth's limit of attempts."""
    wanted = AuthorizationRequest(mode)
    authorization_request.declare(request, wanted)
    ratelimit.count(request)
    if mode == Mode.SESSION:
        yield wanted
    else:
        with _detached_session(request):
            yield wanted


def clear_earlier_login(request: HttpRequest) -> None:
    """Leave nothing of an older login in this browser, done or pending, to mix up with."""
    if request.user.is_authenticated:
        get_adapter(request).logout(request)
    clear_login(request)


@contextmanager
def _detached_session(request: HttpRequest) -> Iterator[None]:
    """Let allauth work in a session that is thrown away afterwards.

    A login for tokens neither sees nor changes the cookie login that the same browser may
    hold, and its answer sets no session cookie, nor one of messages for a page.
    """
    session, user = request.session, request.user
    request.session, request.user = session_store.engine()(), AnonymousUser()
    messages = getattr(request, "_messages", None)
    if messages is not None:
        request._messages = default_storage(request)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        if request.session.session_key:
            request.session.flush()
        request.session, request.user = session, user
        if messages is not None:
            request._messages = messages  # type: ignore[attr-defined]
