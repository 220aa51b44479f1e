"""The addresses of the site, and the health check, which the proxy does not pass on."""

from django.urls import path

from authmodes.contrib.health import health
from example_project import urls

handler400, handler403 = urls.handler400, urls.handler403
handler404, handler500 = urls.handler404, urls.handler500

urlpatterns = [*urls.urlpatterns, path("health/", health)]
