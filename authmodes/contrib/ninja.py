"""Authentication for django-ninja, with the errors of the REST API."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.security.base import SecuritySchema
from rest_framework.exceptions import APIException, NotAuthenticated

from ..authentication import LoginAuth, authenticate
from ..conf import Mode, conf
from ..exceptions import InsufficientScope, to_response
from ..state import request_state

__all__ = ["AuthModesAuth", "add_exception_handlers"]


class AuthModesAuth:
    """`NinjaAPI(auth=AuthModesAuth())`: accept what `AuthModesAuthentication` accepts.

    Sets `request.user` and `request.auth`. A machine client is accepted only where scopes are
    required, `AuthModesAuth("reports:read")`; of several scopes, all are. Works for sync and
    async operations: ninja calls it in a thread for the latter.
    """

    # ninja's `AuthBase` would fix the security scheme when the project's module is imported.
    def __init__(self, *scopes: str) -> None:
        self.scopes = frozenset(scopes)

    @property
    def openapi_security_schema(self) -> SecuritySchema:
        """The scheme by the mode that is on; ninja's document has one for each `auth`."""
        if not conf.MODE.allows(Mode.JWT):
            return SecuritySchema(
                type="apiKey", **{"in": "cookie", "name": settings.SESSION_COOKIE_NAME}
            )
        cookie = "The session cookie is accepted as well." if conf.MODE.allows(Mode.SESSION) else ""
        return SecuritySchema(type="http", scheme="bearer", bearerFormat="JWT", description=cookie)

    def __call__(self, request: HttpRequest) -> LoginAuth:
        found = authenticate(request)
        if found is None:
            raise NotAuthenticated
        user, auth = found
        if not self.scopes <= auth.scopes or not (self.scopes or user.is_authenticated):
            request_state(request).challenge = InsufficientScope.challenge(self.scopes)
            raise InsufficientScope

        async def auser() -> Any:
            return user

        request.user, request.auser = user, auser
        return auth


def add_exception_handlers(api: NinjaAPI) -> None:
    """Have an API answer exceptions of authmodes, and DRF's, with `detail` and `code`."""
    api.add_exception_handler(APIException, _answer)


def _answer(request: HttpRequest, error: Any) -> HttpResponse:
    return to_response(error, request_state(request).challenge_of(error.status_code))
