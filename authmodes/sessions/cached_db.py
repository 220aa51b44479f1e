"""Django's `cached_db` engine, with a digest in place of the key, in table and cache alike."""

from django.contrib.sessions.backends import cached_db

from .db import DigestMixin, digest_of


class SessionStore(DigestMixin, cached_db.SessionStore):
    """`SESSION_ENGINE = "authmodes.sessions.cached_db"`."""

    cache_key_prefix = "authmodes.sessions.cached_db"

    @property
    def cache_key(self) -> str:
        return self.cache_key_prefix + digest_of(self._get_or_create_session_key())

    async def acache_key(self) -> str:
        return self.cache_key_prefix + digest_of(await self._aget_or_create_session_key())
