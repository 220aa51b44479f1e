"""The example site's settings without its throttles: tests sign in more often than people."""

from example_project.settings import *  # noqa: F403
from example_project.settings import REST_FRAMEWORK as _REST_FRAMEWORK

REST_FRAMEWORK = {**_REST_FRAMEWORK, "DEFAULT_THROTTLE_RATES": {"authmodes": None}}
ACCOUNT_RATE_LIMITS = False
