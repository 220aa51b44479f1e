"""Decides whether the project's own rules accept a user, and finds one as its backend does."""

import functools
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import BaseBackend, ModelBackend
from django.db import models
from django.utils.module_loading import import_string

from ..conf import simple_jwt
from .compiled import CompiledQuery
from .databases import write_database

# As it is before a project, or a test, replaces it.
MODEL_BACKEND_GET_USER = ModelBackend.get_user


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


def find_by_backend(backend: Any, pk: Any) -> Any:
    """Return the user that a backend's `get_user` finds, by a compiled query; None without one.

    None also for a backend, a manager or a queryset with a rule of its own, which only Django asks.
    """
    model: Any = get_user_model()
    manager = model._default_manager
    is_plain = (
        type(backend).get_user is MODEL_BACKEND_GET_USER
        and type(manager).get_queryset is models.Manager.get_queryset
        and type(manager).get is models.Manager.get
        and getattr(manager, "_queryset_class", None) is models.QuerySet
    )
    user = _by_pk(model).first(manager.db, pk=pk) if is_plain else None
    return user if user is not None and backend.user_can_authenticate(user) else None


@functools.lru_cache(maxsize=8)
def _by_pk(model: Any) -> CompiledQuery[Any]:
    return CompiledQuery(
        model, lambda pk: model._default_manager.filter(pk=pk), pk=model._meta.pk.name
    )
