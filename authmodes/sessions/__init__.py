"""The cookie side of a login: our session engines, and what we store in a Django session.

The keys that authmodes stores in a Django session:

- `_authmodes`: the data of its login session (`sessions.state`)
- `_authmodes_successor`: in a retired session, how to find its successor (`sessions.rotation`)
- `_authmodes_retired`: the retired keys of the session (`sessions.rotation`)
- `_authmodes_app`: marks the session of an app (`sessions.store`)
- `_authmodes_pending`: a login that waits at a stage (`signin.pending`)
- `_authmodes_authorization_request`: what that login is to become (`signin.authorization_request`)
- `_authmodes_provider_sid`, `_authmodes_provider_iat`, `_authmodes_provider_auth_time`: claims of
  the provider's ID token (`registry.authentication_context`)
"""

from typing import NewType

# The browser holds the session key. The store, and therefore the row, may hold only a digest of
# it. Two types keep them apart.
BrowserKey = NewType("BrowserKey", str)
StoredKey = NewType("StoredKey", str)
