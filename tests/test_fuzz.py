"""Whatever text comes for a token: refused as documented, unless it is the genuine one."""

import os
import time
import uuid

import pytest
from django.test.utils import override_settings
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory
from rest_framework_simplejwt.exceptions import TokenError

from authmodes.authentication import AuthModesAuthentication
from authmodes.models import LoginSession
from authmodes.registry import rotation, validation
from authmodes.tokens import snapshot
from authmodes.tokens.jwt import (
    AccessToken,
    LegacyRefreshToken,
    RefreshToken,
    TokenPair,
    read_token,
)

from .support.tokens import base64url, claims_of, forge, header_of

settings.register_profile("few", max_examples=300)
settings.register_profile("many", max_examples=10_000)
PROFILE = settings.get_profile("many" if os.environ.get("CI") else "few")

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
KINDS = (AccessToken, RefreshToken, LegacyRefreshToken)


def fuzz(share):
    """Settings for a test that gets this share of all the examples."""
    return settings(
        max_examples=max(20, int(PROFILE.max_examples * share)),
        deadline=None,
        database=None,
        # The login is made once for each test; no example may change it, which is asserted.
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


# -- what is sent --------------------------------------------------------------------------


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**31, max_value=2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["", "0", "1", "\x00", "\ud800", "9" * 400, "1e9", "Infinity", "none", "HS256"]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)

HEADER_NAMES = ["alg", "typ", "kid", "crit", "b64", "jku", "jwk", "x5u", "x5c", "cty", "zip", "enc"]
CLAIM_NAMES = [
    "token_type",
    "exp",
    "nbf",
    "iat",
    "jti",
    "sid",
    "user_id",
    "sub",
    "aud",
    "iss",
    "auth_time",
    "amr",
    "active",
]

header_changes = st.dictionaries(
    st.one_of(st.sampled_from(HEADER_NAMES), st.text(max_size=8)), values, max_size=3
)
claim_changes = st.dictionaries(
    st.one_of(st.sampled_from(CLAIM_NAMES), st.text(max_size=8)), values, max_size=4
)
removed_claims = st.sets(st.sampled_from(CLAIM_NAMES), max_size=2)

token_like = st.one_of(
    st.text(max_size=200),
    st.text(alphabet=ALPHABET + ".=+/", max_size=300),
    st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")),
    st.lists(st.text(alphabet=ALPHABET, max_size=60), min_size=1, max_size=6).map(".".join),
    st.tuples(values, values, st.binary(max_size=40)).map(
        lambda parts: ".".join(base64url(part) for part in parts)
    ),
)
not_even_text = st.one_of(scalars, st.binary(max_size=40), st.lists(scalars, max_size=3))


@st.composite
def mutations(draw):
    """A function that changes a text in one or a few places."""
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["replace", "insert", "delete", "swap", "cut", "repeat", "case"]),
                st.floats(min_value=0, max_value=1, exclude_max=True),
                st.one_of(
                    st.text(alphabet=ALPHABET + ".=", min_size=1, max_size=1),
                    st.characters(),
                    st.sampled_from(["\n", "\x00", "=", " ", "\u00e9", "\ud800", ".."]),
                ),
            ),
            min_size=1,
            max_size=3,
        )
    )

    def mutate(text):
        for kind, where, character in steps:
            at = int(where * max(1, len(text)))
            if kind == "replace":
                text = text[:at] + character + text[at + 1 :]
            elif kind == "insert":
                text = text[:at] + character + text[at:]
            elif kind == "delete":
                text = text[:at] + text[at + 1 :]
            elif kind == "swap":
                text = text[:at] + text[at + 1 : at + 2] + text[at : at + 1] + text[at + 2 :]
            elif kind == "cut":
                text = text[:at]
            elif kind == "repeat":
                text = text + text[at:]
            else:
                text = text[:at] + text[at : at + 1].swapcase() + text[at + 1 :]
        return text

    return mutate


# -- what happens --------------------------------------------------------------------------

factory = APIRequestFactory()


def authenticate(raw_token):
    """The sid that a Bearer header with this text is accepted as; None if it is refused."""
    request = Request(factory.get("/"))
    request._request.META["HTTP_AUTHORIZATION"] = f"Bearer {raw_token}"
    try:
        _user, auth = AuthModesAuthentication().authenticate(request)
    except AuthenticationFailed:
        return None
    return auth.sid


def decode(raw_token):
    """The kinds of token that the text is taken for; anything but TokenError is a fault."""
    accepted = []
    for kind in KINDS:
        try:
            accepted.append(read_token(kind, raw_token))
        except TokenError:
            continue
    return accepted


def identify(raw_token):
    found = validation.identify(raw_token)
    return None if found is None else str(found[1].sid)


def rotate(raw_token):
    """Refused, or a pair; never anything else."""
    outcome = rotation.rotate(raw_token)
    assert isinstance(outcome, rotation.Refusal | TokenPair)
    return outcome


@pytest.fixture
def victim(login):
    """A login whose tokens are fuzzed, and which must survive it."""
    used = login("jwt")
    row = LoginSession.objects.values().get()
    yield used
    assert LoginSession.objects.values().get() == row
    assert used.get().status_code == 200
    assert used.refresh().status_code == 200


def assert_refused_everywhere(raw_token):
    assert decode(raw_token) == []
    assert identify(raw_token) is None
    assert isinstance(rotate(raw_token), rotation.Refusal)
    if isinstance(raw_token, str):
        assert authenticate(raw_token) is None


