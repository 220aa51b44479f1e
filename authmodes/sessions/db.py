"""Django's `db` session engine, with a digest in place of the key."""

import hashlib
from typing import Any

from django.contrib.sessions.backends import db
from django.utils import timezone


def digest_of(session_key: str) -> str:
    """160 bits of SHA-256 in hex: what the 40 characters of django_session's column hold.

    A key is random and long, so a plain digest of it cannot be guessed back.
    """
    return hashlib.sha256(session_key.encode()).hexdigest()[:40]


class DigestMixin:
    """Mix in before Django's `db` or `cached_db` store."""

    digest_of = staticmethod(digest_of)
    _session_key: Any

    # Django's two private look-ups name the key themselves; tests fail when they move.
    def _get_session_from_db(self: Any) -> Any:
        found = self._live_sessions().first() if self.session_key else None
        if found is None:
            self._session_key = None
        return found

    async def _aget_session_from_db(self: Any) -> Any:
        found = await self._live_sessions().afirst() if self.session_key else None
        if found is None:
            self._session_key = None
        return found

    def _live_sessions(self: Any) -> Any:
        key = digest_of(self.session_key)
        return self.model.objects.filter(session_key=key, expire_date__gt=timezone.now())

    def exists(self, session_key: str) -> bool:
        return super().exists(digest_of(session_key))  # type: ignore[misc]

    async def aexists(self, session_key: str) -> bool:
        return await super().aexists(digest_of(session_key))  # type: ignore[misc]

    def create_model_instance(self, data: dict[str, Any]) -> Any:
        instance = super().create_model_instance(data)  # type: ignore[misc]
        instance.session_key = digest_of(instance.session_key)
        return instance

    async def acreate_model_instance(self, data: dict[str, Any]) -> Any:
        instance = await super().acreate_model_instance(data)  # type: ignore[misc]
        instance.session_key = digest_of(instance.session_key)
        return instance

    def delete(self: Any, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            super().delete(digest_of(key))  # type: ignore[misc]

    async def adelete(self: Any, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            await super().adelete(digest_of(key))  # type: ignore[misc]


class SessionStore(DigestMixin, db.SessionStore):
    """`SESSION_ENGINE = "authmodes.sessions.db"`."""
