from django.urls import include, path

from . import views

urlpatterns = [
    path("auth/", include("authmodes.urls")),
    path("", include("authmodes.well_known")),
    path("hello/", views.Hello.as_view()),
    path("close/", views.close_account),
]
