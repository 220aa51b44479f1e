"""The addresses of the example site."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.utils.functional import lazy
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView

from . import api, views

# The admin's own form does not ask for a second factor.
admin.site.login = secure_admin_login(admin.site.login)

handler400 = "example_project.errors.bad_request"
handler403 = "example_project.errors.permission_denied"
handler404 = "example_project.errors.page_not_found"
handler500 = "example_project.errors.server_error"

urlpatterns = [
    path("", views.home, name="home"),
    path("account/", views.account, name="account"),
    path("compare/", views.compare, name="compare"),
    path("compare/attempts/", views.attempts, name="attempts"),
    path("spa/", views.spa, name="spa"),
    path("api/hello/", api.hello, name="hello"),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", views.docs, name="docs"),
    path("auth/", include("authmodes.urls")),
    path("", include("authmodes.well_known")),
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
    path("i18n/", include("django.conf.urls.i18n")),
    # The admin's pages name no icon, so browsers ask for this one. Its name may not be known yet.
    path("favicon.ico", RedirectView.as_view(url=lazy(static, str)("site/mark.svg"))),
]
