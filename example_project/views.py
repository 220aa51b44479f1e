"""The site's pages: home, the account page, the comparison and the shell of the token app."""

from allauth.socialaccount.adapter import get_adapter
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from authmodes.authentication import authenticate

from . import headers, measure

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
    found = authenticate(request)
    current = found[1].login_session if found else None
    providers = get_adapter(request).list_providers(request)
    names = [each.name for each in providers if current and each.sub_id == current.provider]
    context = {"current_login_session": current, "provider_name": next(iter(names), "")}
    return render(request, "site/account.html", context)


@require_safe
def compare(request: HttpRequest) -> HttpResponse:
    """Compare a cookie and tokens by what the page measures, if both can be had."""
    if not settings.IS_DEMO:
        raise Http404
    can_measure = (settings.AUTHMODES_MODE, settings.AUTHMODES_TOKEN_TRANSPORT) == ("both", "body")
    if can_measure and not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    data = {
        "nonce": measure.announce(),
        "cookie": settings.SESSION_COOKIE_NAME,
        "service": settings.SERVICE_URL,
        "second": settings.SECOND_URL,
        "elsewhere": settings.OTHER_SITE_URL,
        "texts": {
            "yes": _("yes"),
            "no": _("no"),
            "none": _("none"),
            "cookie": _("cookie sent"),
            "no_cookie": _("no cookie"),
            "preflight": _("not sent: the preflight was refused"),
            "blocked": _("blocked by the Content Security Policy"),
            "expires": _("expires at {time}"),
            "failed": _("This could not be measured."),
        },
    }
    context = {"can_measure": can_measure, "data": data, "other_site_url": settings.OTHER_SITE_URL}
    response = render(request, "site/compare.html", context)
    # The page asks two other servers, which no other page of the site does.
    sources = f"connect-src 'self' {settings.SERVICE_URL} {settings.SECOND_URL}"
    response["Content-Security-Policy"] = f"{headers.policy()}; {sources}"
    return response


@require_safe
@login_required
def attempts(request: HttpRequest) -> HttpResponse:
    """Say what arrived from other origins in the name of this page."""
    return JsonResponse(measure.attempts(request.GET.get("nonce", "")))


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """Show the API in Swagger UI, which loads the OpenAPI document itself."""
    return render(request, "site/docs.html")


@require_safe
def spa(request: HttpRequest) -> HttpResponse:
    """Serve the token app, which gets all its data from the API."""
    return render(request, "site/spa.html")
