"""The words that bodies are described in, for `components` and `endpoints`."""

from collections.abc import Mapping, Sequence
from typing import Any

from drf_spectacular.settings import spectacular_settings

# A project has an `Error` and a `User` of its own.
PREFIX = "AuthModes"


Schema = dict[str, Any]


TEXT: Schema = {"type": "string"}


FLAG: Schema = {"type": "boolean"}


NUMBER: Schema = {"type": "integer"}


UUID: Schema = {"type": "string", "format": "uuid"}


MOMENT: Schema = {"type": "string", "format": "date-time"}


def ref(name: str) -> Schema:
    """Point to one of our components."""
    return {"$ref": f"#/components/schemas/{PREFIX}{name}"}


def choice(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def record(properties: Mapping[str, Schema], optional: Sequence[str] = (), **more: Any) -> Schema:
    """An object; a client ignores what it does not know in it."""
    required = [name for name in properties if name not in optional]
    if required:
        more["required"] = required
    return {"type": "object", "properties": dict(properties), **more}


def or_null(schema: Schema) -> Schema:
    """Say it in the words of the version that the project writes."""
    if spectacular_settings.OAS_VERSION.startswith("3.1"):
        return {"oneOf": [schema, {"type": "null"}]}
    return {**schema, "nullable": True}
