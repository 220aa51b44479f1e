"""The key ring: which key signs, which ones verify, what is published, and rolling over."""

import ast
import base64
import hashlib
import hmac
import io
import json
from datetime import UTC, datetime, timedelta
from functools import cache

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.test import Client
from django.test.utils import override_settings

from authmodes.checks import tokens as token_checks
from authmodes.models import LoginSession
from authmodes.tokens import keys

from .support.logins import call_with, post_json, refresh
from .support.tokens import claims_of, header_of

PAIRS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
SECRETS = ["HS256", "HS384", "HS512"]
ALGORITHMS = [*SECRETS, *PAIRS]
# One of each family, where the size of the hash makes no difference.
FAMILIES = ["HS256", "RS256", "PS256", "ES256", "EdDSA"]
PUBLIC_MEMBERS = {"kty", "use", "alg", "kid", "key_ops", "n", "e", "crv", "x", "y"}


# Loading an RSA key checks its primes, which takes a tenth of a second each time.
load_private_key = cache(serialization.load_pem_private_key)


@pytest.fixture(autouse=True)
def _keys_are_loaded_once(monkeypatch):
    monkeypatch.setattr("jwt.algorithms.load_pem_private_key", load_private_key)


# RSA keys take long to make, so a second one of an algorithm is another one's first.
DONORS = {"old": "RS384", "new": "RS512", "stranger": "PS384"}


@cache
def make_key(algorithm, kid):
    """An entry as `make_signing_key` prints it and a person pastes it into a list."""
    if algorithm[:2] in ("RS", "PS") and kid in DONORS:
        return {**make_key(DONORS[kid], "k1"), "kid": kid, "algorithm": algorithm}
    printed = io.StringIO()
    call_command("make_signing_key", algorithm=algorithm, kid=kid, stdout=printed)
    (entry,) = ast.literal_eval(f"[{printed.getvalue()}]")
    return entry


def ring(*entries):
    return override_settings(AUTHMODES_SIGNING_KEYS=list(entries))


def new_key(algorithm="ES256"):
    return make_key(algorithm, "new")


def old_key(algorithm="ES256"):
    return make_key(algorithm, "old")


def public_pem(entry):
    private = load_private_key(entry["private_key"].encode(), None)
    return private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def public_only(entry):
    return {
        "kid": entry["kid"],
        "algorithm": entry["algorithm"],
        "public_key": public_pem(entry).decode(),
    }


def private_pem(key, encryption=None):
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        encryption or serialization.NoEncryption(),
    ).decode()


def signing_part(entry):
    return entry.get("secret") or entry["private_key"]


def sign(entry, payload, json_encoder=None, **headers):
    """A token signed with a key of the ring, with a header of the forger's choice."""
    headers = {"typ": "at+jwt", "kid": entry["kid"], **headers}
    return pyjwt.encode(payload, signing_part(entry), entry["algorithm"], headers, json_encoder)


def forge_hs256(header, payload, secret):
    def b64(raw):
        return base64.urlsafe_b64encode(raw).rstrip(b"=")

    head = b".".join(b64(json.dumps(part).encode()) for part in (header, payload))
    signature = hmac.new(secret, head, hashlib.sha256).digest()
    return b".".join((head, b64(signature))).decode()


def with_header(raw_token, header):
    """The token with another header; its signature stays what it was."""
    _, payload, signature = raw_token.split(".")
    head = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    return f"{head}.{payload}.{signature}"


def assert_refused(raw_token):
    responses = [
        call_with(raw_token),
        refresh(raw_token),
        post_json("/auth/token/verify/", {"token": raw_token}),
        post_json("/auth/token/blacklist/", {"refresh": raw_token}),
    ]
    assert [response.status_code for response in responses] == [401] * 4
    assert not LoginSession.objects.ended().exists()


def error_ids():
    return [message.id for message in token_checks.check_signing_keys(None)]


