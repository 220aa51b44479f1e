"""The token side of a login: the two JWTs, the keys that sign them, and the token cookies."""

from .jwt import AccessToken, RefreshToken, mint
from .snapshot import snapshot_age

__all__ = ["AccessToken", "RefreshToken", "mint", "snapshot_age"]
