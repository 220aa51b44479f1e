"""What is in a token, and that nothing but a token of ours is accepted for one."""

import hashlib
import json
import time
import uuid
from datetime import timedelta

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core import signing
from django.test.utils import override_settings
from rest_framework_simplejwt import tokens as simplejwt

from authmodes.models import LoginSession
from authmodes.tokens.jwt import AccessToken, RefreshToken, mint, read_token

from .support.logins import PASSWORD, call_with, post_json, refresh
from .support.tokens import base64url, claims_of, forge, header_of

OTHER_ISSUERS = ["https://b.example", "", None, "https://a.example/"]
OTHER_KEY = "another-key-of-the-same-length-0123456789-abcdefghijklmnop"


def assert_refused(raw_token):
    """At every endpoint that accepts a token, and with a 401."""
    for response in (
        call_with(raw_token),
        refresh(raw_token),
        post_json("/auth/token/verify/", {"token": raw_token}),
        post_json("/auth/token/blacklist/", {"refresh": raw_token}),
    ):
        assert response.status_code == 401, response.content
    post_json("/auth/logout/", {"refresh": raw_token})
    assert not LoginSession.objects.ended().exists()


@pytest.fixture(params=["access", "refresh"])
def genuine(request, login):
    """Header and payload of a token of ours, of either kind."""
    raw_token = login("jwt").answer[request.param]
    return header_of(raw_token), claims_of(raw_token)


def test_the_forger_of_these_tests_can_write(login):
    used = login("jwt")
    assert call_with(forge(header_of(used.access), claims_of(used.access))).status_code == 200


# -- the signature -------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["none", "noNE", "", None])
@pytest.mark.parametrize("signature", ["", "kept"])
def test_an_unsigned_token_is_refused(genuine, alg, signature):
    header, payload = genuine
    raw_token = forge({**header, "alg": alg}, payload)
    if signature != "kept":
        raw_token = raw_token.rpartition(".")[0] + "." + signature
    assert_refused(raw_token)


def test_a_token_without_any_alg_is_refused(genuine):
    _, payload = genuine
    assert_refused(forge({"typ": "at+jwt"}, payload))


@pytest.mark.parametrize("key", [OTHER_KEY, ""])
def test_another_key_is_refused(genuine, key):
    assert_refused(forge(*genuine, key=key))


@pytest.mark.parametrize(
    ("alg", "digest"), [("HS384", hashlib.sha384), ("HS512", hashlib.sha512), ("HS1", hashlib.sha1)]
)
def test_another_algorithm_with_the_right_key_is_refused(genuine, alg, digest):
    header, payload = genuine
    assert_refused(forge({**header, "alg": alg}, payload, digest=digest))


@pytest.mark.parametrize("alg", ["RS256", "EdDSA", "hs256", ["HS256"]])
def test_an_algorithm_that_is_not_ours_is_refused(genuine, alg):
    header, payload = genuine
    assert_refused(forge({**header, "alg": alg}, payload))


