"""The test project with allauth.usersessions, django-axes, django-hijack and django-loginas."""

from tests.settings import *  # noqa: F403
from tests.settings import AUTHENTICATION_BACKENDS, INSTALLED_APPS, MIDDLEWARE

INSTALLED_APPS = [*INSTALLED_APPS, "allauth.usersessions", "axes", "hijack", "loginas"]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", *AUTHENTICATION_BACKENDS]
MIDDLEWARE = [
    *MIDDLEWARE,
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "hijack.middleware.HijackUserMiddleware",
    "axes.middleware.AxesMiddleware",
]
USERSESSIONS_TRACK_ACTIVITY = True
AXES_FAILURE_LIMIT = 3
AXES_RESET_ON_SUCCESS = True
