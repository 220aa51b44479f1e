"""Sends the Content-Security-Policy header; Django itself does so from 6.0 on."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse


class ContentSecurityPolicyMiddleware:
    """Add `settings.CONTENT_SECURITY_POLICY` to every answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", policy())
        return response


def policy() -> str:
    """Return the policy in the form of the header."""
    directives: dict[str, list[str]] = settings.CONTENT_SECURITY_POLICY
    return "; ".join(f"{name} {' '.join(sources)}" for name, sources in directives.items())
