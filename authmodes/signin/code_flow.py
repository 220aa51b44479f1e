"""Redirects the browser to the client when an authorization code flow ends without a code.

allauth responds to such an end with a page of its own, or with an error if its pages are not
routed. The middleware passes its response to this module after the view, so a project's
adapters, the providers and allauth's views need no changes. The visitor's Django session
survives the flow.
"""

import logging
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import NoReverseMatch, reverse

from .. import logs
from ..exceptions import UserInactive
from ..sessions import store as session_store
from ..state import request_state
from . import authorization_request, pending
from .allauth_internals import LOGIN_KEY, STATES_KEY
from .authorization_code import ClientRedirect, answer_url
from .authorization_request import AuthorizationRequest

# RFC 6749, 4.1.2.1. A provider's other errors concern this site, not the client.
PROVIDER_ERRORS = {"access_denied", "temporarily_unavailable"}
ENTRANCES = ("account_login", "account_request_login_code")
DEAD_ENDS = ("socialaccount_login_cancelled", "socialaccount_login_error", "account_inactive")


def begin_request(request: HttpRequest) -> None:
    """Note the code flow that a provider's callback belongs to, before the view removes it."""
    stashed = _states(request).get(request.GET["state"])
    requested = authorization_request.from_state(request, stashed[0]) if stashed else None
    if requested is not None and requested.wants_code:
        request_state(request).code_flow = requested


def end_request(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Redirect the browser to the client if the flow has ended without a code."""
    state = request_state(request)
    if state.redirect_url is not None:
        return response
    if state.code_flow is None:
        waiting = _find_lost(request, response)
        if waiting is None or not waiting.wants_code:
            return response
        state.code_flow = waiting
        return end(request)
    if _is_dead_end(request, response):
        return end(request, _error_of(request, response.status_code))
    pending_login = pending.user_id(request.session)
    if pending_login is not None:
        # At a stage, and one browser cannot have two logins.
        replace_login(request, pending_login)
    return response


def _find_lost(request: HttpRequest, response: HttpResponseBase) -> AuthorizationRequest | None:
    """Return what was asked for if the page of a stage, or of a mailed code, has no login left."""
    if LOGIN_KEY in request.session or not any(_leads_to(response, name) for name in ENTRANCES):
        return None
    return authorization_request.peek(request) or authorization_request.find_on_page(request)


def end_by_exception(request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
    """Return the response to an exception of a view; None outside a code flow."""
    if request_state(request).code_flow is None:
        return None
    if isinstance(exception, (PermissionDenied, NoReverseMatch)):
        # If allauth's pages are not routed, the user cannot continue.
        return end(request, _error_of(request, 403))
    logs.log(logging.ERROR, "code_flow_failed", exception=exception)
    return end(request, _error_of(request, 500))


def end(
    request: HttpRequest, error: str = "access_denied", description: str = ""
) -> ClientRedirect:
    """End the flow of this request with an error (RFC 6749, 4.1.2.1)."""
    state = request_state(request)
    assert state.code_flow is not None
    answer = {"error": error, "error_description": description} if description else {"error": error}
    state.redirect_url = answer_url(state.code_flow, **answer)
    leave(request)
    response = ClientRedirect(state.redirect_url)
    response["Cache-Control"] = "no-store"
    return response


def end_inactive(request: HttpRequest) -> ClientRedirect | None:
    """End the flow of an inactive user; return None outside a code flow."""
    in_flow = request_state(request).code_flow is not None
    return end(request, description=UserInactive.default_code) if in_flow else None


def set_aside_login(request: HttpRequest) -> None:
    """Remove the visitor's login from the session, so that allauth runs the flow as anonymous."""
    entries = _entries_of_login(request.session)
    for key in entries:
        del request.session[key]
    request_state(request).set_aside = (request.user, entries)
    request.user = AnonymousUser()


def replace_login(request: HttpRequest, user_id: str) -> None:
    """End the login that was set aside. A different user's data, such as a cart, end with it."""
    session, state = request.session, request_state(request)
    if state.set_aside is None:
        return
    previous, _ = state.set_aside
    state.set_aside = None
    if str(previous.pk) != user_id:
        for key in session.keys() - _entries_of_login(session).keys() - {STATES_KEY}:
            del session[key]
    # The middleware ends the login whose key is gone.
    session.cycle_key()


def leave(request: HttpRequest) -> None:
    """Remove the flow from the session, and keep the visitor's data under a new key."""
    session, set_aside = request.session, request_state(request).set_aside
    states = _states(request)
    states.pop(request.GET.get("state", ""), None)
    if states:
        session[STATES_KEY] = states
    else:
        session.pop(STATES_KEY, None)
    if SESSION_KEY in session and set_aside is None:
        # The flow has ended before its login began; the session has the visitor's.
        return
    for key in _entries_of_login(session):
        del session[key]
    if set_aside is not None:
        request.user, entries = set_aside
        session.update(entries)
    if session.keys():
        session.cycle_key()
    else:
        session_store.discard(request)


def _entries_of_login(session: SessionBase) -> dict[str, Any]:
    """Return the entries of a login, pending or complete; all others belong to the visitor."""
    prefixes = session_store.AUTHENTICATION_KEYS
    return {key: value for key, value in session.items() if key.startswith(prefixes)}


def _states(request: HttpRequest) -> dict[str, Any]:
    states = request.session.get(STATES_KEY)
    return {**states} if isinstance(states, dict) else {}


def _is_dead_end(request: HttpRequest, response: HttpResponseBase) -> bool:
    if response.status_code == 200:
        # A page such as that of a closed sign-up. Without its state, the flow cannot continue.
        return "state" in request.GET and request.GET["state"] not in _states(request)
    return response.status_code >= 400 or any(_leads_to(response, name) for name in DEAD_ENDS)


def _leads_to(response: HttpResponseBase, name: str) -> bool:
    try:
        return response.status_code == 302 and response.headers["Location"] == reverse(name)
    except NoReverseMatch:
        return False


def _error_of(request: HttpRequest, status: int) -> str:
    named = request.GET.get("error", "")
    if named in PROVIDER_ERRORS:
        return named
    # allauth responds to a provider's error with a page of status 401.
    return "server_error" if status in (401, 500) else "access_denied"
