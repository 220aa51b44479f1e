"""What there is to say of one verb of one endpoint; `endpoints` says it of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework.serializers import BaseSerializer

from . import shapes

HTML = "text/html"


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What is particular to one verb of one endpoint.

    `answers` is the shape of each success, None for no body; `refusals` the codes of each
    error. What every endpoint of a kind may answer beside, `extensions` adds.
    """

    id: str
    tag: str
    summary: str
    answers: Mapping[int, str | None]
    refusals: Mapping[int, Sequence[str]] = field(default_factory=dict)
    # Of refusals that have more than all errors have.
    shapes: Mapping[int, str] = field(default_factory=dict)
    # A serializer, or the name of a shape.
    body: type[BaseSerializer[Any]] | str | None = None
    body_is_optional: bool = False
    body_may_be_cookie: bool = False
    query: Sequence[OpenApiParameter] = ()
    # A credential changes the answer, though the view asks for none.
    may_be_signed_in: bool = False
    is_page: bool = False


def query(name: str, description: str, schema: Mapping[str, Any] = shapes.TEXT) -> OpenApiParameter:
    return OpenApiParameter(name, dict(schema), description=description)
