"""The user of a token that was validated without a query."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext as _
from rest_framework import exceptions
from rest_framework_simplejwt.exceptions import AuthenticationFailed

from ..conf import simple_jwt
from ..models import LoginSession, is_accepted, unavailable_as_503, write_database
from ..state import request_state
from .jwt import AccessToken


class TokenUser(SimpleLazyObject):  # type: ignore[type-arg]  # not generic at run time
    """A signed-in user whose id is known; every other attribute loads the row.

    Loading raises `AuthenticationFailed` if the user was deleted or disabled.
    """

    is_authenticated = True
    is_anonymous = False

    def __init__(self, request: HttpRequest | None, token: AccessToken) -> None:
        field = simple_jwt().USER_ID_FIELD
        user_id = token.payload[simple_jwt().USER_ID_CLAIM]
        super().__init__(lambda: _load(request, field, user_id))
        self.__dict__["_known"] = (field, user_id)

    def load(self) -> None:
        """Load the row now. Raises `AuthenticationFailed`."""
        self._setup()

    @property
    def pk(self) -> Any:
        field, user_id = self.__dict__["_known"]
        # `get_user_model()` parses its setting each time.
        model: Any = LoginSession._meta.get_field("user").related_model
        meta = model._meta
        if field in ("pk", meta.pk.name):
            return meta.pk.to_python(user_id)
        self._setup()
        return self._wrapped.pk

    @property
    def id(self) -> Any:
        return self.pk

    def __bool__(self) -> bool:
        return True


@unavailable_as_503()
def _load(request: HttpRequest | None, field: str, user_id: Any) -> Any:
    model = get_user_model()
    try:
        user = model._default_manager.using(write_database()).get(**{field: user_id})
    except (model.DoesNotExist, ValidationError, ValueError, TypeError) as error:
        raise refuse_token(
            request, AuthenticationFailed(_("User not found"), "user_not_found")
        ) from error
    if not is_accepted(user):
        raise refuse_token(request, AuthenticationFailed(_("User is inactive"), "user_inactive"))
    return user


def refuse_token(
    request: HttpRequest | None, error: exceptions.AuthenticationFailed
) -> exceptions.AuthenticationFailed:
    """Return the refusal of an access token; the 401 will say `invalid_token` (RFC 6750, 3.1)."""
    if request is not None:
        request_state(request).has_bad_token = True
    return error