def test_the_public_key_is_no_hmac_secret(alice):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    public = (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
    with override_settings(
        SIMPLE_JWT={"ALGORITHM": "RS256", "SIGNING_KEY": private, "VERIFYING_KEY": public}
    ):
        answer = post_json("/auth/token/", {"username": "alice", "password": PASSWORD}).json()
        assert call_with(answer["access"]).status_code == 200
        assert refresh(answer["refresh"]).status_code == 200
        payload = claims_of(answer["access"])
        for secret in (public, public.strip(), public.replace("\n", "")):
            assert_refused(forge({"alg": "HS256", "typ": "at+jwt"}, payload, key=secret))
        assert_refused(forge({"alg": "none"}, payload))


@pytest.mark.parametrize(
    "extra",
    [
        {"jku": "https://evil.example/jwks.json"},
        {"x5u": "https://evil.example/cert.pem"},
        {"jwk": {"kty": "oct", "k": base64url(OTHER_KEY.encode())}},
        {"x5c": ["AAAA"]},
    ],
)
def test_a_key_that_the_token_brings_along_is_ignored(genuine, extra, monkeypatch):
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError("an outbound connection")

    header, payload = genuine
    if "postgres" not in django_settings.DATABASES["default"]["ENGINE"]:
        monkeypatch.setattr(socket.socket, "connect", refuse)
    assert_refused(forge({**header, **extra}, payload, key=OTHER_KEY))


@pytest.mark.parametrize(
    "kid",
    ["../../../../dev/null", "unknown", "", ["a"]],
)
def test_a_kid_that_is_not_ours_is_refused_or_without_meaning(genuine, kid):
    header, payload = genuine
    assert_refused(forge({**header, "kid": kid}, payload, key=OTHER_KEY))


@pytest.mark.parametrize("crit", [["exp"], ["b64"], []])
def test_an_extension_that_insists_is_refused(genuine, crit):
    header, payload = genuine
    assert_refused(forge({**header, "crit": crit}, payload))


# -- the form ------------------------------------------------------------------------------


def _json_serialisation(raw_token):
    head, payload, signature = raw_token.split(".")
    return json.dumps({"protected": head, "payload": payload, "signature": signature})


def _other_last_bits(raw_token):
    """The same bytes in another spelling: base64 ignores the last bits (RFC 4648, 3.5)."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(raw_token[-1])
    assert last % 4 == 0
    return raw_token[:-1] + alphabet[last + 1]


MANGLED = {
    "truncated": lambda raw: raw[:-1],
    "with an empty signature": lambda raw: raw.rpartition(".")[0] + ".",
    "one part": lambda raw: raw.split(".")[1],
    "four parts": lambda raw: raw + ".AAAA",
    "nested": lambda raw: forge({"alg": "HS256", "cty": "JWT"}, raw),
    "JSON serialisation": _json_serialisation,
    "padded": lambda raw: raw + "=",
    "another spelling": _other_last_bits,
    "a character outside the alphabet": lambda raw: raw[:-5] + "!" + raw[-5:],
    "white space": lambda raw: raw[:20] + " " + raw[20:],
    "twice": lambda raw: f"{raw}, {raw}",
    "100 kB": lambda raw: raw + "A" * 100_000,
    "a payload that is no object": lambda raw: forge({"alg": "HS256"}, ["sid"]),
    "a payload that is no JSON": lambda raw: forge({"alg": "HS256"}, b"\xff\xfe"),
    "a header that is no object": lambda raw: forge(["HS256"], {}),
    "a deep payload": lambda raw: forge({"alg": "HS256"}, b"[" * 3000),
}


@pytest.mark.parametrize("how", MANGLED)
@pytest.mark.parametrize("kind", ["access", "refresh"])
def test_a_mangled_token_is_refused(how, kind, login):
    assert_refused(MANGLED[how](login("jwt").answer[kind]))


@pytest.mark.parametrize("character", ["\x00", "ä", "\ud800"])
@pytest.mark.parametrize("kind", ["access", "refresh"])
def test_a_token_with_a_character_that_no_header_can_carry_is_refused(kind, character, login):
    raw_token = login("jwt").answer[kind]
    raw_token = raw_token[:20] + character + raw_token[20:]
    for path, field in (("token/refresh", "refresh"), ("token/verify", "token")):
        response = post_json(f"/auth/{path}/", {field: raw_token})
        assert response.status_code in (400, 401)
    assert not LoginSession.objects.ended().exists()


# -- the claims ----------------------------------------------------------------------------


def test_kinds_are_not_interchangeable(login):
    used = login("jwt")
    assert call_with(used.refresh_token).status_code == 401
    assert refresh(used.access).status_code == 401
    assert post_json("/auth/token/blacklist/", {"refresh": used.access}).status_code == 401
    post_json("/auth/logout/", {"refresh": used.access})
    assert used.row.ended_at is None


@pytest.mark.parametrize("kind", ["id", "sliding", "Access", None])
def test_another_kind_of_token_is_refused(genuine, kind):
    header, payload = genuine
    assert_refused(forge(header, {**payload, "token_type": kind}))


@pytest.mark.parametrize("claim", ["sid", "exp", "jti", "user_id", "token_type"])
def test_a_token_that_lacks_a_claim_is_refused(genuine, claim):
    header, payload = genuine
    del payload[claim]
    assert_refused(forge(header, payload))


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("sid", None),
        ("sid", []),
        ("sid", "not-a-uuid"),
        ("user_id", None),
        ("user_id", "0"),
        ("user_id", "\x00"),
        ("exp", None),
        ("exp", "soon"),
        ("exp", 0),
        ("exp", 10**30),
        ("exp", float("nan")),
        ("jti", None),
        ("jti", 1),
        ("nbf", 10**10),
        ("nbf", "later"),
    ],
)
def test_a_claim_that_cannot_be_is_refused(genuine, claim, value):
    header, payload = genuine
    assert_refused(forge(header, {**payload, claim: value}))


def test_a_token_of_a_login_session_that_is_not_there_is_refused(login):
    used = login("jwt")
    for raw_token, use in ((used.access, call_with), (used.refresh_token, refresh)):
        payload = {**claims_of(raw_token), "sid": str(uuid.uuid4())}
        assert use(forge(header_of(raw_token), payload)).status_code == 401
    assert used.get().status_code == 200


def test_the_token_of_one_user_does_not_speak_for_another(login, bob):
    used = login("jwt")
    for raw_token in (used.access, used.refresh_token):
        payload = {**claims_of(raw_token), "user_id": str(bob.pk)}
        assert_refused(forge(header_of(raw_token), payload))


def test_the_sid_of_a_cookie_login_makes_no_refresh_token(login):
    """Even with the signing key: there is no token family to rotate."""
    cookie, token = login("session"), login("jwt")
    payload = {**claims_of(token.refresh_token), "sid": cookie.sid}
    assert refresh(forge({"alg": "HS256"}, payload)).status_code == 401
    assert cookie.get().status_code == 200


def test_an_expired_token_is_refused_to_the_second(login, clock):
    used = login("jwt")
    clock.shift(timedelta(minutes=5) - timedelta(seconds=1))
    assert used.get().status_code == 200
    clock.shift(timedelta(seconds=1))
    assert used.get().status_code == 401


def test_simplejwts_leeway_is_honoured(login, clock):
    used = login("jwt")
    with override_settings(SIMPLE_JWT={"LEEWAY": 10}):
        clock.shift(timedelta(minutes=5, seconds=5))
        assert used.get().status_code == 200
        clock.shift(timedelta(seconds=10))
        assert used.get().status_code == 401


@pytest.mark.parametrize(
    ("kind", "setting", "claim", "good", "bad"),
    [
        ("access", "ISSUER", "iss", "https://a.example", OTHER_ISSUERS),
        ("refresh", "ISSUER", "iss", "https://a.example", OTHER_ISSUERS),
        ("access", "AUDIENCE", "aud", "api", ["other", "", None, ["other"], "API"]),
    ],
)
def test_issuer_and_audience_are_issued_and_demanded(kind, setting, claim, good, bad, login):
    before = login("jwt").answer[kind]
    with override_settings(SIMPLE_JWT={setting: good}):
        used = login("jwt")
        raw_token = used.answer[kind]
        payload = claims_of(raw_token)
        assert payload[claim] == good
        assert used.get().status_code == 200
        for value in bad:
            assert_refused(forge(header_of(raw_token), {**payload, claim: value}))
        without = {name: payload[name] for name in payload if name != claim}
        assert_refused(forge(header_of(raw_token), without))
        assert_refused(before)
        assert used.refresh().status_code == 200


@pytest.mark.parametrize(
    ("simple_jwt", "audience"),
    [
        ({}, "authmodes/token"),
        ({"AUDIENCE": "api"}, "authmodes/token"),
        ({"ISSUER": "https://a.example"}, "https://a.example/token"),
        ({"ISSUER": "https://a.example/", "AUDIENCE": "api"}, "https://a.example/token"),
    ],
)
def test_a_refresh_token_has_an_audience_that_no_other_service_has(simple_jwt, audience, login):
    """By a key or a secret that several services share, they would accept it for 30 days."""
    with override_settings(SIMPLE_JWT=simple_jwt):
        used = login("jwt")
        header, payload = header_of(used.refresh_token), claims_of(used.refresh_token)
        assert payload["aud"] == audience
        for value in ("api", "", None, [], f"{audience}/"):
            assert_refused(forge(header, {**payload, "aud": value}))
        assert_refused(forge(header, {k: v for k, v in payload.items() if k != "aud"}))
        assert used.refresh().status_code == 200


def test_an_access_token_made_of_a_refresh_token_does_not_have_its_audience(login):
    used = login("jwt")
    made = RefreshToken(used.refresh_token).access_token
    assert "aud" not in claims_of(str(made))
    assert call_with(str(made)).status_code == 200


@pytest.mark.parametrize("typ", [None, "", "JWT", "at", "logout+jwt", ["at+jwt"]])
def test_an_access_token_of_a_different_typ_is_refused(typ, login):
    """RFC 9068, 4: what was signed with the same key for a different use is none."""
    used = login("jwt")
    header = {**header_of(used.access), "typ": typ}
    assert_refused(forge(header, claims_of(used.access)))
    del header["typ"]
    assert_refused(forge(header, claims_of(used.access)))


def test_what_django_signs_with_the_same_key_is_no_token(login):
    used = login("jwt")
    for value in (
        signing.dumps(claims_of(used.access)),
        signing.Signer().sign(used.access),
        signing.TimestampSigner().sign_object(claims_of(used.access)),
    ):
        assert_refused(value)


def test_a_token_that_simplejwt_makes_without_us_is_refused(alice):
    """It has no login session, so it could not be revoked."""
    made = simplejwt.RefreshToken.for_user(alice)
    assert_refused(str(made))
    assert_refused(str(made.access_token))
    assert_refused(str(simplejwt.SlidingToken.for_user(alice)))


# -- what a token says ---------------------------------------------------------------------


def test_an_access_token_says_no_more_than_it_must(login, clock):
    used = login("jwt")
    row = used.row
    now = int(time.time())
    payload = claims_of(used.access)
    assert payload.pop("jti")
    assert payload == {
        "token_type": "access",
        "user_id": str(row.user.pk),
        "sub": str(row.user.pk),
        "sid": used.sid,
        "auth_time": now,
        "iat": now,
        "exp": now + 300,
        "amr": ["pwd"],
    }
    assert header_of(used.access) == {"alg": "HS256", "typ": "at+jwt"}


def test_a_refresh_token_says_no_more_than_it_must(login, clock):
    used = login("jwt")
    payload = claims_of(used.refresh_token)
    assert set(payload) == {"token_type", "user_id", "sid", "auth_time", "iat", "exp", "jti", "aud"}
    assert payload["token_type"] == "authmodes_refresh"
    assert header_of(used.refresh_token) == {"alg": "HS256", "typ": "JWT"}


@pytest.mark.parametrize("kind", ["access", "refresh"])
def test_no_token_carries_personal_data_or_a_hash_of_the_password(kind, login, alice):
    payload = login("jwt").answer[kind]
    text = json.dumps(claims_of(payload)).lower()
    password = get_user_model().objects.get(pk=alice.pk).password
    for secret in (
        "alice",
        "example.com",
        "hash",
        password.lower(),
        hashlib.md5(password.encode()).hexdigest(),
    ):
        assert secret not in text


def test_not_even_where_simplejwt_is_told_to_check_its_password_hash(login):
    with override_settings(SIMPLE_JWT={"CHECK_REVOKE_TOKEN": True}):
        used = login("jwt")
        assert "hash_password" not in claims_of(used.access)
        assert used.get().status_code == 200
        assert used.refresh().status_code == 200


def extra_claims(user, login_session):
    return {
        "name": user.get_username(),
        "client": login_session.mode,
        # None of these is the project's to say.
        "sid": "mine",
        "user_id": "0",
        "sub": "0",
        "exp": 1,
        "iat": 1,
        "jti": "mine",
        "token_type": "refresh",
        "amr": ["hwk"],
        "auth_time": 1,
    }


def test_a_project_adds_claims_to_the_access_token_and_replaces_none(login):
    with override_settings(AUTHMODES_CLAIMS="tests.test_tokens.extra_claims"):
        used = login("jwt")
        payload = claims_of(used.access)
        assert (payload["name"], payload["client"]) == ("alice", "jwt")
        assert (payload["sid"], payload["amr"]) == (used.sid, ["pwd"])
        assert payload["jti"] != "mine"
        assert payload["sub"] == str(used.row.user_id)
        assert used.get().status_code == 200
        assert "name" not in claims_of(used.refresh_token)
        assert used.refresh().status_code == 200
        assert claims_of(used.access)["name"] == "alice"


def test_simplejwts_claim_settings_are_honoured(alice):
    with override_settings(SIMPLE_JWT={"USER_ID_CLAIM": "sub", "USER_ID_FIELD": "username"}):
        answer = post_json("/auth/token/", {"username": "alice", "password": PASSWORD}).json()
        assert claims_of(answer["access"])["sub"] == "alice"
        assert call_with(answer["access"]).status_code == 200
        assert refresh(answer["refresh"]).status_code == 200


# -- keys ----------------------------------------------------------------------------------


def test_a_rotated_secret_key_ends_no_login_while_the_old_one_is_a_fallback(mode, login):
    old = django_settings.SECRET_KEY
    used = login(mode)
    with override_settings(SECRET_KEY=OTHER_KEY, SECRET_KEY_FALLBACKS=[old]):
        assert used.get().status_code == 200
    assert used.row.ended_at is None


def test_a_rotated_secret_key_without_a_fallback_refuses_all(mode, login):
    used = login(mode)
    with override_settings(SECRET_KEY=OTHER_KEY):
        assert used.get().status_code == 401


def test_a_secret_key_that_a_host_does_not_know_refuses_a_token_and_ends_no_login(login, alice):
    """SECRET_KEY is rotated host by host, and tokens have keys of their own."""
    ring = [{"kid": "k1", "algorithm": "HS256", "secret": "s" * 64}]
    with override_settings(AUTHMODES_SIGNING_KEYS=ring):
        used = login("jwt")
        with override_settings(SECRET_KEY=OTHER_KEY):
            assert used.get().status_code == 401
            assert refresh(used.refresh_token).status_code == 401
            for raw_token in (used.access, used.refresh_token):
                body = {"token": raw_token}
                assert post_json("/auth/token/verify/", body).status_code == 401
            # Whatever is saved there, unless it is a password.
            alice.first_name = "Alice"
            alice.save()
        assert used.row.ended_at is None
        assert used.get().status_code == 200
        assert used.refresh().status_code == 200


def test_a_new_password_in_a_bulk_update_refuses_a_token(login, alice):
    """Nothing tells of the update, and its hash looks as one of a different SECRET_KEY."""
    used = login("jwt")
    get_user_model().objects.filter(pk=alice.pk).update(password="another one")
    assert used.get().status_code == 401
    assert refresh(used.refresh_token).status_code == 401
    assert used.row.ended_at is None


def test_a_cookie_seen_under_the_fallback_survives_its_removal(login):
    """Django's own behaviour, which the row has to follow."""
    old = django_settings.SECRET_KEY
    used = login("session")
    with override_settings(SECRET_KEY=OTHER_KEY, SECRET_KEY_FALLBACKS=[old]):
        assert used.get().status_code == 200
    with override_settings(SECRET_KEY=OTHER_KEY):
        assert used.get().status_code == 200
    assert used.row.ended_at is None


def test_a_token_refreshed_under_the_fallback_survives_its_removal(login):
    old = django_settings.SECRET_KEY
    used = login("jwt")
    with override_settings(SECRET_KEY=OTHER_KEY, SECRET_KEY_FALLBACKS=[old]):
        assert used.refresh().status_code == 200
        assert pyjwt.decode(used.access, OTHER_KEY, ["HS256"])["sid"] == used.sid
        assert used.get().status_code == 200
    with override_settings(SECRET_KEY=OTHER_KEY):
        assert used.get().status_code == 200
        assert used.refresh().status_code == 200


def test_simplejwts_own_signing_key_is_used(login):
    with override_settings(SIMPLE_JWT={"SIGNING_KEY": OTHER_KEY}):
        used = login("jwt")
        assert pyjwt.decode(used.access, OTHER_KEY, ["HS256"])["sid"] == used.sid
        assert used.get().status_code == 200
    assert used.get().status_code == 401


def test_neither_a_token_nor_a_pair_shows_itself_in_a_log(login):
    used = login("jwt")
    row = LoginSession.objects.select_related("user", "refresh_token").get(sid=used.sid)
    pair = mint(row)
    for raw_token in (pair.access, pair.refresh):
        assert raw_token not in repr(pair)
    token = read_token(AccessToken, used.access)
    assert "user_id" not in repr(token)
    assert used.row.current_jti not in repr(read_token(RefreshToken, pair.refresh))


@pytest.mark.parametrize("value", [None, b"x", 1, ["x"], {}, ""])
def test_reading_what_is_no_text_makes_no_token(value, db):
    """simplejwt takes None for "make me a new one"."""
    with pytest.raises(simplejwt.TokenError):
        read_token(RefreshToken, value)


def client_of_services(user, login_session):
    return {"client_id": "web"}


def test_the_documented_settings_make_access_tokens_of_rfc_9068(login):
    with override_settings(
        SIMPLE_JWT={
            "ISSUER": "https://app.example.com",
            "AUDIENCE": "https://api.example.com",
        },
        AUTHMODES_CLAIMS=f"{__name__}.client_of_services",
    ):
        used = login("jwt")
        claims = claims_of(used.access)
        assert used.get().status_code == 200
    required = {"iss", "exp", "aud", "sub", "client_id", "iat", "jti"}
    assert required | {"auth_time", "amr"} <= set(claims)
    assert claims["client_id"] == "web"
