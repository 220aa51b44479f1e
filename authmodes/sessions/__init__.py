"""Session engines that keep a digest of the key, so that who reads the store cannot sign in.

`SESSION_ENGINE = "authmodes.sessions.db"` or `"authmodes.sessions.cached_db"`;
`"authmodes.sessions"` is the first of them.
"""

from .db import SessionStore

__all__ = ["SessionStore"]
