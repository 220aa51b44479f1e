"""What every page of the identity provider shows: the demo's accounts and the way back."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from example_project.people import IDP_PEOPLE


def provider(request: HttpRequest) -> dict[str, Any]:
    """Return the template variables common to all pages."""
    return {"demo_people": IDP_PEOPLE, "site_url": settings.SITE_URL}
