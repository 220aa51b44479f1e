"""Encrypted access tokens: what they hide, what is refused, and switching them on and off."""

import base64
import json
import secrets
import sys
from pathlib import Path

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import Client
from django.test.utils import override_settings
from joserfc import jwe
from joserfc.jwk import OctKey, RSAKey
from rest_framework_simplejwt.exceptions import TokenBackendError

from authmodes import registry
from authmodes.authentication import authenticate_token
from authmodes.checks import installation
from authmodes.checks import tokens as token_checks
from authmodes.machines import clients
from authmodes.management.commands.make_signing_key import make_key
from authmodes.tokens import keys
from authmodes.tokens.encryption import EncryptionKey
from authmodes.tokens.jwt import AccessToken, read_token

from .support.browser import Browser
from .support.logins import API, call_with, post_json, sign_in
from .support.tokens import base64url, claims_of, forge, header_of

FIRST = {"kid": "e1", "key": base64url(b"1" * 32)}
SECOND = {"kid": "e2", "key": base64url(b"2" * 32)}
HEADER = {"alg": "A256KW", "enc": "A256GCM", "cty": "JWT", "kid": "e1"}
DOCUMENTED = Path(__file__).parent.parent / "docs" / "settings.md"


def private_claims(user, login_session):
    return {"salary": 4711}


@pytest.fixture(autouse=True)
def encrypted(settings):
    settings.AUTHMODES_ENCRYPTION_KEYS = [FIRST]
    settings.AUTHMODES_CLAIMS = private_claims


def key_of(entry):
    return OctKey.import_key(base64.urlsafe_b64decode(entry["key"] + "="))


def seal(plaintext, header=HEADER, key=None, algorithms=("A256KW", "A256GCM", "DEF")):
    """Encrypt with our key unless told otherwise, so that only one thing is wrong."""
    return jwe.encrypt_compact(header, plaintext, key or key_of(FIRST), list(algorithms))


def open_up(raw_token, entry=FIRST):
    """The signed token in an encrypted one."""
    found = jwe.decrypt_compact(raw_token, key_of(entry), ["A256KW", "A256GCM"])
    return found.plaintext.decode()


def assert_refused(raw_token):
    answer = call_with(raw_token)
    assert (answer.status_code, answer.json()["code"]) == (401, "token_not_valid")
    assert post_json("/auth/token/verify/", {"token": raw_token}).status_code == 401
    with pytest.raises(TokenBackendError):
        keys.backend(keys.ACCESS).decode(raw_token)


# -- what a client gets --------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["jwt", "both"])
@pytest.mark.parametrize("cache_size", [1024, 0])
def test_an_encrypted_token_opens_the_api_and_hides_its_claims(
    login, settings, setting, cache_size
):
    settings.AUTHMODES_MODE, settings.AUTHMODES_TOKEN_CACHE_SIZE = setting, cache_size
    used = login("jwt")
    assert header_of(used.access) == HEADER
    assert len(used.access.split(".")) == 5
    assert claims_of(open_up(used.access))["salary"] == 4711
    assert header_of(open_up(used.access))["typ"] == "at+jwt"
    assert [used.get().status_code, used.get().status_code] == [200, 200]
    first = used.access
    assert used.refresh().status_code == 200
    assert header_of(used.access) == HEADER
    assert used.access != first
    assert used.get().status_code == 200
    assert used.logout().status_code < 300
    assert used.get().json()["code"] == "login_session_ended"


@pytest.mark.parametrize("setting", ["jwt", "both"])
def test_an_encrypted_token_travels_in_a_cookie(alice, settings, setting):
    settings.AUTHMODES_MODE, settings.AUTHMODES_TOKEN_TRANSPORT = setting, "cookie"
    browser = Browser()
    sign_in("jwt", browser)
    cookie = browser.cookies["__Host-authmodes_access"]
    assert header_of(cookie.value) == HEADER
    assert browser.get(API).status_code == 200
    assert browser.send_json("/auth/token/refresh/").status_code == 200
    assert browser.get(API).status_code == 200
    browser.cookies["__Host-authmodes_access"] = open_up(cookie.value)
    assert browser.get(API).status_code == 401


def test_a_cookie_is_measured_after_encryption(alice, settings):
    # What fits into a cookie is too long for it when it is encrypted.
    settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"
    settings.AUTHMODES_CLAIMS = lambda user, login_session: {"long": "x" * 2400}
    assert sign_in("jwt").json()["code"] == "token_too_large"
    settings.AUTHMODES_ENCRYPTION_KEYS = None
    assert sign_in("jwt").status_code == 200