# -- each algorithm ------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_of_each_algorithm_signs_and_verifies_logins(algorithm, login, clock):
    with ring(make_key(algorithm, "k1")):
        assert error_ids() == []
        used = login("jwt")
        assert header_of(used.access) == {"alg": algorithm, "typ": "at+jwt", "kid": "k1"}
        assert header_of(used.refresh_token) == {"alg": algorithm, "typ": "JWT", "kid": "k1"}
        assert used.get().status_code == 200
        clock.shift(timedelta(seconds=1))
        assert used.refresh().status_code == 200
        assert header_of(used.access)["kid"] == "k1"
        assert used.get().status_code == 200
        assert post_json("/auth/token/verify/", {"token": used.access}).status_code == 200
        assert used.logout().status_code == 204
        assert used.get().status_code == 401


@pytest.mark.parametrize("algorithm", FAMILIES)
def test_the_signature_of_each_algorithm_is_checked(algorithm, login):
    with ring(make_key(algorithm, "k1")):
        used = login("jwt")
        for raw_token in (used.access, used.refresh_token):
            head, payload, signature = raw_token.split(".")
            swapped = signature[:-12] + ("A" * 12 if signature[-12:] != "A" * 12 else "E" * 12)
            assert_refused(f"{head}.{payload}.{swapped}")
        stranger = {**make_key(algorithm, "stranger"), "kid": "k1"}
        assert_refused(sign(stranger, claims_of(used.access)))
        assert used.get().status_code == 200


class OwnEncoder(json.JSONEncoder):
    def default(self, value):
        return str(value)


# The signatures of the other families are not the same twice.
@pytest.mark.parametrize("encoder", [None, "tests.test_keys.OwnEncoder"])
@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "EdDSA"])
def test_a_token_is_encoded_as_by_pyjwt(algorithm, encoder, settings):
    entry = make_key(algorithm, "k1")
    names = {"aud": ["a", "b"], "iss": "https://é.example/"}
    settings.SIMPLE_JWT = {
        "AUDIENCE": names["aud"],
        "ISSUER": names["iss"],
        "JSON_ENCODER": encoder,
    }
    claims = {"sub": "ü", "exp": 9, "nbf": datetime(2026, 1, 2, 3, tzinfo=UTC), "amr": ["pwd"]}
    if encoder:
        claims["at"] = claims["nbf"]
    with ring(entry):
        token = keys.backend(keys.ACCESS).encode(claims)
    assert token == sign(entry, claims | names, json_encoder=encoder and OwnEncoder)


def test_a_token_of_a_key_without_a_kid_is_encoded_as_by_pyjwt(settings):
    assert keys.backend().encode({"exp": 9}) == pyjwt.encode({"exp": 9}, settings.SECRET_KEY)


def test_the_command_prints_a_fresh_key_with_a_kid_of_its_own():
    printed = [io.StringIO(), io.StringIO()]
    for out in printed:
        call_command("make_signing_key", stdout=out)
    (first,), (second,) = (ast.literal_eval(f"[{out.getvalue()}]") for out in printed)
    assert first["algorithm"] == "ES256"
    assert first["kid"] != second["kid"]
    assert first["private_key"] != second["private_key"]


# -- rolling over --------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", FAMILIES)
def test_rolling_over_ends_no_login_until_the_old_key_is_removed(algorithm, login, clock):
    old, new = old_key(algorithm), new_key(algorithm)
    with ring(old):
        early = login("jwt")
    with ring(old, new):
        assert early.get().status_code == 200
        assert header_of(login("jwt").access)["kid"] == "old"
    with ring(new, old):
        late = login("jwt")
        assert header_of(late.access)["kid"] == "new"
        assert early.get().status_code == 200
        stale_access, stale_refresh = early.access, early.refresh_token
        clock.shift(timedelta(seconds=1))
        assert early.refresh().status_code == 200
        assert header_of(early.refresh_token)["kid"] == "new"
        # A process that does not know of the change yet, but has the new key listed last.
        with ring(old, new):
            assert early.get().status_code == 200
            assert late.get().status_code == 200
    with ring(new):
        assert early.get().status_code == 200
        assert early.refresh().status_code == 200
        assert late.refresh().status_code == 200
        assert_refused(stale_access)
        assert_refused(stale_refresh)


def test_rolling_over_to_another_algorithm_ends_no_login(login):
    old, new = old_key("HS512"), new_key("EdDSA")
    with ring(old):
        used = login("jwt")
    with ring(new, old):
        assert used.get().status_code == 200
        assert used.refresh().status_code == 200
    with ring(new):
        assert used.get().status_code == 200


