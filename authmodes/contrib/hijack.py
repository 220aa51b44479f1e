"""Impersonation by django-hijack and django-loginas: which of a project's views do it.

`apps` registers this where one of the two is installed. `registry.impersonation` does the rest.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import unwrap

from django.apps import apps
from django.http import HttpRequest

from ..registry import impersonation
from ..state import request_state

__all__ = ["impersonating"]


@contextmanager
def impersonating(request: HttpRequest) -> Iterator[None]:
    """Treat each `login()` in this block as an impersonation, or as the return from one.

    For your own views. The views of the two packages, and subclasses of hijack's, do not need it.
    """
    state = request_state(request)
    state.impersonates = True
    try:
        yield
    finally:
        state.impersonates = False


def register() -> None:
    """Find impersonations by the view of the request; called from `apps.py`."""
    impersonation.finders.append(_is_view_of_package)


def _is_view_of_package(request: HttpRequest) -> bool:
    match = request.resolver_match
    if match is None:
        return False
    view = unwrap(match.func)
    if apps.is_installed("hijack"):
        from hijack.views import AcquireUserView, ReleaseUserView

        view_class = getattr(match.func, "view_class", object)
        if issubclass(view_class, AcquireUserView | ReleaseUserView):
            return True
    if apps.is_installed("loginas"):
        from loginas.views import user_login, user_logout

        return view in (unwrap(user_login), unwrap(user_logout))
    return False