def test_a_refresh_token_stays_signed_only(login):
    used = login("jwt")
    assert set(header_of(used.refresh_token)) == {"alg", "typ"}
    assert "salary" not in claims_of(used.refresh_token)
    assert_refused(seal(used.refresh_token))


def test_every_endpoint_reads_an_encrypted_token(login, admin_user):
    used = login("jwt")
    _user, auth = authenticate_token(used.access)
    assert auth.claims["salary"] == 4711
    assert post_json("/auth/token/verify/", {"token": used.access}).status_code == 200
    staff = login("jwt", admin_user)
    answer = staff.post("/auth/token/introspect/", {"token": used.access}).json()
    assert (answer["active"], answer["sid"]) == (True, used.sid)
    grant = {"grant_type": "refresh_token", "refresh_token": used.refresh_token}
    granted = Client().post("/auth/token/", {**grant, "client_id": "app"})
    assert granted.status_code == 200
    assert header_of(granted.json()["access_token"]) == HEADER
    post_json("/auth/token/revoke/", {"token": granted.json()["access_token"]})
    ended = call_with(granted.json()["access_token"])
    assert ended.json()["code"] == "login_session_ended"


def test_the_token_of_a_machine_client_is_encrypted_too(db):
    client, secret = clients.create("backup", scopes="read")
    form = {"grant_type": "client_credentials", "client_id": client.client_id}
    answer = Client().post("/auth/token/", {**form, "client_secret": secret})
    raw_token = answer.json()["access_token"]
    assert header_of(raw_token) == HEADER
    assert post_json("/auth/token/verify/", {"token": raw_token}).status_code == 200
    assert claims_of(open_up(raw_token))["scope"] == "read"
    assert_refused(seal(forge({"alg": "HS256", "typ": "JWT"}, claims_of(open_up(raw_token)))))


def test_an_ended_login_is_refused_although_its_token_is_known(login):
    used = login("jwt")
    assert used.get().status_code == 200
    registry.revoke(used.row)
    assert used.get().status_code == 401


# -- what is refused -----------------------------------------------------------------------


@pytest.mark.parametrize("part", range(5), ids=["header", "key", "iv", "ciphertext", "tag"])
@pytest.mark.parametrize("known", [True, False])
def test_each_part_is_protected(login, part, known):
    used = login("jwt")
    if known:
        assert used.get().status_code == 200
    parts = used.access.split(".")
    raw = bytearray(base64.urlsafe_b64decode(parts[part] + "=="))
    raw[0] ^= 1
    encoded = parts[part]
    for changed in (
        base64url(bytes(raw)),
        base64url(bytes(raw[1:])),
        base64url(bytes(raw) + b"x"),
        "",
        f"{encoded}=",
        f"{encoded[:-1]}é",
        # The same bytes in other words.
        base64url(json.loads(base64.urlsafe_b64decode(encoded + "=="))) if part == 0 else "AA",
    ):
        assert_refused(".".join([*parts[:part], changed, *parts[part + 1 :]]))
    assert used.get().status_code == 200


def test_the_last_bits_of_a_part_are_not_ignored(login):
    used = login("jwt")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    # A tag of 16 bytes ends with 4 bits that encode nothing.
    last = alphabet[alphabet.index(used.access[-1]) + 1]
    assert_refused(used.access[:-1] + last)


RSA = rsa.generate_private_key(65537, 2048)
RSA_KEY = RSAKey.import_key(
    RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
)


@pytest.mark.parametrize(
    "make",
    [
        lambda inner: seal(inner, key=key_of(SECOND)),
        lambda inner: seal(inner, {**HEADER, "kid": "e2"}),
        lambda inner: seal(inner, {k: v for k, v in HEADER.items() if k != "kid"}),
        lambda inner: seal(inner, {k: v for k, v in HEADER.items() if k != "cty"}),
        lambda inner: seal(inner, {**HEADER, "zip": "DEF"}),
        lambda inner: seal(inner, {**HEADER, "typ": "at+jwt"}),
        lambda inner: seal(inner, {**HEADER, "alg": "dir"}, algorithms=["dir", "A256GCM"]),
        lambda inner: seal(
            inner, {**HEADER, "alg": "A256GCMKW"}, algorithms=["A256GCMKW", "A256GCM"]
        ),
        lambda inner: seal(inner, {**HEADER, "enc": "A128GCM"}, algorithms=["A256KW", "A128GCM"]),
        lambda inner: seal(
            inner, {**HEADER, "alg": "RSA-OAEP"}, RSA_KEY, algorithms=["RSA-OAEP", "A256GCM"]
        ),
        lambda inner: with_header(seal(inner), {**HEADER, "crit": ["exp"], "exp": 1}),
        lambda inner: with_header(seal(inner), []),
        lambda inner: with_header(seal(inner), b"\xff"),
        lambda inner: with_header(seal(inner), b"[" * 9000),
        lambda inner: inner,
        lambda inner: f"{inner}..",
        lambda inner: seal(seal(inner)),
    ],
)
def test_another_way_of_encrypting_is_refused(login, make):
    used = login("jwt")
    assert call_with(seal(open_up(used.access))).status_code == 200
    assert_refused(make(open_up(used.access)))


