"""What the site's access tokens say to other services."""

from typing import Any

from django.contrib.auth.models import User

from authmodes.models import LoginSession


def for_services(user: User, login_session: LoginSession) -> dict[str, Any]:
    """Return the scopes of a user: everybody reads the reports, administrators write them."""
    scopes = ["reports:read", "reports:write"] if user.is_staff else ["reports:read"]
    return {"scope": " ".join(scopes)}