def test_a_grace_retry_across_the_roll_over_gets_a_successor_that_works(login, clock):
    """The successor is the same; its signature is the new key's."""
    old, new = old_key(), new_key()
    with ring(old, new):
        used = login("jwt")
        first = refresh(used.refresh_token).json()["refresh"]
    with ring(new, old):
        second = refresh(used.refresh_token).json()["refresh"]
        assert claims_of(first)["jti"] == claims_of(second)["jti"]
        assert refresh(second).status_code == 200
    assert LoginSession.objects.active().count() == 1


# -- kid -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kid",
    [
        "unknown",
        "",
        "K1",
        "../../../../dev/null",
        "k1\x00",
        ["k1"],
        0,
        None,
    ],
    ids=lambda kid: repr(kid)[:24],
)
@pytest.mark.parametrize("algorithm", ["HS256", "ES256"])
def test_a_kid_that_is_not_in_the_ring_is_refused(algorithm, kid, login):
    """Even with a signature of the right key, so the kid is what it is refused for."""
    with ring(make_key(algorithm, "k1")):
        used = login("jwt")
        entry = make_key(algorithm, "k1")
        for raw_token in (used.access, used.refresh_token):
            head = {**header_of(raw_token), "kid": kid}
            if algorithm == "HS256":
                forged = forge_hs256(head, claims_of(raw_token), entry["secret"].encode())
            else:
                forged = with_header(raw_token, head)
            assert_refused(forged)


def test_a_kid_names_its_key_and_no_other(login):
    """The right signature under the name of another key of the ring is refused."""
    old, new = old_key(), new_key()
    with ring(new, old):
        used = login("jwt")
        assert call_with(sign(new, claims_of(used.access))).status_code == 200
        assert_refused(sign(new, claims_of(used.access), kid="old"))
        assert_refused(sign({**old, "kid": "new"}, claims_of(used.access)))


def test_a_key_is_used_with_its_own_algorithm_only(login):
    """One RSA key could sign by six of them."""
    entry = make_key("RS256", "k1")
    with ring(entry):
        used = login("jwt")
        for other in ("RS384", "RS512", "PS256", "PS512"):
            assert_refused(sign({**entry, "algorithm": other}, claims_of(used.access)))


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_public_key_is_no_hmac_secret(algorithm, login):
    entry, secret = make_key(algorithm, "pair"), make_key("HS256", "secret")
    pem = public_pem(entry)
    public = serialization.load_pem_public_key(pem)
    der = public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    jwk = Client().get("/auth/.well-known/jwks.json").content
    for listed in ([entry], [entry, secret], [secret, entry]):
        with ring(*listed):
            used = login("jwt")
            for guess in (pem, pem.strip(), pem.replace(b"\n", b""), der, jwk, b""):
                for head in ({"kid": "pair"}, {"kid": "secret"}, {}):
                    header = {"alg": "HS256", "typ": "at+jwt", **head}
                    forged = forge_hs256(header, claims_of(used.access), guess)
                    assert call_with(forged).status_code == 401
            assert used.get().status_code == 200


# -- what a ring may be --------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA"])
def test_a_key_with_nothing_but_its_public_part_verifies(algorithm, login):
    old, new = old_key(algorithm), new_key(algorithm)
    with ring(old):
        used = login("jwt")
    with ring(new, public_only(old)):
        assert error_ids() == []
        assert used.get().status_code == 200
        assert used.refresh().status_code == 200
        assert header_of(used.access)["kid"] == "new"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_the_first_key_must_be_able_to_sign(algorithm):
    with ring(public_only(make_key(algorithm, "k1")), new_key()):
        assert error_ids() == ["authmodes.E008"]