def with_header(sealed, header):
    return ".".join([base64url(header), *sealed.split(".")[1:]])


@pytest.mark.parametrize(
    "make",
    [
        lambda claims: forge({"alg": "none", "typ": "at+jwt"}, claims).rpartition(".")[0] + ".",
        lambda claims: forge({"alg": "none", "typ": "at+jwt"}, claims),
        lambda claims: forge({"alg": "HS256", "typ": "at+jwt"}, claims, "x" * 56),
        lambda claims: forge({"alg": "HS256", "typ": "JWT"}, claims),
        lambda claims: forge({"alg": "HS256", "typ": "at+jwt"}, {**claims, "exp": 1}),
        lambda claims: forge({"alg": "HS256", "typ": "at+jwt"}, {**claims, "token_type": "other"}),
        json.dumps,
        lambda claims: b"\xff\xfe",
        lambda claims: b"",
    ],
)
def test_what_is_inside_must_be_an_access_token_that_we_signed(login, make):
    claims = claims_of(open_up(login("jwt").access))
    genuine = forge({"alg": "HS256", "typ": "at+jwt"}, claims)
    assert call_with(seal(genuine)).status_code == 200
    answer = call_with(seal(make(claims)))
    assert (answer.status_code, answer.json()["code"]) == (401, "token_not_valid")


def test_the_public_key_of_the_ring_signs_nothing_inside(login):
    entry = {"kid": "k1", "algorithm": "ES256", **make_key("ES256")}
    with override_settings(AUTHMODES_SIGNING_KEYS=[entry]):
        used = login("jwt")
        assert used.get().status_code == 200
        pair = keys.backend().ring[0].verifying
        assert isinstance(pair, ec.EllipticCurvePublicKey)
        pem = pair.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        head = {**header_of(open_up(used.access)), "alg": "HS256"}
        assert_refused(seal(forge(head, claims_of(open_up(used.access)), pem)))


def test_a_long_text_is_refused_before_it_is_decrypted(login, monkeypatch):
    inner = open_up(login("jwt").access)
    claims = {**claims_of(inner), "long": "x" * 9000}
    sealed = seal(forge({"alg": "HS256", "typ": "at+jwt"}, claims))
    assert len(sealed) > keys.MAX_LENGTH
    decrypted = []
    monkeypatch.setattr(jwe, "decrypt_compact", lambda *args: decrypted.append(args))
    with pytest.raises(TokenBackendError):
        keys.backend(keys.ACCESS).decode(sealed)
    assert decrypted == []


# -- keys ----------------------------------------------------------------------------------


def test_keys_roll_over(login, settings):
    old = login("jwt")
    settings.AUTHMODES_ENCRYPTION_KEYS = [FIRST, SECOND]
    both = login("jwt")
    assert header_of(both.access)["kid"] == "e1"
    settings.AUTHMODES_ENCRYPTION_KEYS = [SECOND, FIRST]
    new = login("jwt")
    assert header_of(new.access)["kid"] == "e2"
    assert [used.get().status_code for used in (old, both, new)] == [200, 200, 200]
    settings.AUTHMODES_ENCRYPTION_KEYS = [SECOND]
    assert [used.get().status_code for used in (old, both, new)] == [401, 401, 200]
    assert old.refresh().status_code == 200
    assert header_of(old.access)["kid"] == "e2"
    assert old.get().status_code == 200


def named(kid, entry):
    return EncryptionKey(kid, key_of(entry).raw_value, key_of(entry))


def test_a_known_token_counts_for_its_own_encryption_keys_only(login):
    """Not only because a changed setting empties the cache."""
    used = login("jwt")
    read_token(AccessToken, used.access)
    backend = keys.backend(keys.ACCESS)
    others = ((), (named("e1", SECOND),), (named("e2", FIRST),))
    for other in others:
        with pytest.raises(TokenBackendError):
            keys._backend(keys._ring_settings(), keys.ACCESS, other, None, None, 0, None).decode(
                used.access
            )
    assert backend.decode(used.access)["sid"] == used.sid


