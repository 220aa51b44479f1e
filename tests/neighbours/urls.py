"""The routes of the test project, OAuth's metadata, and allauth's OpenID Connect provider."""

from django.urls import include, path

from tests.urls import urlpatterns as project_urlpatterns

urlpatterns = [
    *project_urlpatterns,
    path("", include("authmodes.well_known")),
    path("", include("allauth.idp.urls")),
]
