"""What every sign-in over REST shares: the rate limit and the session that allauth runs in."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from allauth.account.adapter import get_adapter
from django.contrib.auth.models import AnonymousUser
from django.contrib.messages.storage import default_storage
from django.http import HttpRequest

from ..conf import Mode
from ..sessions import store as session_store
from ..state import request_state
from . import ratelimit
from .allauth_internals import clear_login
from .authorization_request import AuthorizationRequest


@contextmanager
def run(request: HttpRequest, mode: str) -> Iterator[AuthorizationRequest]:
    """Set the authorization request of a REST call, within allauth's limit of attempts."""
    requested = AuthorizationRequest(mode)
    request_state(request).authorization_request = requested
    ratelimit.count(request)
    if mode == Mode.SESSION:
        yield requested
    else:
        with _detached_session(request):
            yield requested


def clear_earlier_login(request: HttpRequest) -> None:
    """Clear the login of this browser, whether it is complete or still pending."""
    if request.user.is_authenticated:
        get_adapter(request).logout(request)
    clear_login(request)


@contextmanager
def _detached_session(request: Any) -> Iterator[None]:
    """Let allauth work in a session that is thrown away afterwards.

    A login for tokens neither sees nor changes the cookie login of the same browser, and its
    response sets no session cookie and no cookie of Django's messages.
    """
    session, user = request.session, request.user
    messages = getattr(request, "_messages", None)
    request.session, request.user = session_store.engine()(), AnonymousUser()
    if messages is not None:
        request._messages = default_storage(request)
    try:
        yield
    finally:
        if request.session.session_key:
            request.session.flush()
        request.session, request.user = session, user
        if messages is not None:
            request._messages = messages
