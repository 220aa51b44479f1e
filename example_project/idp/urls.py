"""The addresses of the identity provider."""

from django.urls import include, path
from django.views.generic import TemplateView

urlpatterns = [
    path("", TemplateView.as_view(template_name="idp_site/home.html"), name="home"),
    path("accounts/", include("allauth.urls")),
    path("", include("allauth.idp.urls")),
]
