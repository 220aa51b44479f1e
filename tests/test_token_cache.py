"""Access tokens that a process has verified: what it remembers of them, and what it never accepts.

Each forgery is read before and after the genuine token, with the cache and without it.
"""

import copy
import hashlib
import json
import threading
import uuid
from datetime import timedelta

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings as django_settings
from django.test.utils import override_settings
from rest_framework_simplejwt.exceptions import ExpiredTokenError, TokenBackendError, TokenError

from authmodes import registry
from authmodes.machines.tokens import MachineToken
from authmodes.tokens import keys, verified
from authmodes.tokens.jwt import AccessToken, RefreshToken, read_any, read_token

from .support.logins import refresh
from .support.tokens import base64url, claims_of, forge, header_of

STRANGER = "a-different-secret-of-the-same-length-0123456789-abcdefgh"


@pytest.fixture(autouse=True)
def _nothing_known():
    verified._known.clear()
    yield
    verified._known.clear()


@pytest.fixture(params=[1024, 0], ids=["cached", "uncached"])
def genuine(request, settings, login):
    settings.AUTHMODES_TOKEN_CACHE_SIZE = request.param
    return login("jwt").access


def of(raw_token, **changes):
    """The token with other claims, signed with the right key."""
    return forge(header_of(raw_token), {**claims_of(raw_token), **changes})


def headed(**changes):
    def make(raw_token):
        header = {**header_of(raw_token), **changes}
        return forge(header, claims_of(raw_token))

    return make


def unsigned(alg, signature=""):
    def make(raw_token):
        header = base64url({**header_of(raw_token), "alg": alg})
        kept = raw_token.rpartition(".")[2]
        return f"{header}.{raw_token.split('.')[1]}.{kept if signature == 'kept' else signature}"

    return make


def part(position, change):
    def make(raw_token):
        parts = raw_token.split(".")
        parts[position] = change(parts[position])
        return ".".join(parts)

    return make


def flipped(text):
    return text[:9] + ("A" if text[9] != "A" else "B") + text[10:]


