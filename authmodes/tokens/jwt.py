"""The two JWTs: their claims, and minting them from a login session; nothing is stored here."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from rest_framework_simplejwt import tokens as simplejwt
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.utils import datetime_from_epoch, get_md5_hash_password

from .. import policy
from ..conf import conf, simple_jwt
from ..models import LoginSession
from . import keys


class RingToken(simplejwt.Token):
    """A token signed by the key ring, whomever it is for."""

    typ = "JWT"

    def get_token_backend(self) -> keys.RingBackend:
        return keys.backend()

    def verify(self) -> None:
        super().verify()
        if not isinstance(self.payload.get(simple_jwt().JTI_CLAIM), str):
            raise TokenError("Token has no id")

    def check_exp(self, claim: str = "exp", current_time: datetime | None = None) -> None:
        try:
            super().check_exp(claim, current_time)
        except (TypeError, ValueError, OverflowError, OSError) as error:
            raise TokenError("Token has no usable expiry") from error

    def __str__(self) -> str:
        return self.get_token_backend().encode(self.payload, self.typ)

    # simplejwt's __repr__ is the payload; claims do not belong in logs and traces.
    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class LoginToken(RingToken):
    """A token of a login session: with a `sid` and a user."""

    def verify(self) -> None:
        super().verify()
        if self.payload.get(simple_jwt().USER_ID_CLAIM) is None:
            raise TokenError("Token has no user")
        self.check_login_session()

    def check_login_session(self) -> None:
        # Without a login session nobody could revoke it, so it is none of ours.
        try:
            self.sid = uuid.UUID(self.payload["sid"])
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise TokenError("Token has no login session") from error

    def is_of(self, login_session: LoginSession) -> bool:
        """Whether the token names the login session's user."""
        return str(self.payload[simple_jwt().USER_ID_CLAIM]) == _user_id(login_session)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.payload.get('sid')}>"


class AccessToken(LoginToken, simplejwt.AccessToken):
    """simplejwt's access token with a `sid`."""

    typ = "at+jwt"

    @property
    def lifetime(self) -> timedelta:  # type: ignore[override]
        return simple_jwt().ACCESS_TOKEN_LIFETIME


class RefreshToken(LoginToken, simplejwt.RefreshToken):
    """simplejwt's refresh token with a `sid`; single use, see `registry.rotate`."""

    access_token_class = AccessToken

    @property
    def lifetime(self) -> timedelta:  # type: ignore[override]
        return simple_jwt().REFRESH_TOKEN_LIFETIME

    def check_blacklist(self) -> None:
        # Rotation reads the blacklist in the query that loads the login session, and a
        # legacy token is blacklisted in the statement that finds out.
        return None

    @classmethod
    def for_user(cls, user: Any) -> Any:
        raise TypeError("A refresh token belongs to a login session: call registry.start().")


class LegacyRefreshToken(RefreshToken):
    """A refresh token of simplejwt's own, from before authmodes was installed."""

    def check_login_session(self) -> None:
        if "sid" in self.payload:
            raise TokenError("Token is of this time")

    @property
    def expires_at(self) -> datetime:
        return datetime_from_epoch(self.payload["exp"])

    def find_user(self) -> Any:
        """The user it names, None if there is no such user any more."""
        jwt_settings = simple_jwt()
        wanted = {jwt_settings.USER_ID_FIELD: self.payload[jwt_settings.USER_ID_CLAIM]}
        try:
            return get_user_model()._default_manager.filter(**wanted).first()
        except (ValueError, TypeError, ValidationError):
            return None

    def is_of_password(self, user: Any) -> bool:
        """Whether the password is still the one of simplejwt's CHECK_REVOKE_TOKEN claim."""
        jwt_settings = simple_jwt()
        if not jwt_settings.CHECK_REVOKE_TOKEN:
            return True
        claimed = str(self.payload.get(jwt_settings.REVOKE_TOKEN_CLAIM))
        return constant_time_compare(claimed, get_md5_hash_password(user.password))


Kind = TypeVar("Kind", bound=RingToken)


def read_token(kind: type[Kind], raw_token: Any) -> Kind:
    """Verify a token that somebody presents. Raises `TokenError` for whatever is wrong.

    Never call the class on a client's value yourself: simplejwt takes None for "make me a
    new one".
    """
    if not isinstance(raw_token, str):
        raise TokenError("Token is no text")
    return kind(raw_token)  # type: ignore[arg-type]


def read_legacy_token(raw_token: Any) -> LegacyRefreshToken | None:
    try:
        return read_token(LegacyRefreshToken, raw_token)
    except TokenError:
        return None


@dataclass(frozen=True)
class TokenPair:
    """Both tokens of a login session, as text; `expires_at` are aware datetimes."""

    login_session: LoginSession
    access: str
    refresh: str
    access_expires_at: datetime
    refresh_expires_at: datetime

    def __repr__(self) -> str:
        return f"<TokenPair of {self.login_session.sid}>"


def new_jti() -> str:
    return uuid.uuid4().hex


def mint(login_session: LoginSession) -> TokenPair:
    """Make the pair that belongs to the row as it is.

    The refresh token is a function of the row, so whoever lost the answer of a rotation
    is given the same successor again without its being stored anywhere.
    """
    now = timezone.now()
    access_expires_at = min(now + simple_jwt().ACCESS_TOKEN_LIFETIME, login_session.expires_at)
    return TokenPair(
        login_session=login_session,
        access=_mint_access(login_session, now, access_expires_at),
        refresh=_mint_refresh(login_session),
        access_expires_at=access_expires_at,
        refresh_expires_at=refresh_deadline(login_session),
    )


def refresh_deadline(login_session: LoginSession) -> datetime:
    """When the current refresh token stops working unless it is used before."""
    return policy.refresh_deadline(
        login_session.refreshed_at,
        simple_jwt().REFRESH_TOKEN_LIFETIME,
        conf.IDLE_TIMEOUT,
        login_session.expires_at,
    )


def _mint_access(login_session: LoginSession, now: datetime, expires_at: datetime) -> str:
    token = AccessToken()
    extra = conf.CLAIMS
    if extra is not None:
        token.payload = {**extra(login_session.user, login_session), **token.payload}
    token.payload.update(_shared_claims(login_session))
    token.payload.update(iat=to_epoch(now), exp=to_epoch(expires_at), amr=login_session.amr.split())
    return str(token)


def _mint_refresh(login_session: LoginSession) -> str:
    outstanding = login_session.refresh_token
    assert outstanding is not None
    token = RefreshToken()
    token.payload[simple_jwt().JTI_CLAIM] = outstanding.jti
    token.payload.update(_shared_claims(login_session))
    token.payload.update(
        iat=to_epoch(login_session.refreshed_at), exp=to_epoch(login_session.expires_at)
    )
    return str(token)


def _shared_claims(login_session: LoginSession) -> dict[str, Any]:
    jwt_settings = simple_jwt()
    return {
        # simplejwt writes the id as text, and RFC 7519 wants `sub` to be one.
        jwt_settings.USER_ID_CLAIM: _user_id(login_session),
        "sid": str(login_session.sid),
        "auth_time": login_session.auth_time,
    }


def _user_id(login_session: LoginSession) -> str:
    return str(getattr(login_session.user, simple_jwt().USER_ID_FIELD))


def to_epoch(moment: datetime) -> int:
    return int(moment.timestamp())
