"""What drf-spectacular needs to know about the REST API; loaded only where it is installed.

`components` describes bodies, `endpoints` what each endpoint takes and answers, and
`extensions` hands both to drf-spectacular. A new endpoint needs an entry in `endpoints`.
"""

from . import extensions

__all__ = ["extensions"]
