"""The site's own API: one call, the same for a cookie and for a token."""

from typing import Any

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

HELLO = {
    "greeting": serializers.CharField(),
    "mode": serializers.ChoiceField(["session", "jwt"]),
    "sid": serializers.UUIDField(),
}
REFUSED = {"detail": serializers.CharField(), "code": serializers.CharField(required=False)}


@extend_schema(
    tags=["Example"],
    responses={
        200: inline_serializer("Hello", HELLO),
        401: inline_serializer("Refused", REFUSED),
    },
)
@api_view(["GET"])
def hello(request: Request) -> Response:
    """Greet the caller and say how they signed in."""
    # One shape in every mode, so no line here asks which mode it is in.
    auth: Any = request.auth
    return Response(
        {
            "greeting": f"Hello, {request.user.get_username()}.",
            "mode": auth.mode,
            "sid": str(auth.sid),
        }
    )
