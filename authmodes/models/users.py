"""Decides whether the project's own rules accept a user, whichever query found the row."""

import functools
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import BaseBackend, ModelBackend
from django.db import models
from django.utils.module_loading import import_string

from ..conf import simple_jwt
from .databases import write_database


def is_accepted(user: Any) -> bool:
    """Whether the default manager, a backend's `get_user` and simplejwt's rule accept a user.

    We find users by joins, which bypass a manager that hides rows (soft delete). This makes a
    query only if the project has changed the manager or `get_user`.
    """
    if not simple_jwt().USER_AUTHENTICATION_RULE(user):
        return False
    manager = get_user_model()._default_manager
    is_plain = type(manager).get_queryset is models.Manager.get_queryset
    if not is_plain and not manager.using(write_database()).filter(pk=user.pk).exists():
        return False
    finders = _finders(tuple(settings.AUTHENTICATION_BACKENDS))
    # A row does not know its backend, so one that accepts the user is enough.
    return ModelBackend.get_user in (finder.get_user for finder in finders) or any(
        finder().get_user(user.pk) is not None for finder in finders
    )


@functools.lru_cache(maxsize=8)
def _finders(backends: tuple[str, ...]) -> list[Any]:
    classes = [import_string(path) for path in backends]
    # Some backends only check permissions, and find no users.
    stub = BaseBackend.get_user
    return [each for each in classes if getattr(each, "get_user", stub) is not stub]