@cache
def wrong_entries():
    curves = {size: private_pem(ec.generate_private_key(curve())) for size, curve in CURVES.items()}
    rsa_pem = make_key("RS256", "k1")["private_key"]
    ed_pem = private_pem(ed25519.Ed25519PrivateKey.generate())
    encrypted = private_pem(
        ec.generate_private_key(ec.SECP256R1()), serialization.BestAvailableEncryption(b"secret")
    )
    return {
        "a curve too large": ("ES256", {"private_key": curves[384]}),
        "a curve too small": ("ES512", {"private_key": curves[256]}),
        "a curve of another kind": ("ES256", {"private_key": curves["k"]}),
        "EC for RSA": ("RS256", {"private_key": curves[256]}),
        "RSA for EC": ("ES256", {"private_key": rsa_pem}),
        "RSA for Ed25519": ("EdDSA", {"private_key": rsa_pem}),
        "Ed25519 for EC": ("ES256", {"private_key": ed_pem}),
        "Ed25519 for RSA": ("PS256", {"private_key": ed_pem}),
        "DSA for RSA": ("RS256", {"private_key": private_pem(dsa.generate_private_key(1024))}),
        "an encrypted key": ("ES256", {"private_key": encrypted}),
        "a key pair for HMAC": ("HS256", {"secret": rsa_pem}),
        "a secret for a key pair": ("ES256", {"private_key": "s3cr3t-s3cr3t-s3cr3t-s3cr3t"}),
        "half a PEM": ("RS256", {"private_key": rsa_pem[:200]}),
        "a private key without its end": ("ES256", {"private_key": curves[256][:-30]}),
        "no key": ("ES256", {}),
        "an empty secret": ("HS256", {"secret": ""}),
        "no algorithm": ("", {"secret": "x" * 32}),
        "none": ("none", {"secret": "x" * 32}),
        "an unknown algorithm": ("HS1", {"secret": "x" * 32}),
        "a public key that is another's": (
            "ES256",
            {
                "private_key": curves[256],
                "public_key": public_pem({"private_key": curves["other"]}).decode(),
            },
        ),
    }


CURVES = {256: ec.SECP256R1, 384: ec.SECP384R1, "k": ec.SECP256K1, "other": ec.SECP256R1}
WRONG = [
    "a curve too large",
    "a curve too small",
    "a curve of another kind",
    "EC for RSA",
    "RSA for EC",
    "RSA for Ed25519",
    "Ed25519 for EC",
    "Ed25519 for RSA",
    "DSA for RSA",
    "an encrypted key",
    "a key pair for HMAC",
    "a secret for a key pair",
    "half a PEM",
    "a private key without its end",
    "no key",
    "an empty secret",
    "no algorithm",
    "none",
    "an unknown algorithm",
    "a public key that is another's",
]


@pytest.mark.parametrize("name", WRONG)
def test_a_key_that_is_none_for_its_algorithm_is_e008_and_not_shown(name):
    algorithm, parts = wrong_entries()[name]
    entry = {"kid": "k1", "algorithm": algorithm, **parts}
    with ring(entry):
        messages = list(token_checks.check_signing_keys(None))
        assert [message.id for message in messages] == ["authmodes.E008"]
        shown = [repr(messages[0]), str(messages[0])]
        with pytest.raises(ImproperlyConfigured) as caught:
            keys.backend()
    error = caught.value
    while error is not None:
        shown += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    for line in "".join(parts.values()).splitlines():
        if len(line) > 20 and "-----" not in line:
            assert not [text for text in shown if line in text]


@pytest.mark.parametrize("kids", [("a", "a"), ("", "a"), (None, "a")])
def test_every_key_needs_a_kid_of_its_own(kids):
    first, second = ({**make_key("ES256", str(kid)), "kid": kid} for kid in kids)
    with ring(first, second), pytest.raises(ImproperlyConfigured):
        keys.backend()


@pytest.mark.parametrize("algorithm", FAMILIES)
def test_a_ring_does_not_show_its_secrets(algorithm):
    entry = make_key(algorithm, "k1")
    with ring(entry):
        backend = keys.backend()
        shown = [repr(backend), str(backend), repr(backend.ring), repr(vars(backend))]
        shown.append(repr(keys._ring_settings()))
    for line in signing_part(entry).splitlines():
        if "-----" not in line:
            assert not [text for text in shown if line in text]


@pytest.mark.parametrize("algorithm", FAMILIES)
def test_a_refused_token_does_not_show_the_key(algorithm, login, caplog):
    entry = make_key(algorithm, "k1")
    with ring(entry), caplog.at_level("DEBUG"):
        used = login("jwt")
        bad = used.access[:-8] + "AAAAAAAA"
        answers = [call_with(bad), refresh(bad), post_json("/auth/token/verify/", {"token": bad})]
    text = caplog.text + "".join(answer.content.decode() for answer in answers)
    for line in signing_part(entry).splitlines():
        assert line not in text


