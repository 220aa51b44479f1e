"""The same view with each way to authenticate, and simplejwt's own refresh view."""

from typing import Any

from django.http import HttpRequest
from django.urls import include, path
from rest_framework.authentication import SessionAuthentication
from rest_framework.decorators import api_view, authentication_classes
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.serializers import TokenRefreshSerializer
from rest_framework_simplejwt.views import TokenRefreshView

from authmodes.authentication import AuthModesAuthentication
from tests.urls import urlpatterns as project


def _user_id(authentication: Any) -> Any:
    @api_view(["GET"])
    @authentication_classes([authentication])
    def view(request: Request) -> Response:
        return Response({"user": request.user.pk})

    return view


VIEWS = {
    "session": _user_id(SessionAuthentication),
    "jwt": _user_id(JWTAuthentication),
    "ours": _user_id(AuthModesAuthentication),
}


def by(request: HttpRequest, way: str) -> Any:
    return VIEWS[way](request)


urlpatterns = [
    path("stock/refresh/", TokenRefreshView.as_view(serializer_class=TokenRefreshSerializer)),
    # One route for all, because each route that Django tries and skips costs time.
    path("by/<way>/", by),
    path("", include(project)),
]