def other_last_bits(text):
    """The same bytes to a decoder that ignores the bits which are left over."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert len(text) % 4
    return text[:-1] + alphabet[alphabet.index(text[-1]) + 1]


def as_json(raw_token):
    header, payload, signature = raw_token.split(".")
    return json.dumps({"protected": header, "payload": payload, "signature": signature})


def as_general_json(raw_token):
    header, payload, signature = raw_token.split(".")
    signatures = [{"protected": header, "signature": signature}]
    return json.dumps({"payload": payload, "signatures": signatures})


def by_its_own_key(raw_token):
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = json.loads(pyjwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    return pyjwt.encode(claims_of(raw_token), key, "ES256", headers={"typ": "at+jwt", "jwk": jwk})


def payload_of_a_stranger(raw_token):
    theirs = of(raw_token, sid=str(uuid.uuid4()))
    return ".".join([*theirs.split(".")[:2], raw_token.split(".")[2]])


FORGERIES = {
    **{f"alg {alg!r}": unsigned(alg) for alg in ("none", "None", "NONE", "", None, 0)},
    **{f"alg {alg!r}, signed": unsigned(alg, "kept") for alg in ("none", "HS512", "ES256")},
    "no alg": lambda raw: forge({"typ": "at+jwt"}, claims_of(raw)),
    "other key": lambda raw: forge(header_of(raw), claims_of(raw), STRANGER),
    "empty key": lambda raw: forge(header_of(raw), claims_of(raw), ""),
    "other hash": headed(alg="HS384"),
    "own key": by_its_own_key,
    "jku": lambda raw: forge(
        {**header_of(raw), "jku": "https://evil.example/jwks"}, claims_of(raw), STRANGER
    ),
    "kid": headed(kid="unknown"),
    "kid of no text": headed(kid=5),
    "typ": headed(typ="JWT"),
    "no typ": headed(typ=None),
    "crit": headed(crit=["exp"]),
    "crit of b64": headed(crit=["b64"], b64=False),
    "b64": headed(b64=False),
    "header of no object": lambda raw: forge([], claims_of(raw)),
    "payload of no object": lambda raw: forge(header_of(raw), [claims_of(raw)]),
    "payload of no JSON": lambda raw: forge(header_of(raw), b"{"),
    "nested payload": lambda raw: forge(header_of(raw), b"[" * 12000),
    "payload of a stranger": payload_of_a_stranger,
    "flipped header": part(0, flipped),
    "flipped payload": part(1, flipped),
    "flipped signature": part(2, flipped),
    "signature cut": part(2, lambda text: text[:-4]),
    "signature longer": part(2, lambda text: text + "AAAA"),
    "no signature": part(2, lambda text: ""),
    "no payload": part(1, lambda text: ""),
    "no header": part(0, lambda text: ""),
    "other last bits": part(2, other_last_bits),
    "padded": lambda raw: raw + "=",
    "base64 of the other alphabet": part(2, lambda text: text + "+"),
    "trailing newline": lambda raw: raw + "\n",
    "trailing NUL": lambda raw: raw + "\x00",
    "leading space": lambda raw: " " + raw,
    "fourth part": lambda raw: raw + ".AAAA",
    "two parts": lambda raw: raw.rpartition(".")[0],
    "no ASCII": lambda raw: raw + "\u0660",
    "half of a pair": lambda raw: raw + "\ud800",
    "JSON": as_json,
    "general JSON": as_general_json,
    "too long": lambda raw: of(raw, more="x" * keys.MAX_LENGTH),
    "no sid": lambda raw: of(raw, sid=None),
    "other type": lambda raw: of(raw, token_type="refresh"),
    "exp of no number": lambda raw: of(raw, exp="never"),
    "exp of infinity": lambda raw: of(raw, exp=float("inf")),
    "nbf": lambda raw: of(raw, nbf=2**40),
    "jti of no text": lambda raw: of(raw, jti=5),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forgery_is_refused_before_and_after_the_genuine_token(forgery, genuine):
    forged = FORGERIES[forgery](genuine)
    for _ in range(2):
        assert read_any(forged, AccessToken, MachineToken) is None
        assert read_token(AccessToken, genuine).payload == claims_of(genuine)
    assert read_any(forged, AccessToken) is None


def test_the_forger_of_these_tests_can_write(genuine):
    assert read_token(AccessToken, of(genuine)).payload == claims_of(genuine)
    assert read_token(AccessToken, headed()(genuine)).payload == claims_of(genuine)


# -- what is checked each time ---------------------------------------------------------------


def test_times_are_checked_although_the_token_is_known(clock, genuine):
    now = claims_of(genuine)["iat"]
    raw_token = of(genuine, exp=now + 100, nbf=now)
    read_token(AccessToken, raw_token)
    clock.shift(timedelta(seconds=-1))
    with pytest.raises(TokenError):
        read_token(AccessToken, raw_token)
    clock.shift(timedelta(seconds=100))
    assert read_token(AccessToken, raw_token)["nbf"] == now
    clock.shift(timedelta(seconds=1))
    with pytest.raises(ExpiredTokenError):
        read_token(AccessToken, raw_token)


def test_a_login_that_has_ended_is_refused_although_the_token_is_known(login):
    used = login("jwt")
    assert [used.get().status_code, used.get().status_code] == [200, 200]
    registry.revoke(used.row)
    assert used.get().status_code == 401


@pytest.mark.parametrize(
    "changed",
    [
        {"SECRET_KEY": STRANGER},
        {"AUTHMODES_SIGNING_KEYS": [{"kid": "1", "algorithm": "HS256", "secret": STRANGER}]},
        {"SIMPLE_JWT": {"ISSUER": "https://a.example"}},
        {"SIMPLE_JWT": {"AUDIENCE": "https://a.example"}},
        {"SIMPLE_JWT": {"USER_ID_CLAIM": "uid"}},
    ],
)
def test_a_known_token_counts_under_its_own_settings_only(changed, genuine):
    assert read_any(genuine, AccessToken) is not None
    with override_settings(**changed):
        assert read_any(genuine, AccessToken) is None
    assert read_any(genuine, AccessToken) is not None


def test_a_known_token_counts_for_its_own_ring_issuer_and_audience_only(genuine):
    """Not only because a changed setting empties the cache."""
    read_token(AccessToken, genuine)
    known, secret = keys.backend(keys.ACCESS), django_settings.SECRET_KEY
    for ring, typ, audience, issuer in (
        (STRANGER, keys.ACCESS, None, None),
        (secret, keys.ACCESS, "https://a.example", None),
        (secret, keys.ACCESS, None, "https://a.example"),
    ):
        entry = keys.KeySettings(None, "HS256", ring, ring)
        other = keys._backend((entry,), typ, (), audience, issuer, None, None)
        with pytest.raises(TokenBackendError):
            other.decode(genuine)
    assert known.decode(genuine) == claims_of(genuine)


@pytest.mark.parametrize("leeway", [-1, 0, 5])
@pytest.mark.parametrize(
    "times", [{"exp": 10}, {"exp": 9.5}, {"exp": 10, "nbf": 2}, {"exp": 10, "nbf": 2.5}]
)
def test_a_known_token_counts_exactly_as_long_as_a_new_one(times, leeway, genuine, settings, clock):
    settings.SIMPLE_JWT = {"LEEWAY": leeway}
    begun = claims_of(genuine)["iat"]
    raw_token = of(genuine, **{name: begun + offset for name, offset in times.items()})
    clock.move_to(begun + 5)
    for seconds in (5, 2, 1.9, -3.1, 9, 9.4, 9.6, 10, 14.9, 15):
        clock.move_to(begun + 5)
        read_token(AccessToken, raw_token)
        clock.move_to(begun + seconds)
        known = read_any(raw_token, AccessToken)
        verified._known.clear()
        assert (known is None) == (read_any(raw_token, AccessToken) is None), seconds


def test_a_known_token_is_of_its_own_kind_only(genuine):
    read_token(AccessToken, genuine)
    assert read_any(genuine, MachineToken) is None
    with pytest.raises(TokenError):
        read_token(RefreshToken, genuine)


def test_a_known_token_is_as_a_new_one(genuine):
    new, known = [vars(read_token(AccessToken, genuine)) for _ in range(2)]
    assert {**known, "current_time": None} == {**new, "current_time": None}
    assert known["current_time"] >= new["current_time"]


# -- what is remembered ----------------------------------------------------------------------


def test_the_signature_is_verified_once(genuine, monkeypatch):
    calls, has_signed = [], keys.Key.has_signed
    monkeypatch.setattr(
        keys.Key, "has_signed", lambda *args: calls.append(args) or has_signed(*args)
    )
    for _ in range(3):
        read_token(AccessToken, genuine)
    assert len(calls) == (1 if django_settings.AUTHMODES_TOKEN_CACHE_SIZE else 3)
    assert len(verified._known) == (1 if django_settings.AUTHMODES_TOKEN_CACHE_SIZE else 0)


def test_a_caller_changes_no_claims_but_its_own(genuine):
    untouched = copy.deepcopy(read_token(AccessToken, genuine).payload)
    for _ in range(2):
        token = read_token(AccessToken, genuine)
        assert token.payload == untouched
        token["sid"] = "changed"
        token["amr"].append("changed")


def test_only_a_digest_of_the_text_is_kept(genuine):
    read_token(AccessToken, genuine)
    _header, _payload, signature = genuine.split(".")
    for (_backend, digest), known in verified._known.items():
        assert digest == hashlib.sha256(genuine.encode()).hexdigest()
        assert signature not in repr(known)


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_token_that_is_refused_is_not_kept(forgery, login):
    assert read_any(FORGERIES[forgery](login("jwt").access), AccessToken, MachineToken) is None
    assert not verified._known


def test_a_refresh_token_is_not_kept(login):
    used = login("jwt")
    assert isinstance(read_token(RefreshToken, used.refresh_token), RefreshToken)
    assert refresh(used.refresh_token).status_code == 200
    assert not verified._known


def test_the_cache_is_as_large_as_the_setting_says(settings, login):
    settings.AUTHMODES_TOKEN_CACHE_SIZE = 3
    access = login("jwt").access
    tokens = [of(access, jti=str(number)) for number in range(5)]
    for raw_token in tokens:
        assert read_token(AccessToken, raw_token).payload == claims_of(raw_token)
    kept = [json.loads(known.payload)["jti"] for known in verified._known.values()]
    assert kept == ["2", "3", "4"]


def test_threads_share_a_cache_that_stays_small(settings, login):
    settings.AUTHMODES_TOKEN_CACHE_SIZE = 2
    access, wrong = login("jwt").access, []
    tokens = [of(access, jti=str(number)) for number in range(6)]

    def read_all():
        try:
            for raw_token in tokens * 30:
                if read_token(AccessToken, raw_token).payload != claims_of(raw_token):
                    wrong.append(raw_token)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=read_all) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(verified._known) <= 2 + len(threads)
    read_all()
    assert len(verified._known) <= 2


# -- beside PyJWT ----------------------------------------------------------------------------

NOW = 1_900_000_000
CLAIMS = [
    {},
    *({"exp": value} for value in (NOW + 1, NOW, NOW - 1, str(NOW + 9), NOW + 0.5, None, [], True)),
    *({"nbf": value} for value in (NOW, NOW + 1, NOW + 0.5, str(NOW), "x", None, {})),
    *({"iat": value} for value in (NOW, NOW + 99, "x", None)),
    *({"sub": value} for value in ("a", 5, None)),
    *({"jti": value} for value in ("a", 5, None)),
    *({"aud": value} for value in ("a", "b", ["a", "b"], ["b"], [], ["a", 5], 5, None, {"a": 1})),
    *({"iss": value} for value in ("i", "j", "ij", ["i"], 5, None)),
]


@pytest.mark.parametrize(("audience", "issuer"), [(None, None), ("a", "i"), (("a", "c"), None)])
@pytest.mark.parametrize("leeway", [0, 5])
def test_claims_are_accepted_as_pyjwt_accepts_them(audience, issuer, leeway, clock):
    """Fails if the undocumented method of PyJWT's moves."""
    clock.move_to(NOW)
    secret = STRANGER
    entry = keys.KeySettings(None, "HS256", secret, secret)
    backend = keys._backend((entry,), keys.ACCESS, (), audience, issuer, leeway, None)
    outcomes = set()
    for claims in CLAIMS:
        claims = {"exp": NOW + 9, **({"aud": "a", "iss": "i"} if issuer else {}), **claims}
        raw_token = forge({"alg": "HS256", "typ": "at+jwt"}, claims, secret)
        try:
            theirs = pyjwt.decode(
                raw_token,
                secret,
                ["HS256"],
                audience=audience,
                issuer=issuer,
                leeway=leeway,
                options={"verify_iat": False, "verify_aud": audience is not None},
            )
        except pyjwt.PyJWTError:
            theirs = None
        for _ in range(2):
            try:
                ours = backend.decode(raw_token)
            except TokenBackendError:
                ours = None
            assert ours == theirs, claims
        outcomes.add(theirs is None)
    assert outcomes == {True, False}