# -- the JWK set ---------------------------------------------------------------------------


def get_jwks():
    return Client().get("/auth/.well-known/jwks.json")


@pytest.mark.parametrize("algorithm", PAIRS)
def test_the_jwk_set_verifies_a_token_and_shows_public_parts_only(algorithm, login):
    entry = make_key(algorithm, "k1")
    with ring(entry):
        used = login("jwt")
        (jwk,) = get_jwks().json()["keys"]
    assert set(jwk) <= PUBLIC_MEMBERS
    assert (jwk["kid"], jwk["alg"], jwk["use"]) == ("k1", algorithm, "sig")
    found = pyjwt.PyJWK(jwk)
    assert pyjwt.decode(used.access, found.key, [algorithm])["sid"] == used.sid
    name = "new" if algorithm == "PS384" else "stranger"
    with pytest.raises(pyjwt.InvalidSignatureError):
        pyjwt.decode(sign(make_key(algorithm, name), {}), found.key, [algorithm])


def test_the_jwk_set_lists_each_key_pair_once_and_no_secret(login):
    entries = [{**make_key(algorithm, "k1"), "kid": f"kid-{algorithm}"} for algorithm in ALGORITHMS]
    with ring(*entries):
        response = get_jwks()
    kids = [jwk["kid"] for jwk in response.json()["keys"]]
    assert kids == [f"kid-{algorithm}" for algorithm in PAIRS]
    text = response.content.decode()
    for entry in entries:
        secret = entry.get("secret")
        if secret is not None:
            encoded = base64.urlsafe_b64encode(secret.encode()).rstrip(b"=").decode()
            assert secret not in text
            assert encoded not in text


def test_the_jwk_set_lists_a_key_before_it_signs_and_after(login):
    for listed in ((old_key(), new_key()), (new_key(), public_only(old_key()))):
        with ring(*listed):
            shown = get_jwks().json()["keys"]
        assert [jwk["kid"] for jwk in shown] == [entry["kid"] for entry in listed]


@pytest.mark.parametrize("configured", [None, "HS256"])
def test_a_jwk_set_without_key_pairs_is_empty(configured):
    with override_settings(
        AUTHMODES_SIGNING_KEYS=configured and [make_key(configured, "k1")],
    ):
        assert get_jwks().json() == {"keys": []}


def test_the_jwk_set_may_be_cached_by_anybody():
    with ring(new_key()):
        response = get_jwks()
    directives = {part.strip() for part in response["Cache-Control"].split(",")}
    assert "public" in directives
    assert any(part.startswith("max-age=") and part != "max-age=0" for part in directives)
    assert "no-store" not in directives
    assert "Cookie" not in response.get("Vary", "")
    assert not response.cookies
    assert response["Content-Type"].startswith("application/")


def test_the_jwk_set_is_not_what_a_token_chooses(login):
    """A foreign key in the header changes neither the set nor the outcome."""
    with ring(new_key()):
        used = login("jwt")
        stranger = make_key("ES256", "stranger")
        public = serialization.load_pem_public_key(public_pem(stranger))
        jwk = pyjwt.get_algorithm_by_name("ES256").to_jwk(public, as_dict=True)
        for kid in ("new", "stranger"):
            assert_refused(sign(stranger, claims_of(used.access), jwk=jwk, kid=kid))
        assert [key["kid"] for key in get_jwks().json()["keys"]] == ["new"]


# -- coming from simplejwt's own key -------------------------------------------------------


def test_simplejwts_secret_is_taken_along_by_listing_it(login, settings):
    secret = "simplejwts-own-secret-0123456789-abcdefghijklmnop"
    settings.SIMPLE_JWT = {"SIGNING_KEY": secret}
    used = login("jwt")
    assert "kid" not in header_of(used.access)
    with ring(new_key(), {"kid": "before", "algorithm": "HS256", "secret": secret}):
        assert used.get().status_code == 200
        assert used.refresh().status_code == 200
        assert header_of(used.access)["kid"] == "new"


def test_the_secret_key_is_taken_along_by_listing_it(login, settings):
    used = login("jwt")
    listed = {"kid": "before", "algorithm": "HS256", "secret": settings.SECRET_KEY}
    with ring(new_key("HS512"), listed):
        assert used.get().status_code == 200
        assert used.refresh().status_code == 200


