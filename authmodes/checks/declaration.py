"""Declares a system check of ours: its id, its hint, and when Django runs it."""

from collections.abc import Callable, Iterable
from typing import Any

from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured

# By the first letter of an id.
LEVELS: dict[str, Callable[..., CheckMessage]] = {"E": Error, "W": Warning, "I": Info}

Find = Callable[[], Iterable[str]]


def check(
    number: str, *tags: str, hint: str | None = None, deploy: bool = False
) -> Callable[[Find], Callable[..., list[CheckMessage]]]:
    """Register a function that yields a text for each thing that is wrong.

    Its tag is "security" unless others are named. It finds nothing where it reads an impossible
    value: E001, E008 and E014 report the value.
    """
    level = LEVELS[number[0]]

    def decorate(find: Find) -> Callable[..., list[CheckMessage]]:
        # Not `wraps`: Django looks for `**kwargs` in the signature of what is wrapped.
        @register(*(tags or [Tags.security]), deploy=deploy)
        def run(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
            try:
                return [level(text, hint=hint, id=f"authmodes.{number}") for text in find()]
            except ImproperlyConfigured:
                return []

        run.__doc__ = f"{number}: {find.__doc__}"
        return run

    return decorate
