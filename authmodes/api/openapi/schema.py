"""Makes operations and components of what views and serializers declare."""

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from drf_spectacular.drainage import isolate_view_method
from drf_spectacular.extensions import OpenApiSerializerExtension, OpenApiViewExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import exceptions
from rest_framework.permissions import SAFE_METHODS
from rest_framework.serializers import BaseSerializer, CharField
from rest_framework_simplejwt.exceptions import InvalidToken

from ...authentication import AuthModesAuthentication
from ...conf import Mode, conf
from ...exceptions import (
    CsrfFailed,
    LoginSessionEnded,
    OAuthError,
    StagePending,
    TokensDisabled,
    UnsupportedCharset,
)
from ...tokens import cookies as token_cookies
from .. import answers, fields, inputs, serializers
from ..views.base import HTML, AuthModesViewMixin, LoginSessionView, Operation
from ..views.tokens import CacheableView

JSON = "application/json"
# A project has an `Error` and a `User` of its own.
PREFIX = "AuthModes"
# Of the serializers; `fields` is that of those that `declare` makes.
MODULES = (answers, fields, inputs, serializers)
TAGS = {
    "tokens": "Tokens",
    "sessions": "Login sessions",
    "staff": "Administration",
    "upstream": "Providers",
}
HEADERS = {"Location": 302, "WWW-Authenticate": 401, "Retry-After": 429}
# Of answers that only one mode gives.
MODES: dict[Any, Mode] = {
    answers.CookieAnswerSerializer: Mode.SESSION,
    answers.TokenAnswerSerializer: Mode.JWT,
    answers.GrantAnswerSerializer: Mode.JWT,
}
# Of errors whose body has more than all errors have.
ERROR_SERIALIZERS: dict[type[Exception], Any] = {
    StagePending: answers.StagePendingSerializer,
    OAuthError: answers.OAuthErrorSerializer,
    exceptions.ValidationError: answers.InvalidSerializer,
}


def find_operation(view: type, method: str) -> tuple[type, Operation] | None:
    """Return the operation of a view's verb, and the class that declares it (or a base)."""
    for base in view.__mro__:
        found = getattr(vars(base).get(method.lower()), "operation", vars(base).get("operation"))
        if found is not None:
            return base, found
    return None


class AuthModesSchema(AutoSchema):
    """Writes an operation from its declaration, and what all views of its kind answer."""

    @property
    def declared(self) -> tuple[type, Operation]:
        found = find_operation(type(self.view), self.method)
        assert found is not None, f"{self.method} of {type(self.view)} is not described"
        return found

    @property
    def operation(self) -> Operation:
        return self.declared[1]

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        written = super().get_operation(*args, **kwargs)
        if written and "requestBody" in written:
            body = written["requestBody"]
            # drf-spectacular takes a body for optional of which no single field is required. Of
            # several that are, openapi-python-client makes a module that does not import.
            body["required"] = not self.operation.is_body_optional and len(body["content"]) == 1
        return written

    def get_operation_id(self) -> str:
        view = self.declared[0]
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", view.__name__.removesuffix("View")).lower()
        verbs = [verb for verb in ("get", "post", "patch", "delete") if hasattr(view, verb)]
        return f"authmodes_{name}" + (f"_{self.method.lower()}" if len(verbs) > 1 else "")

    def get_tags(self) -> list[str]:
        return [TAGS.get(self.declared[0].__module__.rpartition(".")[2], "Sign-in")]

    def get_summary(self) -> str:
        return self._doc()[0]

    def get_description(self, *args: Any) -> str:
        return self._doc()[1]

    def _doc(self) -> tuple[str, str]:
        view = self.declared[0]
        method = getattr(view, self.method.lower())
        summary, _, rest = (method.__doc__ or view.__doc__ or "").partition("\n\n")
        return " ".join(summary.split()).removesuffix("."), inspect.cleandoc(rest)

    def get_auth(self) -> list[dict[str, Any]]:
        if self.operation.has_optional_login:
            self.view.authentication_classes = (AuthModesAuthentication,)
        auths = super().get_auth()
        # simplejwt's views have no permission classes, which says nothing of who may call.
        is_open = not self.view.permission_classes or self.operation.has_optional_login
        return [*auths, {}] if is_open and {} not in auths else auths

    def get_request_serializer(self) -> Any:
        body = self.operation.body
        if body is serializers.TokenRefreshSerializer and token_cookies.are_enabled():
            return None
        return body if body is None or isinstance(body, Mapping) else {JSON: body}

    def get_override_parameters(self) -> list[Any]:
        answered = {*self.operation.answers, *self._errors()}
        return [
            *([self.operation.query] if self.operation.query else []),
            *(
                OpenApiParameter(name, str, OpenApiParameter.HEADER, response=[status])
                for name, status in HEADERS.items()
                if status in answered
            ),
        ]

    def get_response_serializers(self) -> Any:
        answers: dict[Any, OpenApiResponse] = {}
        for status, answer in self.operation.answers.items():
            if answer is None:
                answers[status] = OpenApiResponse(None, "")
            elif answer == HTML:
                answers[status, HTML] = OpenApiResponse({"type": "string"}, "A page")
            else:
                answers[status, JSON] = OpenApiResponse(self._one_of(answer), "OK")
        for status, errors in self._errors().items():
            codes = (code for error in errors for code in _codes(error))
            description = "Codes: " + ", ".join(f"`{code}`" for code in dict.fromkeys(codes))
            shapes = tuple(dict.fromkeys(self._error_serializer(error) for error in errors))
            answers[status, JSON] = OpenApiResponse(self._one_of(shapes), description)
            if HTML in self.map_renderers("media_type"):
                answers[status, HTML] = OpenApiResponse({"type": "string"}, description)
        return answers

    def _one_of(self, found: Any) -> Any:
        """Return a serializer, or a schema of several: those of logins in the modes that are on."""
        if not isinstance(found, tuple):
            return found
        possible = [one for one in found if conf.MODE.allows(MODES.get(one, conf.DEFAULT_MODE))]
        if len(possible) == 1:
            return possible[0]
        refs = [self.resolve_serializer(one, "response").ref for one in possible]
        return {"anyOf": refs}

    def _error_serializer(self, error: type[Exception]) -> Any:
        for kind, serializer in ERROR_SERIALIZERS.items():
            if issubclass(error, kind):
                return serializer
        return getattr(self.view, "error_serializer", answers.ErrorSerializer)

    def _errors(self) -> dict[int, list[type[exceptions.APIException]]]:
        """Return what the method raises, and what is raised before it is called."""
        errors = list(self.operation.errors)
        if isinstance(self.view, AuthModesViewMixin):
            errors += [UnsupportedCharset, exceptions.NotAcceptable]
        if self.operation.body:
            errors += [exceptions.ParseError, exceptions.UnsupportedMediaType]
            if not self.operation.is_body_optional and not hasattr(self.view, "error_serializer"):
                errors.append(exceptions.ValidationError)
        if isinstance(self.view, LoginSessionView):
            errors += [exceptions.NotAuthenticated, InvalidToken, LoginSessionEnded, TokensDisabled]
            if self.method not in SAFE_METHODS:
                errors.append(CsrfFailed)
        if getattr(self.view, "credential_scope", "") and self.method not in SAFE_METHODS:
            errors.append(exceptions.Throttled)
        by_status: dict[int, list[type[exceptions.APIException]]] = {}
        for error in dict.fromkeys(errors):
            by_status.setdefault(error.status_code, []).append(error)
        return dict(sorted(by_status.items()))


