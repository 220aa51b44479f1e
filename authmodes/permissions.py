"""DRF permission by what a token was issued for, whoever holds it."""

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from . import state
from .errors import REALM


class HasScope(BasePermission):
    """Name it with what is needed: `HasScope.of("reports:read")`; of several, all are.

    It asks the token's `scope` claim, a machine client's or a user's (`AUTHMODES_CLAIMS`),
    and never who the user is. Combine it with others by DRF's `&` and `|`.
    """

    scopes: frozenset[str] = frozenset()
    code = "insufficient_scope"
    message: Any = {"detail": _("The token was not issued for this."), "code": code}

    @classmethod
    def of(cls, first: str, *more: str) -> type["HasScope"]:
        return type("HasScope", (cls,), {"scopes": frozenset([first, *more])})

    def has_permission(self, request: Request, view: Any) -> bool:
        held = getattr(request.auth, "scopes", None)
        # Another package's `auth` may have scopes of another kind, by names of its own.
        held = held if isinstance(held, frozenset) else frozenset()
        # By its bare name it asks for nothing, and must not let everybody in.
        if self.scopes and self.scopes <= held:
            return True
        # Returned, not raised: `|` goes on to the next one. DRF has no challenge for a 403,
        # so the middleware adds it (RFC 6750, 3.1).
        needed = " ".join(sorted(self.scopes))
        state.of_request(
            request._request
        ).challenge = f'{REALM}, error="{self.code}", scope="{needed}"'
        return False