def test_unverified_claims_are_read_as_simplejwt_reads_them(login):
    raw_token = login("jwt").access
    expired = of(raw_token, exp=1)[:-4] + "AAAA"
    assert keys.backend(keys.ACCESS).decode(expired, verify=False)["exp"] == 1
    with pytest.raises(TokenBackendError):
        keys.backend(keys.ACCESS).decode(expired)


@pytest.mark.parametrize("claims", [{"exp": 1}, {"nbf": 9_999_999_999}, {"iss": "x"}, {"aud": "x"}])
def test_a_pyjwt_without_its_private_method_checks_the_same(claims, genuine, settings, monkeypatch):
    class Public:
        def __init__(self, options):
            rules = pyjwt.api_jwt.PyJWT(options)
            self.options, self.decode = rules.options, rules.decode

    monkeypatch.setattr(pyjwt, "PyJWT", Public)
    # Not shared with other tests.
    monkeypatch.setattr(keys, "_backend", keys._backend.__wrapped__)
    named = {"ISSUER": "https://issuer.example", "AUDIENCE": "api"}
    settings.SIMPLE_JWT = named
    accepted = of(genuine, iss=named["ISSUER"], aud=named["AUDIENCE"])
    for _attempt in range(2):
        assert read_token(AccessToken, accepted).payload["sid"] == claims_of(genuine)["sid"]
        with pytest.raises(TokenError):
            read_token(AccessToken, of(accepted, **claims))
    keys.backend.cache_clear()
