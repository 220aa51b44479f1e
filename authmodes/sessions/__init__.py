"""The cookie side of a login: our session engines, and what we keep in a Django session."""

from typing import NewType

# What the cookie holds opens the session; what the store, and so the row, holds may be a digest
# of it. Neither is ever taken for the other.
BrowserKey = NewType("BrowserKey", str)
StoredKey = NewType("StoredKey", str)