@fuzz(0.2)
@given(text=token_like)
@example(text="")
@example(text=".")
@example(text="..")
@example(text="a.b.c")
@example(text="eyJhbGciOiJub25lIn0.e30.")
@example(text="A" * 20_000)
@example(text=f"{'A' * 8000}.{'A' * 8000}.A")
def test_arbitrary_text_is_refused(text, victim):
    assert_refused_everywhere(text)


@fuzz(0.05)
@given(value=not_even_text)
def test_what_is_no_text_is_refused(value, victim):
    assert_refused_everywhere(value)


@fuzz(0.25)
@given(mutate=mutations(), kind=st.sampled_from(["access", "refresh"]))
def test_a_changed_token_is_refused(mutate, kind, victim):
    genuine = victim.answer[kind]
    changed = mutate(genuine)
    if changed == genuine:
        return
    # An HTTP header is stripped of white space around it, by the server already.
    assert decode(changed) == []
    assert identify(changed) is None
    assert isinstance(rotate(changed), rotation.Refusal)
    if changed.strip() != genuine:
        assert authenticate(changed) is None


@fuzz(0.1)
@given(
    header=header_changes,
    claims=claim_changes,
    kind=st.sampled_from(["access", "refresh"]),
)
def test_a_token_signed_with_another_key_is_refused_whatever_it_says(header, claims, kind, victim):
    genuine = victim.answer[kind]
    forged = forge(
        {**header_of(genuine), **header}, {**claims_of(genuine), **claims}, key="another key" * 5
    )
    assert_refused_everywhere(forged)


@fuzz(0.1)
@given(header=values)
def test_an_arbitrary_header_is_refused_even_with_the_right_signature(header, victim):
    """Unless it says no more than what ours does: the algorithm."""
    forged = forge(header, claims_of(victim.access))
    accepted = decode(forged)
    if isinstance(header, dict) and header.get("alg") == "HS256":
        return
    assert accepted == []
    assert authenticate(forged) is None


@fuzz(0.1)
@given(header=header_changes)
def test_a_changed_header_is_refused_or_without_meaning(header, victim):
    forged = forge({**header_of(victim.access), **header}, claims_of(victim.access))
    accepted = authenticate(forged)
    assert accepted in (None, victim.sid)
    if "crit" in header or header.get("alg", "HS256") != "HS256" or "kid" in header:
        assert accepted is None
    # No other key was ever looked at.
    assert [token for token in decode(forged) if str(token.sid) != victim.sid] == []


@fuzz(0.1)
@given(payload=st.one_of(values, st.binary(max_size=60)))
def test_an_arbitrary_payload_is_refused_even_with_the_right_signature(payload, victim):
    assert_refused_everywhere(forge({"alg": "HS256", "typ": "JWT"}, payload))


@fuzz(0.04)
@given(claims=claim_changes, removed=removed_claims)
def test_changed_claims_of_an_access_token_name_this_login_or_are_refused(claims, removed, victim):
    genuine = claims_of(victim.access)
    payload = {name: value for name, value in {**genuine, **claims}.items() if name not in removed}
    forged = forge(header_of(victim.access), payload)
    accepted = authenticate(forged)
    assert identify(forged) == accepted or payload.get("token_type") == RefreshToken.token_type
    if accepted is None:
        return
    assert accepted == victim.sid
    assert payload["token_type"] == "access"
    assert uuid.UUID(payload["sid"]) == uuid.UUID(genuine["sid"])
    assert str(payload["user_id"]) == genuine["user_id"]
    assert isinstance(payload["jti"], str)
    assert float(payload["exp"]) > time.time() - 1
    assert int(payload.get("nbf", 0)) <= time.time() + 1


# A jti of another text is reuse, and ends the login as it should; so it is left alone here.
refresh_changes = claim_changes.map(
    lambda claims: {name: value for name, value in claims.items() if name != "jti"}
)


@fuzz(0.03)
@given(claims=refresh_changes, removed=removed_claims)
def test_changed_claims_of_a_refresh_token_name_this_login_or_are_refused(claims, removed, victim):
    genuine = claims_of(victim.refresh_token)
    payload = {name: value for name, value in {**genuine, **claims}.items() if name not in removed}
    forged = forge(header_of(victim.refresh_token), payload)
    accepted = [token for token in decode(forged) if isinstance(token, RefreshToken)]
    found = identify(forged)
    assert found in (None, victim.sid)
    if found is None or payload["token_type"] != RefreshToken.token_type:
        assert isinstance(rotate(forged), rotation.Refusal)
        return
    assert len(accepted) == 1
    assert payload["jti"] == genuine["jti"]
    assert str(payload["user_id"]) == genuine["user_id"]
    assert float(payload["exp"]) > time.time() - 1


@fuzz(0.03)
@given(claims=claim_changes, check=st.sampled_from(["snapshot", "none"]))
def test_a_user_id_of_any_kind_is_a_user_or_a_401_where_no_row_is_asked(claims, check, victim):
    """Without the database's verdict the lazy user meets the claim itself."""
    forged = forge(header_of(victim.access), {**claims_of(victim.access), **claims})
    request = Request(factory.get("/"))
    request._request.META["HTTP_AUTHORIZATION"] = f"Bearer {forged}"
    # The snapshot's thread is not what this is about.
    snapshot.snapshot.has_ended = lambda sid: False
    try:
        with override_settings(AUTHMODES_ACCESS_TOKEN_CHECK=check):
            user, _auth = AuthModesAuthentication().authenticate(request)
            name, pk = user.get_username(), user.pk
    except AuthenticationFailed:
        return
    finally:
        del snapshot.snapshot.has_ended
    assert (name, pk) == ("alice", victim.row.user_id)
