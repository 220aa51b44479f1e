"""What every page of the site shows: the mode it runs in and where the provider is."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from example_project import environment as env
from example_project.last_method import COOKIE_NAME


def site(request: HttpRequest) -> dict[str, Any]:
    """Return the template variables common to all pages."""
    mode = settings.AUTHMODES_MODE
    return {
        "is_demo": settings.IS_DEMO,
        "mode": mode,
        "cookies_on": mode in {"session", "both"},
        "tokens_on": mode in {"jwt", "both"},
        "transport": settings.AUTHMODES_TOKEN_TRANSPORT,
        "idp_url": settings.IDP_URL,
        # Compared with known names by the template, and not shown: a browser may send anything.
        "last_method": request.COOKIES.get(COOKIE_NAME),
        "spa_url": settings.SPA_URL,
        "service_url": settings.SERVICE_URL,
        "native_command": env.NATIVE_COMMAND,
    }
