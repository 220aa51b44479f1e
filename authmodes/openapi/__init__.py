"""What drf-spectacular needs to know of the REST door; loaded only where it is installed.

`shapes` says what bodies look like, `endpoints` what each endpoint takes and answers, and
`extensions` hands both to drf-spectacular. A new endpoint needs an entry in `endpoints`.
"""

from . import extensions

__all__ = ["extensions"]
