"""Django's `db` session engine, with a digest in place of the key."""

import functools
import hashlib
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import VALID_KEY_CHARS
from django.db import models
from django.utils import timezone
from django.utils.crypto import get_random_string

from ..models.compiled import CompiledQuery
from . import StoredKey

if TYPE_CHECKING:
    # Mixed in before Django's `db` or `cached_db` store.
    Base = db.SessionStore
else:
    Base = object


def digest_of(session_key: str) -> StoredKey:
    """160 bits of SHA-256 in hex: what the 40 characters of django_session's column hold.

    A key is random and long, so it cannot be found by guessing from a plain digest of it.
    """
    return StoredKey(hashlib.sha256(session_key.encode()).hexdigest()[:40])


@functools.lru_cache(maxsize=8)
def _unexpired(model: Any) -> CompiledQuery[Any]:
    def build(key: Any, now: Any) -> Any:
        return model.objects.filter(session_key=key, expire_date__gt=now)

    return CompiledQuery(model, build, key="session_key", now="expire_date")


def has_djangos_lookup(engine: Any) -> bool:
    """Whether an engine finds its rows by Django's own methods, and by nothing else."""
    names = ("_get_session_from_db", "_aget_session_from_db")
    found = [getattr(engine, name, None) for name in names]
    return found == [getattr(db.SessionStore, name) for name in names]


class CompiledLookupMixin(Base):
    """Finds the row of a session by a compiled query.

    Mixed into Django's own engines as well, for the session of a request: building the query
    anew takes more than a quarter of the instructions of stock Django's authentication.
    """

    _session_key: Any

    # Django's two private look-ups name the key themselves; tests fail when they move.
    def _get_session_from_db(self) -> Any:
        found = None
        if self._session_key:
            digest = getattr(self, "digest_of", None)
            key = digest(self._session_key) if digest else self._session_key
            values = {"key": key, "now": timezone.now()}
            manager = self.model.objects
            # A manager of the project's may filter by what changes.
            is_plain = type(manager).get_queryset is models.Manager.get_queryset
            query = _unexpired(self.model)
            found = (
                query.first(manager.db, **values)
                if is_plain
                else next(iter(query.build(**values)), None)
            )
        if found is None:
            self._session_key = None
        return found

    async def _aget_session_from_db(self) -> Any:
        return await sync_to_async(self._get_session_from_db)()

    # Django asks first whether the key exists. Inserting the row tells as well: a key that does
    # is followed by the next one.
    def _get_new_session_key(self) -> str:
        return get_random_string(32, VALID_KEY_CHARS)

    async def _aget_new_session_key(self) -> str:
        return self._get_new_session_key()


class DigestMixin(CompiledLookupMixin):
    digest_of = staticmethod(digest_of)
    # Private methods of Django's, which the stubs do not know.
    _get_or_create_session_key: Any
    _aget_or_create_session_key: Any

    def exists(self, session_key: str | None) -> bool:
        return session_key is not None and super().exists(digest_of(session_key))

    async def aexists(self, session_key: str | None) -> bool:
        return session_key is not None and await super().aexists(digest_of(session_key))

    def create_model_instance(self, data: dict[str, Any]) -> Any:
        instance = super().create_model_instance(data)
        instance.session_key = digest_of(instance.session_key)
        return instance

    async def acreate_model_instance(self, data: dict[str, Any]) -> Any:
        instance = await super().acreate_model_instance(data)
        instance.session_key = digest_of(instance.session_key)
        return instance

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            super().delete(digest_of(key))

    async def adelete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            await super().adelete(digest_of(key))


class SessionStore(DigestMixin, db.SessionStore):
    """`SESSION_ENGINE = "authmodes.sessions.db"`."""