@pytest.fixture
def simplejwts_pair(settings):
    """simplejwt's own key pair, without a ring."""
    entry = make_key("RS256", "k1")
    settings.SIMPLE_JWT = {
        "ALGORITHM": "RS256",
        "SIGNING_KEY": entry["private_key"],
        "VERIFYING_KEY": public_pem(entry).decode(),
    }
    return entry


def test_simplejwts_key_pair_is_named_by_its_thumbprint(login, simplejwts_pair):
    used = login("jwt")
    (jwk,) = get_jwks().json()["keys"]
    members = {name: jwk[name] for name in ("e", "kty", "n")}
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    thumbprint = base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()
    assert jwk["kid"] == header_of(used.access)["kid"] == thumbprint
    found = pyjwt.PyJWK(jwk)
    assert pyjwt.decode(used.access, found.key, ["RS256"])["sid"] == used.sid
    assert used.get().status_code == 200


def test_a_token_of_simplejwts_pair_without_a_kid_is_still_accepted(login, simplejwts_pair):
    used = login("jwt")
    key, typ = simplejwts_pair["private_key"], {"typ": "at+jwt"}
    unnamed = pyjwt.encode(claims_of(used.access), key, "RS256", headers=typ)
    assert "kid" not in header_of(unnamed)
    assert call_with(unnamed).status_code == 200


def test_simplejwts_key_pair_is_taken_along_by_listing_it(login, simplejwts_pair):
    """Its tokens carry the thumbprint, whatever the ring calls the key."""
    used = login("jwt")
    listed = {
        "kid": "before",
        "algorithm": "RS256",
        "public_key": public_pem(simplejwts_pair).decode(),
    }
    with ring(new_key(), listed):
        assert used.get().status_code == 200
        assert used.refresh().status_code == 200


def test_simplejwts_key_pair_is_taken_along_under_its_thumbprint(login, simplejwts_pair):
    used = login("jwt")
    listed = {
        "kid": header_of(used.access)["kid"],
        "algorithm": "RS256",
        "public_key": public_pem(simplejwts_pair).decode(),
    }
    with ring(new_key(), listed):
        assert used.get().status_code == 200
        assert used.refresh().status_code == 200


# -- audience, issuer, typ -----------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["HS256", "ES256"])
@pytest.mark.parametrize(
    ("setting", "claim", "value", "wrong"),
    [
        ("ISSUER", "iss", "https://a.example", ["https://b.example", "", None, 1, []]),
        ("AUDIENCE", "aud", "api", ["other", "", None, 1, ["other"], [1]]),
        ("AUDIENCE", "aud", ["api", "web"], ["other", "", None, [], ["other"]]),
    ],
)
def test_a_ring_issues_and_demands_issuer_and_audience(
    algorithm, setting, claim, value, wrong, login
):
    entry = make_key(algorithm, "k1")
    with ring(entry):
        before = login("jwt")
        with override_settings(SIMPLE_JWT={setting: value}):
            used = login("jwt")
            payload = claims_of(used.access)
            assert payload[claim] == value
            assert used.get().status_code == 200
            assert used.refresh().status_code == 200
            for bad in wrong:
                assert_refused(forged_claim(entry, {**payload, claim: bad}))
            assert_refused(sign(entry, {k: v for k, v in payload.items() if k != claim}))
            assert_refused(before.access)
            # A refresh token has an audience of its own.
            if setting == "ISSUER":
                assert_refused(before.refresh_token)


def forged_claim(entry, payload):
    """PyJWT refuses to sign some of them, so the text is signed instead."""
    header = {"alg": entry["algorithm"], "typ": "at+jwt", "kid": entry["kid"]}
    jws = pyjwt.PyJWS()
    text = json.dumps(payload).encode()
    return jws.encode(text, signing_part(entry), entry["algorithm"], headers=header)


@pytest.mark.parametrize("algorithm", FAMILIES)
def test_an_access_token_is_typed_and_a_refresh_token_is_not_typed_as_one(algorithm, login):
    """RFC 9068, 2.1."""
    with ring(make_key(algorithm, "k1")):
        used = login("jwt")
    assert header_of(used.access)["typ"] == "at+jwt"
    assert header_of(used.refresh_token)["typ"] != "at+jwt"