def _codes(error: type[exceptions.APIException]) -> Iterable[str]:
    return getattr(error, "codes", None) or (error.default_code,)


class AuthModesViews(OpenApiViewExtension):
    """For each view of ours, and for those that a project makes of them."""

    target_class: Any = AuthModesViewMixin
    match_subclasses = True

    def view_replacement(self) -> Any:
        view: Any = self.target
        replacement: Any = type(view.__name__, (view,), {"schema": AuthModesSchema()})
        for verb in replacement.http_method_names:
            described = getattr(getattr(view, verb, None), "kwargs", {}).get("schema")
            if described is not None:
                # A project's `@extend_schema`; without ours, it would get drf-spectacular's
                # guesses for all that it does not name.
                method = isolate_view_method(replacement, verb)
                method.kwargs["schema"] = type("Described", (described, AuthModesSchema), {})
        return replacement


class CacheableViews(AuthModesViews):
    """The views that do without the mixin, because caches may keep their answers."""

    target_class = CacheableView


class NamedSerializer(OpenApiSerializerExtension):
    """Gives our serializers names of our own, so that they don't clash with the project's."""

    target_class: Any = None

    def get_name(self, auto_schema: AutoSchema, direction: Any) -> str:
        return PREFIX + self.target_class.__name__.removesuffix("Serializer")

    def map_serializer(self, auto_schema: AutoSchema, direction: Any) -> dict[str, Any]:
        schema = super().map_serializer(auto_schema, direction)
        properties = schema.get("properties", {})
        for name, field in self.target_class().fields.items():
            # With COMPONENT_SPLIT_REQUEST, a body has no fields that are only read.
            if name not in properties:
                continue
            is_text = isinstance(field, CharField) and direction == "request"
            if is_text and not field.allow_blank:
                properties[name].setdefault("minLength", 1)
                if field.trim_whitespace:
                    properties[name].setdefault("pattern", r"\S")
            choice = getattr(field, "child", field)
            if choices := getattr(choice, "choices", None):
                ref = self._enumeration(auto_schema, name, list(choices))
                if choice is not field:
                    properties[name]["items"] = ref
                else:
                    properties[name] = ref
        # None removes what drf-spectacular says.
        schema.update(getattr(self.target_class, "schema", {}))
        return {name: value for name, value in schema.items() if value is not None}

    def _enumeration(self, auto_schema: AutoSchema, name: str, values: list[str]) -> Any:
        """Return a component of ours; drf-spectacular would name it once for the whole project."""
        if values == [str(Mode.SESSION), str(Mode.JWT)]:
            name = "Mode"
        else:
            name = self.target_class.__name__.removesuffix("Serializer") + name.title()
        component = ResolvedComponent(
            name=PREFIX + name.replace("_", ""),
            type=ResolvedComponent.SCHEMA,
            object=name,
            schema={"type": "string", "enum": values},
        )
        auto_schema.registry.register_on_missing(component)
        return component.ref


def _is_ours(found: Any) -> bool:
    is_serializer = isinstance(found, type) and issubclass(found, BaseSerializer)
    return is_serializer and found.__module__ in {each.__name__ for each in MODULES}


# An extension registers itself by being made.
for _found in {found for each in MODULES for found in vars(each).values() if _is_ours(found)}:
    type(f"Named{_found.__name__}", (NamedSerializer,), {"target_class": _found})
