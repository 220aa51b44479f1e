"""Remembers in the browser how its user signed in last, as a hint on the sign-in page.

The cookie names a method and no user. It outlives the session, which is what a hint is for.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from allauth.account.signals import authentication_step_completed
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse

COOKIE_NAME = "site_last_method"
MAX_AGE = timedelta(days=365)


@receiver(authentication_step_completed)
def note(request: HttpRequest, method: str, **kwargs: Any) -> None:
    """Keep the method for the answer, unless it is not what a sign-in begins with."""
    is_second = method == "mfa" and not kwargs.get("passwordless")
    if not is_second and not kwargs.get("reauthenticated"):
        request.META[COOKIE_NAME] = kwargs.get("provider") or method


class LastMethodMiddleware:
    """Set the cookie with the answer to a sign-in, whatever the sign-in becomes."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if method := request.META.get(COOKIE_NAME):
            response.set_cookie(
                COOKIE_NAME,
                method,
                max_age=MAX_AGE,
                secure=request.is_secure(),
                httponly=True,
                samesite="Lax",
            )
        return response