def test_a_known_token_counts_without_pyjwts_private_method(login, settings, monkeypatch):
    class Public:
        def __init__(self, options):
            rules = pyjwt.api_jwt.PyJWT(options)
            self.options, self.decode = rules.options, rules.decode

    monkeypatch.setattr(pyjwt, "PyJWT", Public)
    # Not shared with other tests.
    monkeypatch.setattr(keys, "_backend", keys._backend.__wrapped__)
    settings.AUTHMODES_ENCRYPTION_KEYS = [SECOND]
    used = login("jwt")
    assert [used.get().status_code, used.get().status_code] == [200, 200]
    keys.backend.cache_clear()


def test_switching_on_and_off_refuses_access_tokens_and_keeps_logins(login, settings):
    sealed = login("jwt")
    settings.AUTHMODES_ENCRYPTION_KEYS = None
    signed = login("jwt")
    assert len(signed.access.split(".")) == 3
    assert [signed.get().status_code, sealed.get().status_code] == [200, 401]
    settings.AUTHMODES_ENCRYPTION_KEYS = [FIRST]
    assert [signed.get().status_code, sealed.get().status_code] == [401, 200]
    assert signed.refresh().status_code == 200
    assert [signed.get().status_code, len(signed.access.split("."))] == [200, 5]


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ([FIRST, SECOND], []),
        ([{**FIRST, "key": secrets.token_urlsafe(32)}], []),
        ([{**FIRST, "key": FIRST["key"] + "="}], []),
        ([{**FIRST, "key": secrets.token_urlsafe(16)}], ["authmodes.E014"]),
        ([FIRST, {**SECOND, "key": secrets.token_urlsafe(33)}], ["authmodes.E014"]),
        ([{**FIRST, "key": b"1" * 32}], ["authmodes.E014"]),
        ([{**FIRST, "key": "ä" * 43}], ["authmodes.E014"]),
        ([{"kid": "e1"}], ["authmodes.E014"]),
        ([FIRST, {**SECOND, "kid": "e1"}], ["authmodes.E001", "authmodes.E014"]),
        ([{**FIRST, "kid": 1}], ["authmodes.E001", "authmodes.E014"]),
        ([], ["authmodes.E001", "authmodes.E014"]),
        ("a key", ["authmodes.E001", "authmodes.E014"]),
    ],
)
def test_wrong_keys_are_reported_and_not_shown(settings, listed, found):
    settings.AUTHMODES_ENCRYPTION_KEYS = listed
    messages = [*installation.check_settings(None), *token_checks.check_encryption_keys(None)]
    assert [message.id for message in messages] == found
    shown = "".join(map(str, messages))
    for entry in listed if found and isinstance(listed, list) else ():
        assert str(entry.get("key", "no key")) not in shown


def test_a_ring_does_not_show_its_keys():
    shown = repr(keys.backend(keys.ACCESS).encryption_keys)
    assert FIRST["key"] not in shown
    assert "11111111" not in shown


@pytest.fixture
def without_joserfc(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "joserfc"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "joserfc", None)


def test_without_joserfc_a_check_names_the_extra(settings, without_joserfc):
    # A key that no other test has: the keys of the settings are prepared once.
    settings.AUTHMODES_ENCRYPTION_KEYS = [{"kid": "e3", "key": secrets.token_urlsafe(32)}]
    with pytest.raises(SystemCheckError, match=r"E014.*authmodes\[jwe\]"):
        call_command("check")
    with pytest.raises(ImproperlyConfigured, match=r"authmodes\[jwe\]"):
        keys.backend(keys.ACCESS)


def test_without_joserfc_and_without_keys_nothing_changes(login, settings, without_joserfc):
    settings.AUTHMODES_ENCRYPTION_KEYS = None
    assert list(token_checks.check_encryption_keys(None)) == []
    used = login("jwt")
    assert used.get().status_code == 200
    assert used.refresh().status_code == 200
    assert call_with("a.b.c.d.e").status_code == 401


def test_the_documented_service_reads_an_encrypted_token(login, settings):
    entry = {"kid": "k1", "algorithm": "ES256", **make_key("ES256")}
    settings.AUTHMODES_SIGNING_KEYS = [entry]
    (code,) = [
        block
        for block in DOCUMENTED.read_text().split("```")
        if block.startswith("python\n") and "joserfc" in block
    ]
    inner = []
    names = {"ENCRYPTION_KEYS": [("e1", FIRST["key"])], "read_access_token": inner.append}
    exec(code.removeprefix("python\n"), names)
    names["read_encrypted_token"](login("jwt").access)
    public = keys.backend().ring[0].verifying
    assert pyjwt.decode(inner[0], public, ["ES256"])["salary"] == 4711
