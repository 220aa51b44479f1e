"""Fields that several serializers share, and `declare`, which makes a serializer in one call."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.validators import BaseValidator
from django.utils.text import format_lazy
from rest_framework import serializers
from rest_framework.serializers import CharField, ChoiceField, Serializer
from rest_framework.validators import ProhibitSurrogateCharactersValidator

from .. import exceptions as errors
from ..conf import Mode

PASSWORD_MAX_LENGTH = 4096
PAGE_SIZE, PAGE_SIZE_LIMIT = 50, 200
LOGIN_MAX_LENGTH = 320
# Those of large directories carry a group list.
TOKEN_MAX_LENGTH = 16_384
OPTIONAL: dict[str, Any] = {"required": False, "allow_blank": True}


class ModeField(ChoiceField):
    """The mode of a login. An unknown mode has its own error code."""

    def __init__(self, *choices: Mode, **kwargs: Any) -> None:
        super().__init__([str(mode) for mode in choices or (Mode.SESSION, Mode.JWT)], **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        if data not in ("", *self.choices):
            raise errors.InvalidMode
        return data


class AsciiFirst(ProhibitSurrogateCharactersValidator):
    """DRF's looks at each character of a token, which takes 3 % of a refresh."""

    def __call__(self, value: Any) -> None:
        if not value.isascii():
            super().__call__(value)


class TokenField(CharField):
    """A token. Its whitespace is not trimmed."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, **kwargs)
        self.validators = [
            AsciiFirst() if type(each) is ProhibitSurrogateCharactersValidator else each
            for each in self.validators
        ]

    def to_internal_value(self, data: Any) -> str:
        # DRF makes text of a number, which is never a token.
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class ParameterField(TokenField):
    """A parameter of RFC 6749: sent once at most; an empty one counts as left out (3.2)."""

    def __init__(self, choices: Sequence[str] = (), **kwargs: Any) -> None:
        # For the document; what else is sent has an error of RFC 6749's.
        self.choices = choices
        super().__init__(**OPTIONAL, **kwargs)

    def get_value(self, dictionary: Mapping[Any, Any]) -> Any:
        getlist = getattr(dictionary, "getlist", None)
        values = getlist(self.field_name) if getlist else []
        # Several are refused as any other value that is not a text.
        value = values if len(values) > 1 else super().get_value(dictionary)
        return "" if value is None else value

    def run_validators(self, value: Any) -> None:
        """Accept every text: a wrong one has an error of RFC 6749's, such as `invalid_client`."""


class InputSerializer(Serializer[Any]):
    """A serializer of a hot path, whose fields are made once for each class.

    DRF copies all fields for each serializer, which takes 4 % of a login.
    """

    @property
    def fields(self) -> Any:
        return _fields_of(type(self))


@functools.cache
def _fields_of(kind: type[InputSerializer]) -> Any:
    fields = super(InputSerializer, kind()).fields
    for field in fields.values():
        for validator in field.validators:
            if isinstance(validator, BaseValidator):
                # DRF's text keeps the language of the first request that it is sent to, and
                # raises `AttributeError` where two threads make it at once.
                limit = {validator.code: validator.limit_value}
                validator.message = format_lazy(field.error_messages[validator.code], **limit)
    return fields


def declare(
    name: str, doc: str = "", base: type[Serializer[Any]] = Serializer, /, **attributes: Any
) -> type[Serializer[Any]]:
    """Make a serializer class that only describes a body.

    Unlike in the body of a class, a field may have the name of a keyword or of an attribute
    that serializers have.
    """
    attributes |= {"__module__": __name__, "__doc__": doc or None}
    made: Any = serializers.SerializerMetaclass(f"{name}Serializer", (base,), attributes)
    return made
