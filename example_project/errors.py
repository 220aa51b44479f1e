"""The site's error answers: pages that need no database, and JSON for clients of the API."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string

API_PREFIXES = ("/api/", "/auth/", "/.well-known/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a malformed request, or one for an unknown host."""
    return answer(request, 400, "bad_request", "Malformed request.")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a signed-in user who may not do this."""
    return answer(request, 403, "permission_denied", "You do not have permission to do this.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer an unsafe request without a valid CSRF token; the log has the reason."""
    return answer(request, 403, "csrf_failed", "CSRF verification failed.", page="403_csrf.html")


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request for an unknown address."""
    return answer(request, 404, "not_found", "Not found.")


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer a request that has failed."""
    return answer(request, 500, "error", "A server error occurred.")


def answer(
    request: HttpRequest, status: int, code: str, detail: str, page: str = ""
) -> HttpResponse:
    """Return the API's error shape below its prefixes, and a page to everybody else.

    A browser that opens a page of ours there, such as `authorize/`, asks for HTML by name.
    """
    wants_page = "text/html" in request.headers.get("Accept", "")
    if request.path_info.startswith(API_PREFIXES) and not wants_page:
        return JsonResponse({"detail": detail, "code": code}, status=status)
    # Without the request, no context processor runs, and so nothing asks the database.
    return HttpResponse(render_to_string(page or f"{status}.html"), status=status)
