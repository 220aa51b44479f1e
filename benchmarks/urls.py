"""One view that every stack serves, and the sign-in of each."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView

STACK = settings.STACK


@api_view(["GET"])
@permission_classes([IsAuthenticated if STACK and STACK.authentication else AllowAny])
def view(request: Request) -> Response:
    return Response({"user": request.user.pk})


urlpatterns = [
    path("view/", view),
    path("jwt/", TokenObtainPairView.as_view()),
    path("jwt/refresh/", TokenRefreshView.as_view()),
    path("admin/", admin.site.urls),
]
if "allauth" in settings.INSTALLED_APPS:
    urlpatterns.append(path("_allauth/", include("allauth.headless.urls")))
    urlpatterns.append(path("accounts/", include("allauth.urls")))
if "authmodes" in settings.INSTALLED_APPS:
    urlpatterns.append(path("auth/", include("authmodes.urls")))
if "dj_rest_auth" in settings.INSTALLED_APPS:
    urlpatterns.append(path("rest-auth/", include("dj_rest_auth.urls")))
if "jwt_allauth" in settings.INSTALLED_APPS:
    urlpatterns.append(path("jwt-allauth/", include("jwt_allauth.urls")))
