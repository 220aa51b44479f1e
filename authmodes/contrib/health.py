"""A view for load balancers: whether sign-ins can be served, and nothing about any login."""

import logging
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from .. import logs
from ..models import LoginSession
from ..registry.transactions import outside_view_transactions
from ..sessions import store as session_store
from ..tokens.snapshot import snapshot_age

__all__ = ["health"]

# No session has it.
PROBE = "authmodeshealthprobe"


# Under ATOMIC_REQUESTS, a database that is away would be an error before the view.
@outside_view_transactions
@require_safe
@never_cache
def health(request: HttpRequest) -> JsonResponse:
    """Answer 200 `{"status": "up"}`, or 503 `{"status": "down"}`.

    It asks the database of the login sessions and the store of the Django sessions. Staff are
    told which of them fails, by the class of the error, and so is the log.
    """
    errors = {
        "database": _error_of(LoginSession.objects.exists),
        "session_store": _error_of(lambda: session_store.engine()().exists(PROBE)),
    }
    is_up = not any(errors.values())
    if not is_up:
        logs.log(logging.ERROR, "health_check_failed", **errors)
    answer: dict[str, Any] = {"status": "up" if is_up else "down"}
    if _is_staff(request):
        age = snapshot_age()
        answer["checks"] = {name: error or "up" for name, error in errors.items()}
        answer["snapshot_age"] = None if age is None else age.total_seconds()
    return JsonResponse(answer, status=200 if is_up else 503)


def _error_of(ask: Callable[[], object]) -> str:
    """Return the name of what a call raises; each store and cache has errors of its own."""
    try:
        ask()
    except Exception as error:
        return type(error).__name__
    return ""


def _is_staff(request: HttpRequest) -> bool:
    try:
        return bool(request.user.is_active and request.user.is_staff)
    except Exception:
        # They cannot be recognised while what recognises them is away.
        return False
