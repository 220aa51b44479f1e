"""Hands our operations to drf-spectacular; importing it is enough, views stay undecorated."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from drf_spectacular.drainage import isolate_view_method
from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerExtension,
    OpenApiViewExtension,
)
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import build_bearer_security_scheme_object
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework.permissions import SAFE_METHODS
from rest_framework.serializers import BaseSerializer, CharField

from ...authentication import AuthModesAuthentication
from ...conf import Mode, conf, simple_jwt
from ...tokens import cookies as token_cookies
from .. import serializers
from ..views.base import AuthModesViewMixin, LoginSessionView
from ..views.tokens import JwksView
from . import components, endpoints, shapes
from .codes import BAD_TOKEN
from .operations import HTML, Operation

CSRF = "Unsafe calls need the `X-CSRFToken` header as well."


class AuthModesScheme(OpenApiAuthenticationExtension):
    """The credentials that count under the settings as they are; any one of them will do."""

    target_class = AuthModesAuthentication
    match_subclasses = True
    priority = 1

    @property
    def name(self) -> list[str]:  # type: ignore[override]
        return list(self._schemes())

    def get_security_requirement(self, auto_schema: AutoSchema) -> list[dict[str, list[Any]]]:
        return [{name: []} for name in self._schemes()]

    def get_security_definition(self, auto_schema: AutoSchema) -> list[dict[str, Any]]:
        return list(self._schemes().values())

    def _schemes(self) -> dict[str, dict[str, Any]]:
        schemes: dict[str, dict[str, Any]] = {}
        if conf.MODE.allows(Mode.JWT):
            schemes["authmodesBearer"] = _bearer()
            if token_cookies.are_enabled():
                schemes["authmodesTokenCookie"] = _cookie(conf.ACCESS_COOKIE_NAME)
        if conf.MODE.allows(Mode.SESSION):
            schemes["authmodesSessionCookie"] = _cookie(settings.SESSION_COOKIE_NAME)
        return schemes


def _bearer() -> dict[str, Any]:
    known = simple_jwt().AUTH_HEADER_TYPES
    return build_bearer_security_scheme_object(
        header_name=simple_jwt().AUTH_HEADER_NAME,
        token_prefix=known if isinstance(known, str) else known[0],
        bearer_format="JWT",
    )


def _cookie(name: str) -> dict[str, Any]:
    return {"type": "apiKey", "in": "cookie", "name": name, "description": CSRF}


class DoorSchema(AutoSchema):
    """Writes an operation from our table, and what every endpoint of its kind answers."""

    @property
    def operation(self) -> Operation | None:
        return endpoints.find(type(self.view), self.method)

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        written = super().get_operation(*args, **kwargs)
        found = self.operation
        if written and found and "requestBody" in written:
            # drf-spectacular takes one for needless of which no single field is required.
            written["requestBody"]["required"] = not found.body_is_optional
        return written

    def get_auth(self) -> list[dict[str, Any]]:
        auths = super().get_auth()
        # simplejwt's have no permission classes, which says nothing of who may call.
        is_open = not self.view.permission_classes or (
            self.operation is not None and self.operation.may_be_signed_in
        )
        return [*auths, {}] if is_open and {} not in auths else auths

    def get_operation_id(self) -> str:
        return self.operation.id if self.operation else super().get_operation_id()

    def get_summary(self) -> str | None:
        return self.operation.summary if self.operation else super().get_summary()

    def get_tags(self) -> list[str]:
        return [self.operation.tag] if self.operation else super().get_tags()

    def get_request_serializer(self) -> Any:
        if self.operation is None:
            return super().get_request_serializer()
        if self.operation.body_may_be_cookie and token_cookies.are_enabled():
            return None
        body = self.operation.body
        if isinstance(body, str):
            return dict.fromkeys(self.map_parsers(), shapes.ref(body))
        return body

    def get_override_parameters(self) -> list[Any]:
        found = self.operation
        if found is None:
            return super().get_override_parameters()
        headers = {
            "Location": [302],
            "Retry-After": [429],
            "WWW-Authenticate": [401],
        }
        answered = [*found.answers, *self._refusals(found)]
        return [
            *found.query,
            *(
                OpenApiParameter(name, str, OpenApiParameter.HEADER, response=statuses)
                for name, statuses in headers.items()
                if statuses[0] in answered
            ),
        ]

    def get_response_serializers(self) -> Any:
        found = self.operation
        if found is None:
            return super().get_response_serializers()
        components.register(self)
        answers: dict[Any, Any] = {}
        for status, shape in found.answers.items():
            if shape == HTML:
                answers[status, HTML] = OpenApiResponse(shapes.TEXT, "A page")
            elif shape is None:
                answers[status] = OpenApiResponse(None, "")
            else:
                answers[status, "application/json"] = OpenApiResponse(shapes.ref(shape), "OK")
        for status, codes in self._refusals(found).items():
            description = "Codes: " + ", ".join(f"`{code}`" for code in codes)
            shape = found.shapes.get(status) or _shape_of(status, codes)
            answer = OpenApiResponse(shapes.ref(shape), description)
            answers[status, "application/json"] = answer
            if found.is_page:
                answers[status, HTML] = OpenApiResponse(shapes.TEXT, description)
        return answers

    def _refusals(self, found: Operation) -> dict[int, Sequence[str]]:
        """What the operation refuses, and what is refused before it is asked."""
        refusals: dict[int, Sequence[str]] = dict(found.refusals)

        def add(status: int, *codes: str) -> None:
            refusals[status] = tuple(dict.fromkeys([*refusals.get(status, ()), *codes]))

        if isinstance(self.view, AuthModesViewMixin):
            add(400, "unsupported_charset")
            add(406, "not_acceptable")
        if found.body:
            add(400, "parse_error")
            add(415, "unsupported_media_type")
        if isinstance(self.view, LoginSessionView):
            add(401, "not_authenticated", *BAD_TOKEN)
            if self.method not in SAFE_METHODS:
                add(403, "permission_denied")
        if getattr(self.view, "credential_scope", "") and self.method not in SAFE_METHODS:
            add(429, "throttled")
        return dict(sorted(refusals.items()))


def _shape_of(status: int, codes: Sequence[str]) -> str:
    if "stage_pending" in codes:
        return "SignInRefused"
    return "Invalid" if status == 400 else "Error"


class DoorExtension(OpenApiViewExtension):
    """For each view of ours, and for those that a project makes of them."""

    target_class: Any = AuthModesViewMixin
    match_subclasses = True

    def view_replacement(self) -> Any:
        view: Any = self.target
        changed: dict[str, Any] = {"schema": DoorSchema()}
        found = endpoints.OPERATIONS.get(view, {})
        if any(operation.may_be_signed_in for operation in found.values()):
            changed["authentication_classes"] = (AuthModesAuthentication,)
        replacement: Any = type(view.__name__, (view,), changed)
        for verb in replacement.http_method_names:
            described = getattr(getattr(view, verb, None), "kwargs", {}).get("schema")
            if described is not None:
                # A project's `@extend_schema`, which would else have no more than drf-spectacular's
                # own guesses to go by.
                method = isolate_view_method(replacement, verb)
                method.kwargs["schema"] = type("DescribedSchema", (described, DoorSchema), {})
        return replacement


class JwksExtension(DoorExtension):
    """The one view that every cache may keep, so that it is no door."""

    target_class = JwksView


class NamedSerializer(OpenApiSerializerExtension):
    """Gives our serializers names of our own, lest they meet the project's."""

    target_class: Any = None

    def get_name(self, auto_schema: AutoSchema, direction: Any) -> str:
        return shapes.PREFIX + self.target_class.__name__.removesuffix("Serializer")

    def map_serializer(self, auto_schema: AutoSchema, direction: Any) -> dict[str, Any]:
        schema = super().map_serializer(auto_schema, direction)
        properties = schema["properties"]
        for name, field in self.target_class().fields.items():
            if isinstance(field, CharField) and not (field.read_only or field.allow_blank):
                properties[name].setdefault("minLength", 1)
                if field.trim_whitespace:
                    properties[name].setdefault("pattern", r"\S")
        for name, shape in {"mode": "Mode", "process": "Process"}.items():
            if name in properties:
                properties[name] = shapes.ref(shape)
        return {**schema, **components.BEYOND_FIELDS.get(self.target_class, {})}


def _is_ours(found: Any) -> bool:
    is_serializer = isinstance(found, type) and issubclass(found, BaseSerializer)
    return is_serializer and found.__module__ in (serializers.__name__, serializers.__name__)


# An extension registers itself by being made.
for _found in filter(_is_ours, [*vars(serializers).values(), *vars(serializers).values()]):
    type(f"Named{_found.__name__}", (NamedSerializer,), {"target_class": _found})
