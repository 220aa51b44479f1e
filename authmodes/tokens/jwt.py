"""The two JWTs of a login session: claims, minting and reading; nothing is stored here."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar, cast

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from rest_framework_simplejwt import tokens as simplejwt
from rest_framework_simplejwt.exceptions import TokenBackendError, TokenError
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.utils import datetime_from_epoch, get_md5_hash_password

from .. import policy
from ..conf import conf, simple_jwt
from ..models import LoginSession, write_database
from . import keys, verified

# Of refresh tokens, where there is no issuer to name.
AUDIENCE = "authmodes/token"
# The claim of a refresh token whose cookie ends with the browser, which is false.
PERSISTENT = "persistent"
# For a developer, so it is not translated.
ISSUED_BY_SIMPLEJWT = (
    "This token was issued by simplejwt, not by authmodes, so it has no login session. "
    'See "From simplejwt" in the documentation of authmodes.'
)


def simple_jwt_setting(name: str) -> Any:
    """Make a property of a setting that simplejwt's own classes read once, at import."""
    return property(lambda token: getattr(simple_jwt(), name))


class RingToken(simplejwt.Token):
    """A token that the key ring signs and verifies."""

    typ = keys.UNTYPED

    @classmethod
    def backend(cls) -> keys.RingBackend:
        return keys.backend(cls.typ)

    def get_token_backend(self) -> keys.RingBackend:
        return self.backend()

    @classmethod
    def sign(cls, claims: Mapping[str, Any]) -> str:
        """Return a token of this kind with these claims, and no others but its type.

        simplejwt's constructor would first make claims that the ones of a login session replace.
        """
        return cls.backend().encode({**claims, simple_jwt().TOKEN_TYPE_CLAIM: cls.token_type})

    def verify(self) -> None:
        super().verify()
        if not isinstance(self.payload.get(simple_jwt().JTI_CLAIM), str):
            raise TokenError("Token has no id")

    def check_exp(self, claim: str = "exp", current_time: datetime | None = None) -> None:
        try:
            super().check_exp(claim, current_time)
        except (TypeError, ValueError, OverflowError, OSError) as error:
            raise TokenError("Token has no usable expiry") from error

    def verify_uuid(self, claim: str) -> uuid.UUID:
        """Return a claim as a UUID. Raises `TokenError`."""
        try:
            return uuid.UUID(self.payload[claim])
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise TokenError(f"Token has no {claim}") from error

    # simplejwt's __repr__ is the payload; claims do not belong in logs and traces.
    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class LoginToken(RingToken):
    """A token of a login session: it has a `sid` and a user."""

    def verify(self) -> None:
        super().verify()
        if self.payload.get(simple_jwt().USER_ID_CLAIM) is None:
            raise TokenError("Token has no user")
        self.check_login_session()

    def check_login_session(self) -> None:
        # A token without a login session could not be revoked.
        self.sid = self.verify_uuid("sid")

    @classmethod
    def for_user(cls, user: Any) -> Any:
        raise TypeError(
            "A token belongs to a login session: call mint(registry.start(None, user, 'jwt'))."
        )

    def belongs_to_user_of(self, login_session: LoginSession) -> bool:
        """Whether the token names the user of this login session."""
        return str(self.payload[simple_jwt().USER_ID_CLAIM]) == _user_id(login_session)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.payload.get('sid')}>"


class AccessToken(LoginToken, simplejwt.AccessToken):
    """simplejwt's access token with a `sid`."""

    typ = keys.ACCESS
    lifetime = simple_jwt_setting("ACCESS_TOKEN_LIFETIME")


class RefreshToken(LoginToken, simplejwt.RefreshToken):
    """simplejwt's refresh token with a `sid`. It is single use: see `registry.rotation`.

    Its type and its audience are ours alone: simplejwt's own classes would accept a token that
    was rotated or revoked, and another service would accept it as an access token.
    """

    token_type = "authmodes_refresh"
    no_copy_claims = (*simplejwt.RefreshToken.no_copy_claims, "aud")  # type: ignore[assignment]
    access_token_class = AccessToken
    lifetime = simple_jwt_setting("REFRESH_TOKEN_LIFETIME")

    @classmethod
    def backend(cls) -> keys.RingBackend:
        issuer = simple_jwt().ISSUER
        return keys.backend(cls.typ, f"{issuer.rstrip('/')}/token" if issuer else AUDIENCE)

    @property
    def is_persistent(self) -> bool:
        return self.payload.get(PERSISTENT) is not False

    def check_blacklist(self) -> None:
        # Rotation reads the blacklist in the query that loads the login session, and
        # blacklists a legacy token in the statement that asks whether it is blacklisted.
        return None

    def outstand(self) -> OutstandingToken:
        """Return the row of the token's family. Raises `TokenError` if it has none.

        simplejwt would look for the `jti`, which is not stored there after a rotation, and make
        a row with the text of the token.
        """
        rows = OutstandingToken.objects.using(write_database())
        outstanding = rows.filter(login_session__sid=self.sid).first()
        if outstanding is None:
            raise TokenError("Token has no login session")
        return outstanding

    def blacklist(self) -> Any:
        """Blacklist the token's family, which ends the login."""
        entries = BlacklistedToken.objects.using(write_database())
        return entries.get_or_create(token=self.outstand())


