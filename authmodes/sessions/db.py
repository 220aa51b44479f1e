"""Django's `db` engine, with a digest in place of the key."""

from django.contrib.sessions.backends import db

from .digest import DigestMixin


class SessionStore(DigestMixin, db.SessionStore):
    """`SESSION_ENGINE = "authmodes.sessions.db"`."""
