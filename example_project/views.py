"""The site's pages: home, the server-rendered account page and the shell of the token app."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from authmodes.models import LoginSession
from authmodes.sessions.state import load

MODES = (
    ("session", _("Cookies only. Tokens are refused.")),
    ("jwt", _("Tokens only. A cookie is accepted by the admin only.")),
    ("both", _("Each client chooses when it signs in.")),
)


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Show both ways to sign in, and the mode that decides which of them are available."""
    return render(request, "site/home.html", {"modes": MODES})


@require_safe
@login_required
def account(request: HttpRequest) -> HttpResponse:
    """Show a user with a cookie login their account and this login session."""
    state = load(request.session)
    current = LoginSession.objects.by_sid(state.sid) if state else None
    return render(request, "site/account.html", {"current_login_session": current})


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """Show the API in Swagger UI, which loads the OpenAPI document itself."""
    return render(request, "site/docs.html")


@require_safe
def spa(request: HttpRequest) -> HttpResponse:
    """Serve the token app, which gets all its data from the API."""
    return render(request, "site/spa.html")
