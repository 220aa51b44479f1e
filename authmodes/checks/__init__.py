"""System checks: one small function per check id, each about one misconfiguration.

Errors stop a project that would not work or would not be safe; warnings point at what is
probably not meant; an info tells of versions that were not tested. `docs/checks.md` lists them.
"""

from django.core import checks
from django.core.checks import Tags

from .base import unless_misconfigured
from .database import check_subject_collation
from .deploy import (
    check_admin_login,
    check_key_length,
    check_reauthentication,
    check_redirect_schemes,
    check_session_cookie_secure,
)
from .values import (
    check_cookie_secure,
    check_redirect_uris,
    check_settings,
    check_signing_keys,
    check_throttle_rates,
    check_token_type_claim,
)
from .versions import check_tested_versions
from .wiring import (
    check_adapter,
    check_authentication_classes,
    check_headless_strategy,
    check_middleware,
    check_session_engine,
    check_simplejwt_routes,
    check_token_blacklist,
)

__all__ = [
    "check_adapter",
    "check_admin_login",
    "check_authentication_classes",
    "check_cookie_secure",
    "check_headless_strategy",
    "check_key_length",
    "check_middleware",
    "check_reauthentication",
    "check_redirect_schemes",
    "check_redirect_uris",
    "check_session_cookie_secure",
    "check_session_engine",
    "check_settings",
    "check_signing_keys",
    "check_simplejwt_routes",
    "check_subject_collation",
    "check_tested_versions",
    "check_throttle_rates",
    "check_token_blacklist",
    "check_token_type_claim",
    "register_all",
]


def register_all() -> None:
    """Register every check; called once, from `apps.py`."""
    checks.register(check_settings, Tags.security)
    for check in (
        check_signing_keys,
        check_middleware,
        check_adapter,
        check_token_blacklist,
        check_session_engine,
        check_redirect_uris,
        check_token_type_claim,
        check_throttle_rates,
        check_cookie_secure,
        check_authentication_classes,
        check_headless_strategy,
    ):
        checks.register(unless_misconfigured(check), Tags.security)
    checks.register(check_simplejwt_routes, Tags.urls)
    checks.register(check_tested_versions, Tags.compatibility)
    checks.register(check_subject_collation, Tags.database)
    for check in (
        check_key_length,
        check_redirect_schemes,
        check_session_cookie_secure,
        check_reauthentication,
        check_admin_login,
    ):
        checks.register(unless_misconfigured(check), Tags.security, deploy=True)
