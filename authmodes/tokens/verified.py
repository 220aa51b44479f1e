"""The access tokens that this process has verified, so that it verifies each of them once.

Reading a token anew takes three times as long as a request with it should: the signature, PyJWT's
rules and simplejwt's, two UUIDs. None of these depends on anything but the text and the settings,
and time; what depends on a row or on the snapshot is not remembered.
"""

import json
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

from django.core.signals import setting_changed
from django.dispatch import receiver
from rest_framework_simplejwt.tokens import Token
from rest_framework_simplejwt.utils import aware_utcnow

from ..conf import conf
from ..models.digests import digest_of
from . import keys

Kind = TypeVar("Kind", bound=Token)


class Known(NamedTuple):
    """A verified token: its kind, what `verify` has set, its payload as JSON, and its times."""

    kind: type[Token]
    attributes: dict[str, Any]
    payload: str
    begins: float
    ends: float


# By backend (and therefore by key ring, encryption keys, issuer and audience) and by the digest of
# the text, which is a credential.
_known: dict[tuple[keys.RingBackend, str], Known] = {}


def find(raw_token: Any) -> Token | None:
    """Return a token that was verified before, if this is its text; None if it has to be read."""
    known = _known.get(_key(raw_token)) if isinstance(raw_token, str) else None
    # Outside these times it is read anew, so that all rules, with their leeway, decide.
    if known is None or not known.begins <= time.time() < known.ends:
        return None
    token: Any = known.kind.__new__(known.kind)
    # The payload is made anew each time, so that no caller changes the claims of another.
    vars(token).update(
        known.attributes,
        token=raw_token,
        current_time=aware_utcnow(),
        payload=json.loads(known.payload),
    )
    return token


def remember(token: Kind, raw_token: str) -> Kind:
    """Remember a token that was just verified; the ones that were verified first make room."""
    size, begins, ends = conf.TOKEN_CACHE_SIZE, token.get("nbf", 0), token["exp"]
    # Without a lock, which a fork might copy while it is held.
    with suppress(StopIteration, RuntimeError):
        while len(_known) >= max(size, 1):
            _known.pop(next(iter(_known)), None)
    # Between its times, a leeway below zero would refuse a token that is remembered.
    is_lenient = keys.backend(keys.ACCESS).get_leeway() >= timedelta(0)
    # PyJWT also takes text for a number, and cuts fractions off.
    if size and is_lenient and {type(begins), type(ends)} <= {int, float}:
        made_anew = ("token", "current_time", "payload")
        attributes = {name: vars(token)[name] for name in vars(token) if name not in made_anew}
        known = Known(type(token), attributes, json.dumps(token.payload), begins, int(ends))
        _known[_key(raw_token)] = known
    return token


def _key(raw_token: str) -> tuple[keys.RingBackend, str]:
    return keys.backend(keys.ACCESS), digest_of(raw_token)


@receiver(setting_changed)
def _forget(**kwargs: Any) -> None:
    _known.clear()
