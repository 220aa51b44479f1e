"""The middleware of cookie logins.

It validates the login when a view reads `request.user`, and saves, renews and rotates the
session after the view.

A request that does not read the user makes no query of ours before the view, unless a provider
may have sent the browser back with it. What validation needs is in the Django session; the row
is read once per touch interval.
"""

import functools
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.sessions.backends.base import UpdateError
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated

from .. import request_client
from ..conf import conf
from ..exceptions import (
    CsrfFailed,
    InsufficientAuthentication,
    InsufficientScope,
    LimitReached,
    LoginRefused,
    ServiceUnavailable,
    UserInactive,
    to_response,
)
from ..models import unavailable_as_503
from ..registry import refusals
from ..sessions import store as session_store
from ..signin import code_flow
from ..state import request_state
from ..tokens import cookies as token_cookies
from . import response as response_phase
from . import validation

# What `authenticate` raises in a view that is not DRF's, and ninja's adapter.
REFUSALS = (AuthenticationFailed, NotAuthenticated, CsrfFailed, InsufficientScope)


class LoginSessionMiddleware:
    """Place it after `AuthenticationMiddleware`."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        validation.validate_on_access(request)
        if self.is_async:
            return self._respond_async(request)
        if _may_be_callback(request) and (away := _call(code_flow.begin_request, request)):
            return away
        response = self.get_response(request)
        if _may_end_code_flow(request, response):
            response = _call(code_flow.end_request, request, response)
        _note_refused_form(request, response)
        _add_headers(request, response)
        if response_phase.has_work(request):
            return _call(response_phase.finish, request, response) or response
        return response

    async def _respond_async(self, request: HttpRequest) -> HttpResponseBase:
        call = sync_to_async(_call)
        if _may_be_callback(request) and (away := await call(code_flow.begin_request, request)):
            return away
        response = await self.get_response(request)
        if _may_end_code_flow(request, response):
            response = await call(code_flow.end_request, request, response)
        _note_refused_form(request, response)
        _add_headers(request, response)
        if response_phase.has_work(request):
            return await call(response_phase.finish, request, response) or response
        return response

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponseBase | None:
        """Respond to refused logins and credentials, and to an unavailable database."""
        if isinstance(exception, UpdateError) and request_client.is_app_client(request):
            # Headless saves an app's session in its view. Django's own middleware also answers
            # with 400 if the session was deleted during the request.
            return HttpResponseBadRequest()
        if isinstance(exception, ServiceUnavailable):
            return to_response(exception)
        if not isinstance(exception, LimitReached | UserInactive):
            response = code_flow.end_by_exception(request, exception)
            if response is None and isinstance(exception, REFUSALS):
                challenge = request_state(request).challenge_of(exception.status_code)
                return to_response(exception, challenge)
            return response
        context = {
            "code": exception.default_code,
            "detail": exception.detail,
            "retry_url": request.get_full_path(),
        }
        return render(request, "authmodes/login_refused.html", context, status=403)


def _may_be_callback(request: HttpRequest) -> bool:
    """Whether a provider may have sent the browser back here."""
    # Most requests have no query to parse.
    has_state = request.META.get("QUERY_STRING") and "state" in request.GET
    return bool(has_state) and session_store.key_in_cookie(request) is not None


def _may_end_code_flow(request: HttpRequest, response: HttpResponseBase) -> bool:
    in_flow = request_state(request).code_flow is not None
    return in_flow or (response.status_code == 302 and request.session.accessed)


def _call(work: Callable[..., Any], *args: Any) -> Any:
    """Return what `work` returns, or a 503 while the database is unavailable."""
    try:
        with unavailable_as_503():
            return work(*args)
    except ServiceUnavailable as error:
        return to_response(error)


def _note_refused_form(request: HttpRequest, response: HttpResponseBase) -> None:
    """Count a right password that Django's form refuses, as the admin's does of a user.

    Django sends no signal then. A wrong password sends one, and leaves the form no user.
    """
    page = getattr(response, "context_data", None) if request.method == "POST" else None
    form = page.get("form") if page else None
    if isinstance(form, AuthenticationForm) and form.errors and form.get_user() is not None:
        find_user = form.get_user
        refusals.note(request, LoginRefused.default_code, find_user=find_user)


def _add_headers(request: HttpRequest, response: HttpResponseBase) -> None:
    """Set `Vary`, and delete the token cookies of logins that have ended.

    A 403 gets a challenge that names the scope which a permission requires.
    """
    state = request_state(request)
    if state.vary:
        response["Vary"] = _patched_vary(response.get("Vary"), frozenset(state.vary))
    # Unless a login of this request has set them anew.
    if state.clears_token_cookies and conf.ACCESS_COOKIE_NAME not in response.cookies:
        token_cookies.clear_cookies(response)
    # Only a 403 of DRF's: of two permissions, the other one may have admitted the request.
    refused = response.status_code == 403 and getattr(response, "exception", False)
    if state.challenge is not None and refused:
        response.setdefault("WWW-Authenticate", state.challenge)
        if InsufficientAuthentication.default_code in state.challenge:
            response.status_code = 401


# Django's function takes an eighth of what a token request without a query costs, and few values
# are in use.
@functools.lru_cache(maxsize=64)
def _patched_vary(present: str | None, names: frozenset[str]) -> str:
    response = HttpResponse(headers={} if present is None else {"Vary": present})
    patch_vary_headers(response, sorted(names))
    return response["Vary"]
