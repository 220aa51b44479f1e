"""The routes of the test project: what a consumer includes, and probes that look back."""

from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, JsonResponse
from django.urls import include, path
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response


@login_required
def page(request: HttpRequest) -> JsonResponse:
    """A page that only Django's own session opens."""
    return JsonResponse({"username": request.user.get_username()})


def whoami(request: HttpRequest) -> JsonResponse:
    """A page for everybody that tells who Django's middleware thinks is asking."""
    return JsonResponse({"username": request.user.get_username() or None})


@extend_schema(exclude=True)
@api_view(["GET", "POST"])
def api(request: Request) -> Response:
    """An API view like any other; it never asks which mode it is in."""
    return Response({"username": request.user.get_username(), "mode": request.auth.mode})


urlpatterns = [
    path("admin/", admin.site.urls),
    path("accounts/", include("allauth.urls")),
    path("_allauth/", include("allauth.headless.urls")),
    path("auth/", include("authmodes.urls")),
    path("probe/page/", page, name="probe-page"),
    path("probe/whoami/", whoami, name="probe-whoami"),
    path("probe/api/", api, name="probe-api"),
]
