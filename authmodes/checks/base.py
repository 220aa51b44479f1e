"""What the checks of every room share: their form, and what stops them."""

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured

Apps = Sequence[AppConfig] | None
Check = Callable[..., Iterable[CheckMessage]]


def unless_misconfigured(check: Check) -> Check:
    """A value that makes no sense is reported once, by E001, and stops no other check."""

    @wraps(check)
    def guarded(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
        try:
            return list(check(app_configs, **kwargs))
        except ImproperlyConfigured:
            return []

    return guarded
