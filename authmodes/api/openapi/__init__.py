"""What drf-spectacular cannot infer of the REST API; loaded only where it is installed.

A view's `describe` and its serializers describe an endpoint; an error's class describes the
error. `security` adds the credentials that count under the settings, `schema` the rest.
"""

from . import schema, security

__all__ = ["schema", "security"]
