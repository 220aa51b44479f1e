"""The site's pages: home, the server-rendered account page and the shell of the token app."""

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from authmodes import registry
from authmodes.models import EndReason, LoginSession
from authmodes.sessions.state import load

MODES = (
    ("session", "Cookies only. Tokens are refused."),
    ("jwt", "Tokens only. A cookie is accepted by the admin only."),
    ("both", "Each client chooses when it signs in."),
)


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Show both ways to sign in, and the mode that decides which of them are available."""
    return render(request, "site/home.html", {"modes": MODES})


@require_safe
@login_required
def account(request: HttpRequest) -> HttpResponse:
    """Show a user with a cookie login their account and their login sessions."""
    own = list(LoginSession.objects.active().for_user(request.user).order_by("-last_seen_at"))
    state = load(request.session)
    sid = state.sid if state else None
    current = next((row for row in own if str(row.sid) == sid), None)
    return render(
        request, "site/account.html", {"login_sessions": own, "current_login_session": current}
    )


@require_POST
@login_required
def revoke(request: HttpRequest, sid: UUID) -> HttpResponse:
    """End one of the user's own login sessions."""
    # The row of another user is a 404, like a row that does not exist.
    own = LoginSession.objects.for_user(request.user)
    login_session = get_object_or_404(own, sid=sid)
    registry.revoke(login_session, EndReason.REVOKED_BY_USER, by=request.user)
    messages.success(request, f"{login_session.client_label} is signed out.")
    return redirect("account")


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """Show the API in Swagger UI, which loads the OpenAPI document itself."""
    return render(request, "site/docs.html")


@require_safe
def spa(request: HttpRequest) -> HttpResponse:
    """Serve the token app, which gets all its data from the API."""
    return render(request, "site/spa.html")
