"""The demo's identity provider: a second site that knows nothing of authmodes."""
