"""The test project, with simplejwt's rotation switched on for its own views."""

from tests.settings import *  # noqa: F403

ROOT_URLCONF = "benchmarks.urls"
SIMPLE_JWT = {"ROTATE_REFRESH_TOKENS": True, "BLACKLIST_AFTER_ROTATION": True}
ACCOUNT_RATE_LIMITS = False
