"""The shape of every error the REST door answers: `{"detail", "code"}`, never more than needed."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.utils.translation import gettext_lazy as _
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler

from ..errors import StagePending


def handle(exception: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler, with a code on every answer."""
    response = exception_handler(exception, context)
    if response is not None:
        response.data = _body(exception, response.data)
    return response


def _body(exception: Exception, data: Any) -> dict[str, Any]:
    if isinstance(exception, exceptions.ValidationError):
        fields = data if isinstance(data, Mapping) else {"non_field_errors": data}
        return {"detail": str(_("Invalid input.")), "code": "invalid", "errors": fields}
    if isinstance(exception, StagePending):
        return {**data, "continue": exception.go_on}
    if isinstance(data, Mapping) and "code" in data:
        return dict(data)
    if isinstance(exception, Http404):
        return {**data, "code": "not_found"}
    if isinstance(exception, PermissionDenied):
        return {**data, "code": "permission_denied"}
    return {**data, "code": _code(exception)}


def _code(exception: Exception) -> str:
    codes = exception.get_codes() if isinstance(exception, exceptions.APIException) else None
    return codes if isinstance(codes, str) else "error"