class LegacyRefreshToken(RefreshToken):
    """A refresh token that simplejwt issued before authmodes was installed.

    It has no login session. With `AUTHMODES_ACCEPT_LEGACY_REFRESH`, rotation exchanges it for
    one, once.
    """

    token_type = simplejwt.RefreshToken.token_type

    @classmethod
    def backend(cls) -> keys.RingBackend:
        return keys.backend()

    def check_login_session(self) -> None:
        return None

    @property
    def expires_at(self) -> datetime:
        return datetime_from_epoch(self.payload["exp"])

    def find_user(self) -> Any:
        """Return the user that the token names; None if that user does not exist."""
        jwt_settings = simple_jwt()
        wanted = {jwt_settings.USER_ID_FIELD: self.payload[jwt_settings.USER_ID_CLAIM]}
        try:
            return (
                get_user_model()._default_manager.using(write_database()).filter(**wanted).first()
            )
        except (ValueError, TypeError, ValidationError):
            return None

    def matches_password_of(self, user: Any) -> bool:
        """Whether simplejwt's CHECK_REVOKE_TOKEN claim matches the user's password."""
        jwt_settings = simple_jwt()
        if not jwt_settings.CHECK_REVOKE_TOKEN:
            return True
        claimed = str(self.payload.get(jwt_settings.REVOKE_TOKEN_CLAIM))
        return constant_time_compare(claimed, get_md5_hash_password(user.password))


Kind = TypeVar("Kind", bound=RingToken)


def read_token(kind: type[Kind], raw_token: Any) -> Kind:
    """Verify a token that a client presents. Raises `TokenError`.

    Never call the class itself with a client's value: simplejwt takes None as the order to
    make a new token.
    """
    if not isinstance(raw_token, str):
        raise TokenError("Token is not a string")
    known = verified.find(raw_token) if kind.typ == keys.ACCESS else None
    if isinstance(known, kind):
        return known
    token = kind(cast(Any, raw_token))
    return verified.remember(token, raw_token) if kind.typ == keys.ACCESS else token


def read_any(raw_token: Any, *kinds: type[Kind]) -> Kind | None:
    """Verify a token of one of several kinds; return None if it is none of them."""
    known = verified.find(raw_token)
    if isinstance(known, kinds):
        return known
    for kind in kinds:
        try:
            return read_token(kind, raw_token)
        except TokenError:
            continue
    return None


def read_legacy_token(raw_token: Any) -> LegacyRefreshToken | None:
    """Return a legacy refresh token; None for other tokens, and where none is accepted."""
    return read_any(raw_token, LegacyRefreshToken) if conf.ACCEPT_LEGACY_REFRESH else None


def is_issued_by_simplejwt(raw_token: Any) -> bool:
    """Whether a refused token was signed with our key by simplejwt's own `for_user()`."""
    try:
        claims = keys.backend().decode(raw_token)
    except TokenBackendError:
        return False
    kind = claims.get(simple_jwt().TOKEN_TYPE_CLAIM)
    kinds = (simplejwt.AccessToken.token_type, simplejwt.RefreshToken.token_type)
    return kind in kinds and "sid" not in claims


@dataclass(frozen=True)
class TokenPair:
    """Both tokens of a login session, as text, with aware datetimes of their expiry."""

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
    """Make both tokens of a login session that was started with mode "jwt".

    The refresh token is a function of the row, and of `is_persistent`, which its predecessor
    had. A client that lost the answer of a rotation is therefore given the same successor again,
    although no token is stored.
    """
    now = timezone.now()
    access_expires_at = min(now + simple_jwt().ACCESS_TOKEN_LIFETIME, login_session.expires_at)
    return TokenPair(
        login_session=login_session,
        # First, because a project's claims may load the row anew.
        refresh=_mint_refresh(login_session),
        access=_mint_access(login_session, now, access_expires_at),
        access_expires_at=access_expires_at,
        refresh_expires_at=refresh_deadline(login_session),
    )


def _mint_access(login_session: LoginSession, now: datetime, expires_at: datetime) -> str:
    claims = _shared_claims(login_session, new_jti(), now, expires_at)
    claims.update(sub=_user_id(login_session), amr=login_session.amr.split())
    extra = conf.CLAIMS
    # A project adds claims and replaces none.
    added = extra(login_session.user, login_session) if extra is not None else {}
    return AccessToken.sign({**added, **claims})


def _mint_refresh(login_session: LoginSession) -> str:
    issued_at, expires_at = login_session.refreshed_at, login_session.expires_at
    claims = _shared_claims(login_session, login_session.current_jti, issued_at, expires_at)
    if not login_session.is_persistent:
        claims[PERSISTENT] = False
    return RefreshToken.sign(claims)


def _shared_claims(
    login_session: LoginSession, jti: str, issued_at: datetime, expires_at: datetime
) -> dict[str, Any]:
    client_id = login_session.client_id
    return {
        # RFC 9068, 2.2: of the logins that an app requested.
        **({"client_id": client_id} if client_id else {}),
        # simplejwt writes the id as text, and RFC 7519 requires `sub` to be one.
        simple_jwt().USER_ID_CLAIM: _user_id(login_session),
        "sid": str(login_session.sid),
        "auth_time": login_session.auth_time,
        simple_jwt().JTI_CLAIM: jti,
        "iat": to_epoch(issued_at),
        "exp": to_epoch(expires_at),
    }


def _user_id(login_session: LoginSession) -> str:
    return str(getattr(login_session.user, simple_jwt().USER_ID_FIELD))


def to_epoch(moment: datetime) -> int:
    return int(moment.timestamp())


def refresh_deadline(login_session: LoginSession) -> datetime:
    """Return when the current refresh token stops working if it is not used."""
    return policy.refresh_deadline(
        login_session.refreshed_at,
        simple_jwt().REFRESH_TOKEN_LIFETIME,
        conf.IDLE_TIMEOUT,
        login_session.expires_at,
    )
