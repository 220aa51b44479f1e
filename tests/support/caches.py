"""A cache that cannot be reached."""

from typing import Any

from django.core.cache.backends.locmem import LocMemCache


class UnreachableCache(LocMemCache):
    def _down(self, *args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("the cache is away")

    get = set = add = incr = delete = get_many = _down


UNREACHABLE = {"default": {"BACKEND": "tests.support.caches.UnreachableCache"}}
