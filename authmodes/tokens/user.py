"""The user of a token that was judged without a query: an id, and the row when it is needed."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext as _
from rest_framework_simplejwt.exceptions import AuthenticationFailed

from ..conf import simple_jwt
from ..state import request_state
from .jwt import AccessToken


class TokenUser(SimpleLazyObject):  # type: ignore[type-arg]  # not generic at run time
    """A signed-in user whose id is known; anything else loads the row.

    A user who is gone or locked by then is answered with 401.
    """

    is_authenticated = True
    is_anonymous = False

    def __init__(self, request: HttpRequest, token: AccessToken) -> None:
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
        meta = get_user_model()._meta
        if field in ("pk", meta.pk.name):
            return meta.pk.to_python(user_id)
        self._setup()
        return self._wrapped.pk

    @property
    def id(self) -> Any:
        return self.pk

    def __bool__(self) -> bool:
        return True


def _load(request: HttpRequest, field: str, user_id: Any) -> Any:
    model = get_user_model()
    # Should this fail, it is the token that was no good (RFC 6750, 3.1).
    request_state(request).has_bad_token = True
    try:
        user = model.objects.get(**{field: user_id})
    except (model.DoesNotExist, ValidationError, ValueError, TypeError) as error:
        raise AuthenticationFailed(_("User not found"), "user_not_found") from error
    if not simple_jwt().USER_AUTHENTICATION_RULE(user):
        raise AuthenticationFailed(_("User is inactive"), "user_inactive")
    request_state(request).has_bad_token = False
    return user
