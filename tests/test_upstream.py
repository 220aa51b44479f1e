"""Providers that say a login is over: who is believed, what ends, and what is left alone."""

import json
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialApp
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import connections
from django.test import Client
from django.utils import timezone
from rest_framework import throttling

from authmodes import registry
from authmodes.models import AuthorizationCode, ExpiringMark, LoginSession
from authmodes.registry import ending
from authmodes.signin import issuers, provider_session

from .support.authorization_code import NEXT, challenge_of, code_grant, redirect_query
from .support.browser import Browser
from .support.caches import UNREACHABLE
from .support.logins import API, PASSWORD, Login, call_with, post_json, refresh
from .support.mfa import totp_code
from .support.oidc_server import Slowly, serve
from .support.oidc_upstream import (
    BACKCHANNEL,
    CLIENT_ID,
    CLIENT_SECRET,
    MISSING,
    RSA_KEY,
    OidcProvider,
    jwk_of,
    unsigned,
)
from .support.processes import PATIENCE

LOGOUT = "/auth/upstream/logout/idp/"
EVENTS = "/auth/upstream/events/idp/"
VERIFIER = "v" * 43
RISC = "https://schemas.openid.net/secevent/risc/event-type/"
SESSIONS_REVOKED = f"{RISC}sessions-revoked"
TOKENS_REVOKED = "https://schemas.openid.net/secevent/oauth/event-type/tokens-revoked"


@pytest.fixture(scope="module")
def server():
    with serve(OidcProvider) as provider:
        yield provider


def app(server, **settings):
    return {
        "provider_id": "idp",
        "name": "IdP",
        "client_id": CLIENT_ID,
        "secret": CLIENT_SECRET,
        "settings": {
            "server_url": server.url,
            "risc_configuration_url": f"{server.url}/.well-known/risc-configuration",
            **settings,
        },
    }


@pytest.fixture
def idp(server, settings):
    server.reset()
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app(server)]}}
    return server


@pytest.fixture
def alice_at_idp(alice):
    SocialAccount.objects.create(user=alice, provider="idp", uid="sub-1")
    return alice


@pytest.fixture
def came_by(login, alice_at_idp):
    """A login of alice's, marked as one that came from the provider."""

    def make(mode="jwt", sid="sid-1", uid="sub-1", provider="idp", user=None) -> Login:
        made = login(mode, user)
        LoginSession.objects.filter(sid=made.sid).update(
            provider=provider, provider_uid=uid, provider_sid=sid
        )
        return made

    return make


def send(token, path=LOGOUT, **extra):
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    return client.generic(
        "POST", path, f"logout_token={token}", "application/x-www-form-urlencoded", **extra
    )


def send_event(token, path=EVENTS, content_type="application/secevent+jwt"):
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    return client.generic("POST", path, token, content_type)


def assert_alive(*logins):
    for one in logins:
        assert one.get().status_code == 200
        assert one.row.ended_at is None


def assert_ended(*logins, reason="upstream_logout"):
    for one in logins:
        assert one.row.end_reason == reason
        assert one.get().status_code == 401
        if one.mode == "jwt":
            assert refresh(one.refresh_token).status_code == 401


def assert_done(response):
    assert (response.status_code, response.content) == (200, b"")
    assert response["Cache-Control"] == "no-store"


def assert_refused(response, status=400):
    assert response.status_code == status, response.content
    assert response["Cache-Control"] == "no-store"
    answer = response.json()
    assert answer["error"] == ("invalid_request" if status < 500 else "temporarily_unavailable")
    assert answer["error_description"] == answer["detail"]
    assert answer["code"]
    assert len(response.content) < 1000
    return answer["code"]


# -- the whole way through the provider ----------------------------------------------------


def authorize(idp, browser, start):
    """From our start page through the provider and back to allauth's callback."""
    left = browser.submit(start)
    assert left.url.startswith(f"{idp.url}/authorize?"), left.content
    back = urlsplit(requests.get(left.url, allow_redirects=False, timeout=5).headers["location"])
    return browser.get(f"{back.path}?{back.query}")


def cookie_login(idp, browser=None):
    browser = browser or Browser()
    authorize(idp, browser, "/auth/social/idp/start/?mode=session")
    assert browser.get(API).status_code == 200
    return browser


def start_of_code_flow():
    return f"/auth/social/idp/start/?mode=jwt&next={NEXT}&code_challenge={challenge_of(VERIFIER)}"


def exchange(code):
    return post_json("/auth/token/", code_grant(code, VERIFIER))


def handed_over(idp):
    finished = authorize(idp, Browser(), start_of_code_flow())
    return redirect_query(finished)["code"]


def totp_of(user):
    secret = generate_totp_secret()
    TOTP.activate(user, secret)
    return lambda: totp_code(secret)


@pytest.mark.parametrize("addressed_by", ["sid", "sub"])
def test_a_logout_at_the_provider_ends_its_logins_in_both_modes(idp, alice_at_idp, addressed_by):
    browser = cookie_login(idp)
    tokens = exchange(handed_over(idp)).json()
    idp.claims["sid"] = "sid-2"
    other = cookie_login(idp)
    rows = LoginSession.objects.order_by("pk").values_list("provider_uid", "provider_sid")
    assert list(rows) == [("sub-1", "sid-1"), ("sub-1", "sid-1"), ("sub-1", "sid-2")]

    left_out = "sub" if addressed_by == "sid" else "sid"
    assert_done(send(idp.logout_token(**{left_out: MISSING})))
    assert browser.get(API).status_code == 401
    assert call_with(tokens["access_token"]).status_code == 401
    assert refresh(tokens["refresh_token"]).status_code == 401
    assert other.get(API).status_code == (200 if addressed_by == "sid" else 401)
    reasons = LoginSession.objects.exclude(end_reason="").values_list("end_reason", flat=True)
    assert set(reasons) == {"upstream_logout"}


@pytest.mark.parametrize("sub", ["sub-2", "SUB-1", None])
def test_a_userinfo_response_about_a_different_subject_signs_nobody_in(idp, alice_at_idp, bob, sub):
    """OpenID Connect Core, 5.3.2."""
    SocialAccount.objects.create(user=bob, provider="idp", uid="sub-2")
    idp.userinfo = {"sub": sub}
    browser = Browser()
    response = authorize(idp, browser, "/auth/social/idp/start/?mode=session")
    assert response.status_code == 401
    assert browser.get(API).status_code == 401
    assert not LoginSession.objects.exists()


@pytest.mark.parametrize("iat", [MISSING, "1700000000", True, -1, 4_000_000_000])
def test_an_id_token_without_its_date_does_not_get_past_a_logout(idp, alice_at_idp, iat):
    idp.claims["iat"] = iat
    browser = Browser()
    response = authorize(idp, browser, "/auth/social/idp/start/?mode=session")
    assert response.status_code == 401
    assert browser.get(API).status_code == 401
    assert not LoginSession.objects.exists()


def test_a_callback_for_several_audiences_has_to_name_our_client(idp, alice_at_idp):
    for azp, status in ((MISSING, 401), ("their-client", 401), (CLIENT_ID, 302)):
        idp.claims |= {"aud": [CLIENT_ID, "their-client"], "azp": azp}
        response = authorize(idp, Browser(), "/auth/social/idp/start/?mode=session")
        assert response.status_code == status


def test_the_providers_session_is_noted_through_a_second_factor(idp, alice_at_idp):
    code = totp_of(alice_at_idp)
    browser = Browser()
    stopped = authorize(idp, browser, "/auth/social/idp/start/?mode=session")
    assert stopped.url == "/accounts/2fa/authenticate/"
    assert browser.submit(stopped.url, {"code": code()}).status_code == 302
    assert browser.get(API).status_code == 200
    assert_done(send(idp.logout_token(sub=MISSING)))
    assert browser.get(API).status_code == 401


@pytest.mark.parametrize("start", ["/auth/social/idp/start/?mode=session", start_of_code_flow()])
@pytest.mark.parametrize("left_out", ["sid", "sub"])
def test_a_login_that_waits_for_its_second_factor_ends_too(idp, alice_at_idp, start, left_out):
    code = totp_of(alice_at_idp)
    browser = Browser()
    # The one that counts is the latest.
    assert_done(send(idp.logout_token(**{left_out: MISSING})))
    stopped = authorize(idp, browser, start)
    assert_done(send(idp.logout_token(**{left_out: MISSING})))
    refused = browser.submit(stopped.url, {"code": code()})
    if "next=" in start:
        assert "error_description=upstream_logout" in refused.url
    else:
        assert refused.status_code == 403
        assert b"upstream_logout" in refused.content
    assert browser.get(API).status_code == 401
    assert not LoginSession.objects.exists()
    assert not AuthorizationCode.objects.exists()


def test_another_session_that_waits_for_its_second_factor_does_not_end(idp, alice_at_idp):
    code = totp_of(alice_at_idp)
    browser = Browser()
    stopped = authorize(idp, browser, "/auth/social/idp/start/?mode=session")
    assert_done(send(idp.logout_token(sid="sid-2")))
    browser.submit(stopped.url, {"code": code()})
    assert browser.get(API).status_code == 200


def test_a_user_who_was_signed_out_may_sign_in_again_at_once(idp, alice_at_idp):
    browser = cookie_login(idp)
    for left_out in ("sid", "sub"):
        assert_done(send(idp.logout_token(**{left_out: MISSING})))
        assert browser.get(API).status_code == 401
        # The same session at the provider, as where it only ended ours.
        cookie_login(idp, browser)


def id_token_of(idp, issued_at):
    claims = {"iss": idp.issuer, "aud": CLIENT_ID, "iat": issued_at, "exp": issued_at + 7200}
    claims |= {"jti": secrets.token_hex(8), **idp.claims}
    return idp.sign(claims, key=RSA_KEY, kid="key-rsa", typ="JWT")


def sign_in_by(id_token):
    return post_json("/auth/social/idp/", {"id_token": id_token, "mode": "jwt"})


# Of the provider's clock.
@pytest.mark.parametrize("ahead", [0, -600])
@pytest.mark.parametrize("how", ["sid", "sub", "both", "event"])
def test_an_id_token_from_before_the_logout_is_refused_afterwards(
    idp, alice_at_idp, how, ahead, clock
):
    early, unharmed = (id_token_of(idp, int(time.time()) + ahead) for _ in range(2))
    idp.claims["sid"] = "sid-2"
    elsewhere = id_token_of(idp, int(time.time()) + ahead)
    idp.claims["sid"] = "sid-1"
    assert sign_in_by(unharmed).status_code == 200
    clock.shift(timedelta(minutes=5))
    now = {"iat": int(time.time()) + ahead}
    if how == "event":
        assert send_event(idp.event_token(SESSIONS_REVOKED, **now)).status_code == 202
        assert_refused_as_ended(sign_in_by(elsewhere))
    else:
        left_out = {"sid": {"sub": MISSING}, "sub": {"sid": MISSING}, "both": {}}[how]
        assert_done(send(idp.logout_token(**left_out, **now)))
    # One that says the same, issued in the second of the logout, is a new sign-in.
    again = id_token_of(idp, now["iat"])
    clock.shift(timedelta(minutes=50))
    assert_refused_as_ended(sign_in_by(early))
    assert sign_in_by(again).status_code == 200


def assert_refused_as_ended(response):
    assert (response.status_code, response.json()["code"]) == (403, "upstream_logout")


def test_of_several_logouts_the_latest_counts_in_whatever_order_they_arrive(
    idp, alice_at_idp, clock
):
    first = idp.logout_token()
    clock.shift(timedelta(seconds=30))
    between = id_token_of(idp, int(time.time()))
    clock.shift(timedelta(seconds=30))
    assert_done(send(idp.logout_token()))
    assert_done(send(first))
    assert_refused_as_ended(sign_in_by(between))


def test_a_sign_up_that_was_pending_ends_with_the_account(idp, settings, db, clock):
    settings.SOCIALACCOUNT_AUTO_SIGNUP = False
    browser = Browser()
    stopped = authorize(idp, browser, "/auth/social/idp/start/?mode=session")
    clock.shift(timedelta(minutes=30))
    assert send_event(idp.event_token(SESSIONS_REVOKED)).status_code == 202
    clock.shift(timedelta(minutes=30))
    refused = browser.submit(stopped.url, {"username": "mallory", "email": "m@example.com"})
    assert b"upstream_logout" in refused.content
    assert browser.get(API).status_code == 401


def test_a_pending_login_of_another_account_is_not_ended_by_sid_and_sub(idp, alice_at_idp):
    code = totp_of(alice_at_idp)
    browser = Browser()
    stopped = authorize(idp, browser, "/auth/social/idp/start/?mode=session")
    assert_done(send(idp.logout_token(sub="sub-9")))
    browser.submit(stopped.url, {"code": code()})
    assert browser.get(API).status_code == 200


def test_a_login_begun_at_one_provider_and_finished_at_another_is_the_others(
    idp, settings, alice_at_idp
):
    other = {**app(idp), "provider_id": "idp2", "client_id": "two"}
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app(idp), other]}}
    SocialAccount.objects.create(user=alice_at_idp, provider="idp2", uid="sub-2")
    code = totp_of(alice_at_idp)
    browser = Browser()
    authorize(idp, browser, "/auth/social/idp/start/?mode=session")
    idp.claims = {"sub": "sub-2", "sid": "sid-2", "aud": "two"}
    stopped = authorize(idp, browser, "/auth/social/idp2/start/?mode=session")
    assert browser.submit(stopped.url, {"code": code()}).status_code == 302
    row = LoginSession.objects.get()
    assert (row.provider, row.provider_uid, row.provider_sid) == ("idp2", "sub-2", "sid-2")
    assert_done(send(idp.logout_token(**idp.claims), "/auth/upstream/logout/idp2/"))
    assert browser.get(API).status_code == 401


def test_a_one_time_code_of_that_session_is_cancelled(idp, alice_at_idp):
    gone = handed_over(idp)
    idp.claims["sid"] = "sid-2"
    kept = handed_over(idp)
    assert_done(send(idp.logout_token()))
    assert exchange(gone).status_code == 400
    assert exchange(kept).status_code == 200


def test_an_app_in_the_database_is_as_good_as_one_in_the_settings(idp, settings, alice_at_idp):
    config = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"][0]
    settings.SOCIALACCOUNT_PROVIDERS = {}
    SocialApp.objects.create(provider="openid_connect", **config)
    browser = cookie_login(idp)
    assert_done(send(idp.logout_token()))
    assert browser.get(API).status_code == 401


def test_another_claim_than_sub_may_name_the_account(idp, settings, alice, came_by):
    made = app(idp, uid_field="oid", fetch_userinfo=False)
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [made]}}
    SocialAccount.objects.create(user=alice, provider="idp", uid="oid-1")
    idp.claims["oid"] = "oid-1"
    browser = cookie_login(idp)
    bystander = came_by(uid="sub-1", sid="")
    assert_done(send(idp.logout_token(sub="sub-unknown", sid=MISSING)))
    assert_done(send(idp.logout_token(sub="sub-unknown")))
    assert browser.get(API).status_code == 200
    assert_done(send(idp.logout_token(sid=MISSING)))
    assert browser.get(API).status_code == 401
    # Its account is called what the other's `sub` is.
    assert_alive(bystander)


# -- which logins --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "ended"),
    [
        ({"sub": MISSING}, {"this", "its bob"}),
        ({}, {"this"}),
        ({"sid": MISSING}, {"this", "elsewhere"}),
        ({"sub": "sub-2"}, {"its bob"}),
        ({"sid": "sid-9"}, set()),
        ({"sub": "sub-9", "sid": MISSING}, set()),
        ({"sub": "", "sid": "sid-1"}, None),
    ],
)
def test_the_logins_of_that_session_end_and_no_others(idp, came_by, bob, login, claims, ended):
    logins = {
        "this": came_by(),
        "elsewhere": came_by("session", sid="sid-2"),
        "its bob": came_by("session", uid="sub-2", user=bob),
        "another provider": came_by(provider="dummy"),
        "password": login("jwt"),
    }
    response = send(idp.logout_token(**claims))
    if ended is None:
        assert_refused(response)
    else:
        assert_done(response)
    for name, one in logins.items():
        (assert_ended if name in (ended or ()) else assert_alive)(one)


# MariaDB takes each for ours.
@pytest.mark.parametrize(("kind", "uid_field"), [("logout", "sub"), ("event", "oid")])
@pytest.mark.parametrize(
    "claims", [{"sid": "SID-1"}, {"sid": "sid-1 "}, {"sub": "SUB-1"}, {"sub": "s\xfab-1"}], ids=str
)
def test_names_that_differ_a_little_end_nothing(
    idp, settings, alice_at_idp, came_by, claims, kind, uid_field
):
    made = app(idp, uid_field=uid_field)
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [made]}}
    SocialAccount.objects.update(extra_data={"id_token": {"sub": "sub-1"}})
    used = came_by()
    code = AuthorizationCode.objects.create(
        digest="x",
        user=alice_at_idp,
        expires_at=timezone.now(),
        provider="idp",
        provider_uid="sub-1",
        provider_sid="sid-1",
    )
    if kind == "logout":
        assert_done(send(idp.logout_token(**{"sid": MISSING, "sub": MISSING, **claims})))
    else:
        subject = {"subject_type": "iss-sub", "iss": idp.url, "sub": claims.get("sub", "Sub-1")}
        assert send_event(idp.event_token(SESSIONS_REVOKED, subject=subject)).status_code == 202
    assert_alive(used)
    assert AuthorizationCode.objects.get() == code


# -- tokens that are refused ---------------------------------------------------------------


def public_pem(key):
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def hs256_with_public_key(idp):
    header = {"alg": "HS256", "typ": "logout+jwt", "kid": "key-1"}
    signing_input = unsigned(header, claims_of_good(idp)).encode()
    algorithm = jwt.get_algorithm_by_name("HS256")
    # As an attacker does, who is not stopped by PyJWT's own precaution.
    signature = algorithm.sign(signing_input, public_pem(idp.signing))
    return f"{signing_input.decode()}.{jwt.utils.base64url_encode(signature).decode()}"


def claims_of_good(idp):
    return jwt.decode(idp.logout_token(), options={"verify_signature": False})


def tampered(idp):
    head, _, signature = idp.logout_token(sub="sub-9", sid=MISSING).split(".")
    payload = unsigned({}, claims_of_good(idp)).split(".")[1]
    return f"{head}.{payload}.{signature}"


def raw_payload(text, **header):
    """What no encoder makes, signed properly."""

    def make(idp):
        named = {"alg": "ES256", "typ": "logout+jwt", "kid": "key-1", **header}
        signing_input = unsigned(named, text or claims_of_good(idp))
        signature = jwt.get_algorithm_by_name("ES256").sign(signing_input.encode(), idp.signing)
        return f"{signing_input}.{jwt.utils.base64url_encode(signature).decode()}"

    return make


def with_claim(name, text):
    def make(idp):
        claims = {**claims_of_good(idp), name: "@@"}
        return raw_payload(json.dumps(claims).replace('"@@"', text))(idp)

    return make


def token(**changed):
    return lambda idp: idp.logout_token(**changed)


def header(**changed):
    return lambda idp: idp.logout_token(header=changed)


def attackers(**changed):
    key = ec.generate_private_key(ec.SECP256R1())
    return lambda idp: idp.logout_token(
        key=key,
        header={name: make(key) if callable(make) else make for name, make in changed.items()},
    )


BAD = {
    "typ missing": header(typ=MISSING),
    "typ JWT": header(typ="JWT"),
    "typ secevent+jwt": header(typ="secevent+jwt"),
    "crit": header(crit=["exp"], exp=1),
    "typ a list": raw_payload("", typ=["logout+jwt"]),
    "typ null": raw_payload("", typ=None),
    "alg a list": raw_payload("", alg=["ES256"]),
    "kid a number": raw_payload("", kid=1),
    "crit that PyJWT knows": raw_payload("", crit=["b64"], b64=True),
    "alg none": lambda idp: (
        f"{unsigned({'alg': 'none', 'typ': 'logout+jwt'}, claims_of_good(idp))}."
    ),
    "HS256 with the public key": hs256_with_public_key,
    "HS256 with our secret": lambda idp: idp.logout_token(key=CLIENT_SECRET, alg="HS256"),
    "an algorithm not in the metadata": lambda idp: idp.logout_token(
        key=RSA_KEY, alg="PS256", header={"kid": "key-rsa"}
    ),
    "an attacker's key": attackers(),
    "an attacker's key, as path": attackers(kid="../../../../dev/null"),
    "an attacker's key in the header": attackers(
        jwk=lambda key: jwk_of(key, "key-1"), jku="https://evil.example/jwks"
    ),
    "no kid and two keys": lambda idp: (
        idp.keys.append(jwk_of(ec.generate_private_key(ec.SECP256R1()), "key-2")),
        idp.logout_token(header={"kid": MISSING}),
    )[1],
    "the kid of another kind of key": header(kid="key-rsa"),
    "tampered": tampered,
    "cut": lambda idp: idp.logout_token()[:-4],
    "no signature": lambda idp: idp.logout_token().rpartition(".")[0] + ".",
    "iss another": token(iss="https://evil.example"),
    "iss with a slash": lambda idp: idp.logout_token(iss=f"{idp.url}/"),
    "iss missing": token(iss=MISSING),
    "aud another client": token(aud="their-client"),
    "aud other clients": token(aud=["their-client", f"{CLIENT_ID}-2"]),
    "aud a longer text": token(aud=f"{CLIENT_ID} their-client"),
    "aud none": token(aud=[]),
    "aud an object": token(aud={CLIENT_ID: 1}),
    "aud missing": token(aud=MISSING),
    "exp missing": token(exp=MISSING),
    "exp past": lambda idp: idp.logout_token(exp=int(time.time()) - 61),
    "exp a text": token(exp="4102444800"),
    "exp infinite": with_claim("exp", "1e400"),
    "exp not a number": with_claim("exp", "NaN"),
    "exp huger": with_claim("exp", "9" * 5000),
    "iat missing": token(iat=MISSING),
    "iat ahead": lambda idp: idp.logout_token(iat=int(time.time()) + 65),
    "iat true": token(iat=True),
    "events missing": token(events=MISSING),
    "events empty": token(events={}),
    "events a list": token(events=[BACKCHANNEL]),
    "events another": token(events={SESSIONS_REVOKED: {}}),
    "event null": token(events={BACKCHANNEL: None}),
    "event a list": token(events={BACKCHANNEL: []}),
    "sub and sid missing": token(sub=MISSING, sid=MISSING),
    "sub and sid null": token(sub=None, sid=None),
    "sid a number": token(sid=1),
    "sid a list": token(sid=["sid-1"]),
    "sid with NUL": token(sid="sid-1\x00"),
    "sid a surrogate": with_claim("sid", r'"\ud800"'),
    "sid too long": token(sid="x" * 256),
    "sub with NUL": token(sub="sub-1\x00", sid=MISSING),
    "sub a number": token(sub=1),
    "nonce": token(nonce="n"),
    "nonce null": token(nonce=None),
    "jti missing": token(jti=MISSING),
    "jti empty": token(jti=""),
    "jti a number": token(jti=1),
    "jti a surrogate": with_claim("jti", r'"\udfff"'),
    "a payload that is no object": raw_payload("[]"),
    "a payload that is no JSON": raw_payload("{"),
    "a payload nested by the thousand": raw_payload("[" * 9000),
    "an ID token": lambda idp: idp.tokens(idp.codes.setdefault("c", idp.claims) and "c")[
        "id_token"
    ],
    "a security event": lambda idp: idp.event_token(SESSIONS_REVOKED),
    "nothing": lambda idp: "",
    "three dots": lambda idp: "...",
    "a NUL": lambda idp: "%00",
    "no ASCII": lambda idp: "\xe4.\xf6.\xfc",
    "too long": token(padding="x" * 20_000),
    "JSON serialization": lambda idp: json.dumps(
        dict(zip(("protected", "payload", "signature"), idp.logout_token().split("."), strict=True))
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_token_that_breaks_a_rule_is_400_and_ends_nothing(idp, came_by, clock, name, caplog):
    kept = came_by()
    raw = BAD[name](idp)
    assert_refused(send(raw))
    # The log says why, and never a token.
    assert "provider_call_refused provider=idp reason=" in caplog.text
    assert len(raw) < 50 or raw not in caplog.text
    assert_alive(kept)
    # Nothing was used up either.
    assert not ExpiringMark.objects.exists()
    assert not {path for path in idp.asked if path not in WELL_KNOWN}


@pytest.mark.parametrize("length", ["65537", "9" * 5000])
def test_a_body_that_says_it_is_too_long_is_400_and_is_not_read(idp, length):
    assert_refused(send(idp.logout_token(), CONTENT_LENGTH=length))
    assert idp.asked == []


WELL_KNOWN = {"/.well-known/openid-configuration", "/jwks"}


def only_key(idp):
    idp.keys = [jwk_of(idp.signing, "key-1", use=MISSING)]
    del idp.keys[0]["use"]
    return idp.logout_token(header={"kid": MISSING})


GOOD = {
    "as it is": token(),
    "typ as a media type": header(typ="application/logout+jwt"),
    "typ in capitals": header(typ="LOGOUT+JWT"),
    "RS256": lambda idp: idp.logout_token(key=RSA_KEY, header={"kid": "key-rsa"}),
    "an audience of several": token(aud=["their-client", CLIENT_ID]),
    "several events": token(events={BACKCHANNEL: {"x": 1}, "urn:other": {}}),
    "no kid and one key": only_key,
    "a clock ahead of ours": lambda idp: idp.logout_token(iat=int(time.time()) + 50),
    "a clock behind ours": lambda idp: idp.logout_token(exp=int(time.time()) - 50),
    "without the sub": token(sub=MISSING),
    "without the sid": token(sid=MISSING),
    "a sub that is null": token(sub=None),
    "iat with a fraction": lambda idp: idp.logout_token(iat=time.time()),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_token_that_keeps_the_rules_ends_its_logins(idp, came_by, clock, name):
    """Each rule of the table above refuses what it says, because this one is accepted."""
    ended = came_by(), came_by("session")
    assert_done(send(GOOD[name](idp)))
    assert_ended(*ended)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"use": "enc"}, "invalid_key"),
        ({"alg": "ES384"}, "invalid_key"),
        ({"kty": "oct", "k": "AAAA"}, "invalid_key"),
        ({"x": "AAAA"}, "invalid_key"),
        ({"x": 5}, "invalid_key"),
        ({"crv": "P-999"}, "invalid_key"),
    ],
    ids=str,
)
def test_a_key_for_something_else_or_a_broken_one_verifies_nothing(idp, came_by, change, code):
    kept = came_by()
    idp.keys = [jwk_of(idp.signing, "key-1") | change]
    assert assert_refused(send(idp.logout_token())) == code
    assert_alive(kept)


def test_tokens_of_our_own_are_no_logout_tokens(idp, came_by):
    used = came_by()
    assert_refused(send(used.access))
    assert_refused(send(used.refresh_token))
    assert_alive(used)


def test_a_logout_token_is_no_credential_of_ours(idp, alice):
    raw = idp.logout_token()
    assert call_with(raw).status_code == 401
    assert refresh(raw).status_code == 401


# -- once ----------------------------------------------------------------------------------


def test_a_logout_token_counts_once(idp, came_by, clock):
    raw = idp.logout_token()
    assert_done(send(raw))
    later = came_by()
    assert_refused(send(raw))
    # Until it would be refused anyway, and its trace is pruned then.
    clock.shift(timedelta(seconds=179))
    assert_refused(send(raw))
    clock.shift(timedelta(seconds=2))
    assert_refused(send(raw))
    assert_alive(later)
    clock.shift(timedelta(days=7))
    registry.prune()
    assert not ExpiringMark.objects.exists()


@pytest.mark.servers
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_exactly_one_is_accepted(idp, came_by):
    used = came_by()
    raw, barrier = idp.logout_token(), threading.Barrier(8)

    def deliver(_number):
        barrier.wait(timeout=30)
        try:
            return send(raw).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(deliver, range(8))) == [200] + [400] * 7
    assert_ended(used)


def test_what_failed_may_be_sent_again(idp, came_by, monkeypatch):
    used = came_by()
    raw = idp.logout_token()
    with monkeypatch.context() as patched:
        patched.setattr(ending, "revoke_all", lambda *args, **kwargs: 1 / 0)
        assert send(raw).status_code == 500
    assert_done(send(raw))
    assert_ended(used)


@pytest.mark.parametrize("kind", ["logout", "event"])
def test_a_worker_that_is_told_to_exit_leaves_the_token_good(idp, came_by, monkeypatch, kind):
    used = came_by()
    raw = idp.logout_token() if kind == "logout" else idp.event_token(SESSIONS_REVOKED)
    deliver = send if kind == "logout" else send_event

    def killed(*args, **kwargs):
        raise SystemExit(1)  # as gunicorn's does

    with monkeypatch.context() as patched:
        patched.setattr(ending, "revoke_all", killed)
        with pytest.raises(SystemExit):
            deliver(raw)
    assert not ExpiringMark.objects.exists()
    assert deliver(raw).status_code in (200, 202)
    assert_ended(used)


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_many_logouts_of_one_user_at_once_are_no_500(idp, came_by):
    used = [came_by() for _ in range(4)]
    assert_done(send(idp.logout_token(sub="x", sid="x")))
    tokens, barrier = [idp.logout_token(sid=MISSING) for _ in range(160)], threading.Barrier(8)

    def deliver(number):
        barrier.wait(timeout=30)
        try:
            return [send(raw).status_code for raw in tokens[number::8]]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert {status for some in pool.map(deliver, range(8)) for status in some} == {200}
    assert_ended(*used)


def test_logins_end_under_atomic_requests(idp, transactional_db, atomic_requests, came_by):
    used = came_by()
    assert_done(send(idp.logout_token()))
    assert_ended(used)


# -- the provider's keys -------------------------------------------------------------------


def test_metadata_and_keys_are_fetched_once_for_many_calls(idp, came_by):
    for _ in range(5):
        assert_done(send(idp.logout_token()))
    assert sorted(idp.asked) == sorted(WELL_KNOWN)


def test_a_rotated_key_is_fetched_when_it_is_needed(idp, came_by, clock):
    assert_done(send(idp.logout_token()))
    clock.shift(timedelta(seconds=11))
    used = came_by()
    idp.signing, idp.kid = ec.generate_private_key(ec.SECP256R1()), "key-2"
    idp.keys = [jwk_of(idp.signing, "key-2")]
    assert_done(send(idp.logout_token()))
    assert_ended(used)
    assert idp.asked.count("/jwks") == 2


def test_unknown_keys_do_not_make_us_fetch_without_bound(idp, came_by, clock):
    used = came_by()
    for count in (1, 2):
        assert_refused(send(idp.logout_token(header={"kid": "key-9"})))
        for _ in range(10):
            assert_refused(send(idp.logout_token(header={"kid": "key-9"})), 503)
        assert idp.asked.count("/jwks") == count
        clock.shift(timedelta(seconds=11))
    assert_alive(used)


@pytest.mark.parametrize("kind", ["logout", "event"])
def test_a_rotated_key_is_not_refused_for_good_because_a_stranger_asked_first(
    idp, came_by, clock, kind
):
    assert_done(send(idp.logout_token(sub="x", sid="x")))
    clock.shift(timedelta(seconds=11))
    # An unknown key is searched for, and then not again for a while.
    assert_refused(send(idp.logout_token(header={"kid": "key-9"})))
    idp.signing, idp.kid = ec.generate_private_key(ec.SECP256R1()), "key-2"
    idp.keys = [jwk_of(idp.signing, "key-2")]
    used = came_by()
    raw = idp.logout_token() if kind == "logout" else idp.event_token(SESSIONS_REVOKED)
    deliver = send if kind == "logout" else send_event
    assert deliver(raw).status_code == 503
    clock.shift(timedelta(seconds=11))
    assert deliver(raw).status_code in (200, 202)
    assert_ended(used)


@pytest.mark.parametrize("answer", ['{"error": "maintenance"}', '{"keys": {}}', '{"keys": null}'])
def test_an_answer_without_keys_replaces_none(idp, came_by, clock, answer):
    used = came_by()
    idp.broken["/jwks"] = (200, answer)
    raw = idp.logout_token()
    assert_refused(send(raw), 503)
    del idp.broken["/jwks"]
    clock.shift(timedelta(seconds=11))
    assert_done(send(raw))
    assert_ended(used)
    clock.shift(timedelta(seconds=11))
    idp.broken["/jwks"] = (200, answer)
    assert_refused(send(idp.logout_token(header={"kid": "key-9"})), 503)
    assert_done(send(idp.logout_token()))


def test_without_the_cache_a_call_is_503_and_may_be_sent_again(idp, came_by, settings):
    used, raw, caches = came_by(), idp.logout_token(), settings.CACHES
    settings.CACHES = UNREACHABLE
    assert_refused(send(raw), 503)
    assert send_event(idp.event_token(SESSIONS_REVOKED)).status_code == 503
    settings.CACHES = caches
    assert_alive(used)
    assert_done(send(raw))
    assert_ended(used)


def test_a_withdrawn_key_is_believed_for_five_minutes_at_most(idp, came_by, clock):
    assert_done(send(idp.logout_token()))
    idp.keys = [jwk_of(ec.generate_private_key(ec.SECP256R1()), "key-2")]
    clock.shift(timedelta(seconds=299))
    assert_done(send(idp.logout_token()))
    clock.shift(timedelta(seconds=2))
    assert_refused(send(idp.logout_token()))


@pytest.mark.parametrize("name", ["typ JWT", "alg none", "aud another client", "nonce", "exp past"])
def test_what_is_wrong_at_first_sight_makes_us_fetch_nothing(idp, db, name):
    assert_refused(send(BAD[name](idp)))
    assert idp.asked == []


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/jwks"])
@pytest.mark.parametrize(
    "answer", [(500, "{}"), (404, ""), (200, "<html>"), (200, "[]"), (200, "[" * 9000)], ids=repr
)
def test_a_provider_that_is_down_is_503_and_ends_nothing(idp, came_by, clock, path, answer):
    used = came_by()
    idp.broken[path] = answer
    raw = idp.logout_token()
    for _ in range(3):
        assert assert_refused(send(raw), 503) == "provider_unavailable"
    # Once: strangers do not keep our processes waiting for it.
    assert idp.asked.count(path) == 1
    assert_alive(used)
    idp.broken.clear()
    clock.shift(timedelta(seconds=11))
    assert_done(send(raw))
    assert_ended(used)


def test_a_provider_that_cannot_be_connected_to_is_503(idp, settings, came_by):
    used = came_by()
    made = app(idp, server_url="http://127.0.0.1:9")
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [made]}}
    assert_refused(send(idp.logout_token(iss="http://127.0.0.1:9")), 503)
    assert_alive(used)


def test_an_incomplete_discovery_document_is_503(idp, came_by):
    idp.metadata["jwks_uri"] = None
    assert_refused(send(idp.logout_token()), 503)


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/jwks"])
@pytest.mark.parametrize("trouble", ["long", "slow", "slow headers", "redirect", "slow redirect"])
def test_an_answer_that_has_no_end_is_503_in_bounded_time(idp, came_by, monkeypatch, path, trouble):
    monkeypatch.setattr(provider_session, "MAX_SECONDS", 0.5)
    used = came_by()
    good = json.dumps(idp.configuration() if "well" in path else {"keys": idp.keys})
    elsewhere = f"{idp.url}/elsewhere?{'x' * 100}"
    # Each of the slow ones takes at least 10 seconds.
    idp.broken[path] = {
        "long": (200, good + " " * provider_session.MAX_LENGTH),
        "slow": (200, Slowly(good + " " * 100)),
        "slow headers": (200, Slowly(good + " " * 100, headers=True)),
        "redirect": (307, elsewhere),
        "slow redirect": (307, Slowly(elsewhere)),
    }[trouble]
    began = time.monotonic()
    assert_refused(send(idp.logout_token()), 503)
    assert time.monotonic() - began < 9
    assert "/elsewhere" not in idp.asked
    assert_alive(used)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kid", ["key-1", "key-9"])
def test_many_forged_tokens_at_once_fetch_each_address_once_and_do_not_wait_for_it(
    idp, came_by, monkeypatch, kid
):
    used = came_by()
    released = threading.Event()
    asked = idp.configuration

    def slowly():
        released.wait(PATIENCE)
        return asked()

    monkeypatch.setattr(idp, "configuration", slowly)
    monkeypatch.setattr(provider_session, "MAX_SECONDS", PATIENCE)
    key = ec.generate_private_key(ec.SECP256R1())
    tokens = [idp.logout_token(key=key, header={"kid": kid}) for _ in range(20)]
    answered = []

    def deliver(raw):
        try:
            answered.append(send(raw).status_code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=deliver, args=[raw]) for raw in tokens]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PATIENCE / 2
    while len(answered) < 19 and time.monotonic() < deadline:
        time.sleep(0.05)
    # The one that fetches is the only one that the provider holds.
    before = list(answered)
    released.set()
    for thread in threads:
        thread.join()
    assert before == [503] * 19
    assert set(answered) <= {400, 503}
    assert sorted(idp.asked) == sorted(WELL_KNOWN)
    assert_alive(used)


def test_a_call_that_comes_while_another_fetches_waits_a_moment_for_it(idp, came_by, monkeypatch):
    used, asked, wait = came_by(), idp.configuration, issuers._await
    fetching, waiting = threading.Event(), threading.Event()

    def slowly():
        fetching.set()
        assert waiting.wait(PATIENCE)
        return asked()

    def noted_wait(*args):
        waiting.set()
        return wait(*args)

    monkeypatch.setattr(idp, "configuration", slowly)
    monkeypatch.setattr(issuers, "_await", noted_wait)
    monkeypatch.setattr(issuers, "PATIENCE", PATIENCE)
    monkeypatch.setattr(provider_session, "MAX_SECONDS", PATIENCE)
    document = issuers.Document("idp", CLIENT_ID, f"{idp.url}/.well-known/openid-configuration")
    thread = threading.Thread(target=issuers._fetch, args=[document])
    thread.start()
    assert fetching.wait(PATIENCE)
    assert_done(send(idp.logout_token()))
    thread.join()
    assert idp.asked.count("/.well-known/openid-configuration") == 1
    assert_ended(used)


@pytest.mark.parametrize("kind", ["logout", "event"])
def test_a_token_that_ends_a_login_is_never_refused_by_a_count(idp, came_by, settings, kind):
    settings.REST_FRAMEWORK = {
        **settings.REST_FRAMEWORK,
        "DEFAULT_THROTTLE_RATES": {"authmodes_upstream": "2/min"},
    }
    deliver, make = {
        "logout": (send, idp.logout_token),
        "event": (send_event, lambda **changed: idp.event_token(SESSIONS_REVOKED, **changed)),
    }[kind]
    forged = make(key=ec.generate_private_key(ec.SECP256R1()))
    assert [deliver(forged).status_code for _ in range(4)] == [400, 400, 429, 429]
    used, raw = came_by(), make()
    assert deliver(raw).status_code in (200, 202)
    assert_ended(used)
    # The same again ends nothing.
    assert deliver(raw).status_code == 429
    assert deliver("nonsense").status_code == 429
    if kind == "event":
        assert send_event(idp.event_token(f"{RISC}verification", {"state": "s"})).status_code == 429


@pytest.mark.parametrize("kind", ["logout", "event"])
def test_a_foreign_issuer_makes_us_fetch_nothing(idp, db, kind):
    if kind == "logout":
        assert (
            assert_refused(send(idp.logout_token(iss="https://evil.example"))) == "invalid_issuer"
        )
    else:
        raw = idp.event_token(SESSIONS_REVOKED, iss="https://evil.example/")
        assert_event_refused(send_event(raw), "invalid_issuer")
    assert idp.asked == []


def test_metadata_that_names_a_different_issuer_is_503(idp, settings, came_by, clock):
    """OpenID Connect Discovery, 4.3."""
    used = came_by()
    idp.issuer = "https://evil.example"
    for iss in (idp.url, idp.issuer):
        assert send(idp.logout_token(iss=iss)).status_code in (400, 503)
    assert_alive(used)
    # The project may know better, as where the provider has an address of its own inside.
    made = app(idp, openid_configuration_overrides={"issuer": idp.issuer})
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [made]}}
    assert_done(send(idp.logout_token()))
    assert_ended(used)


def test_the_keys_of_one_provider_do_not_mark_the_metadata_of_another_as_down(
    idp, settings, came_by
):
    """A provider says itself where its keys are, and may name an address of another one."""
    used = came_by()
    with serve(OidcProvider) as evil:
        evil.metadata["jwks_uri"] = f"{idp.url}/.well-known/openid-configuration"
        other = {**app(evil), "provider_id": "evil"}
        settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app(idp), other]}}
        assert_refused(send(evil.logout_token(), "/auth/upstream/logout/evil/"), 503)
    assert_done(send(idp.logout_token()))
    assert_ended(used)


def test_one_jti_may_be_sent_to_each_client_of_an_issuer(idp, settings, came_by):
    other = {**app(idp), "provider_id": "idp2", "client_id": "two"}
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app(idp), other]}}
    ours, theirs = came_by(), came_by(provider="idp2")
    assert_done(send(idp.logout_token(jti="j", aud="two"), "/auth/upstream/logout/idp2/"))
    assert_ended(theirs)
    assert_done(send(idp.logout_token(jti="j")))
    assert_ended(ours)


# -- the endpoint --------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["get", "put", "delete"])
@pytest.mark.parametrize("path", [LOGOUT, EVENTS])
def test_other_methods_are_405(idp, db, method, path):
    response = getattr(Client(), method)(path)
    assert response.status_code == 405
    assert response["Cache-Control"] == "no-store"


@pytest.mark.parametrize("name", ["nobody", "dummy", "openid_connect", "idp%00"])
@pytest.mark.parametrize("kind", ["logout", "events"])
def test_a_provider_that_is_unknown_or_sends_no_such_thing_is_404(idp, db, name, kind):
    response = send(idp.logout_token(), f"/auth/upstream/{kind}/{name}/")
    assert response.status_code in (404, 415)
    if kind == "logout":
        assert_refused(response, 404)
    assert idp.asked == []


@pytest.mark.parametrize(
    ("body", "content_type", "statuses"),
    [
        (b"", "application/x-www-form-urlencoded", {400}),
        (b"logout_token", "application/x-www-form-urlencoded", {400}),
        (b"logout_token=\xff\xfe", "application/x-www-form-urlencoded", {400}),
        (b"logout_token=" + b"x" * 1_000_000, "application/x-www-form-urlencoded", {400}),
        (b"logout_token=" + b"x" * 5_000_000, "application/x-www-form-urlencoded", {400}),
        (b"&a=" * 2000, "application/x-www-form-urlencoded", {400}),
        (b"x=1", "application/x-www-form-urlencoded; charset=utf-7", {400}),
        (b'{"logout_token": "x"}', "application/json", {415}),
        (b"x", "text/plain", {415}),
        (b"x", "multipart/form-data; boundary=x", {415}),
        (b"x", "application/jwt", {415}),
        (b"x", "", {415}),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_another_body_than_a_form_is_4xx(idp, came_by, body, content_type, statuses):
    used = came_by()
    client = Client(raise_request_exception=False)
    response = client.generic("POST", LOGOUT, body, content_type)
    assert response.status_code in statuses
    assert_refused(response, response.status_code)
    assert_alive(used)


def test_a_json_body_with_a_good_token_ends_nothing(idp, came_by):
    used = came_by()
    assert_refused(post_json(LOGOUT, {"logout_token": idp.logout_token()}), 415)
    assert_alive(used)


def test_the_token_is_not_read_from_the_query(idp, came_by):
    used = came_by()
    assert_refused(Client().post(f"{LOGOUT}?logout_token={idp.logout_token()}"), 415)
    assert_refused(send("", f"{LOGOUT}?logout_token={idp.logout_token()}"))
    assert_alive(used)


@pytest.mark.parametrize("accept", ["text/html", "text/plain", "nonsense", "*/*;q=0"])
def test_what_the_provider_accepts_does_not_matter(idp, came_by, accept):
    used = came_by()
    raw = idp.logout_token()
    assert_done(send(raw, HTTP_ACCEPT=accept))
    assert_refused(send(raw, HTTP_ACCEPT=accept))
    assert_ended(used)


def test_whose_cookie_comes_along_does_not_matter(idp, came_by, login, bob):
    used, other = came_by("session"), login("session", bob)
    body = f"logout_token={idp.logout_token()}"
    # Without a CSRF token, and with a dead credential.
    form = "application/x-www-form-urlencoded"
    response = other.browser.generic("POST", LOGOUT, body, form, HTTP_AUTHORIZATION="Bearer x")
    assert_done(response)
    assert not response.cookies
    assert_ended(used)
    assert_alive(other)


def test_strangers_do_not_use_up_the_providers_calls(idp, came_by, monkeypatch):
    used = came_by()
    # What DEFAULT_THROTTLE_CLASSES does, which DRF reads at import.
    classes = [throttling.AnonRateThrottle]
    monkeypatch.setattr("rest_framework.views.APIView.throttle_classes", classes)
    monkeypatch.setattr(throttling.AnonRateThrottle, "THROTTLE_RATES", {"anon": "5/min"})
    for _ in range(6):
        # The stranger only claims to be the provider.
        send("x", HTTP_X_FORWARDED_FOR="192.0.2.7", REMOTE_ADDR="198.51.100.9")
    assert_done(send(idp.logout_token(), REMOTE_ADDR="192.0.2.7"))
    assert_ended(used)


# -- signing out here and there ------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ["https://[idp", "https://[::1"])
def test_an_endpoint_that_is_no_url_does_not_break_the_logout(idp, came_by, mode, endpoint):
    idp.metadata["end_session_endpoint"] = endpoint
    used = came_by(mode)
    assert upstream_url(sign_out(used, upstream=True)) is None
    assert used.row.end_reason == "logout"


def test_a_dead_refresh_token_learns_nothing_of_the_providers_session(idp, came_by):
    used = came_by("jwt")
    raw = used.refresh_token
    used.logout()
    again = post_json("/auth/logout/", {"refresh": raw, "upstream": True})
    assert upstream_url(again) is None


def test_a_cache_that_is_away_does_not_break_a_logout(idp, came_by, settings):
    used = came_by("jwt")
    settings.CACHES = UNREACHABLE
    assert upstream_url(sign_out(used, upstream=True)) is None
    assert used.row.end_reason == "logout"


def sign_out(used, how="credential", **body):
    if how == "refresh":
        return post_json("/auth/logout/", {"refresh": used.refresh_token, **body})
    return used.post("/auth/logout/", body)


def upstream_url(response):
    assert response.status_code == 200, response.content
    assert response["Cache-Control"] == "no-store"
    url = response.json()["upstream_logout_url"]
    return url and (url.partition("?")[0], parse_qs(urlsplit(url).query))


@pytest.mark.parametrize(
    ("mode", "how"), [("session", "credential"), ("jwt", "credential"), ("jwt", "refresh")]
)
def test_a_logout_says_where_to_sign_out_at_the_provider(idp, came_by, mode, how):
    used = came_by(mode)
    asked = {"upstream": True, "post_logout_redirect_uri": NEXT, "state": "a b&c=ü"}
    endpoint, query = upstream_url(sign_out(used, how, **asked))
    assert endpoint == f"{idp.url}/end"
    assert query == {
        "client_id": [CLIENT_ID],
        "post_logout_redirect_uri": [NEXT],
        "state": ["a b&c=ü"],
        "logout_hint": ["sid-1"],
    }
    assert_ended(used, reason="logout")


def test_a_logout_from_token_cookies_says_so_too(idp, alice_at_idp, settings):
    settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"
    browser = Browser()
    body = {"username": "alice", "password": PASSWORD, "mode": "jwt"}
    assert browser.send_json("/auth/login/", body).status_code == 200
    LoginSession.objects.update(provider="idp", provider_uid="sub-1")
    response = browser.send_json("/auth/logout/", {"upstream": True})
    assert upstream_url(response) == (f"{idp.url}/end", {"client_id": [CLIENT_ID]})
    assert response.cookies["__Host-authmodes_access"].value == ""
    assert LoginSession.objects.get().end_reason == "logout"


@pytest.mark.parametrize("body", [{}, {"upstream": False}, {"upstream": "no"}, {"upstream": []}])
def test_whoever_does_not_ask_is_answered_as_before(idp, came_by, mode, body):
    used = came_by(mode)
    response = sign_out(used, **body)
    assert (response.status_code, response.content) == (204, b"")
    assert_ended(used, reason="logout")
    assert idp.asked == []


def no_endpoint(idp):
    idp.metadata["end_session_endpoint"] = None


def strange_endpoint(idp):
    idp.metadata["end_session_endpoint"] = "javascript:alert(1)"


def down(idp):
    idp.broken["/.well-known/openid-configuration"] = (500, "")


@pytest.mark.parametrize("trouble", [no_endpoint, strange_endpoint, down])
def test_a_logout_here_never_depends_on_the_provider(idp, came_by, mode, trouble):
    trouble(idp)
    used = came_by(mode)
    assert upstream_url(sign_out(used, upstream=True)) is None
    assert_ended(used, reason="logout")


def test_a_login_from_nowhere_or_from_elsewhere_has_no_upstream(idp, came_by, login):
    for used in (login("jwt"), came_by(provider="dummy"), came_by(provider="gone")):
        assert upstream_url(sign_out(used, upstream=True)) is None
        assert_ended(used, reason="logout")
    assert upstream_url(post_json("/auth/logout/", {"upstream": True})) is None
    assert post_json("/auth/logout/", {"upstream": True, "refresh": "x"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"post_logout_redirect_uri": f"{NEXT}/"}, "invalid_post_logout_redirect_uri"),
        ({"post_logout_redirect_uri": "https://evil.example"}, "invalid_post_logout_redirect_uri"),
        ({"post_logout_redirect_uri": [NEXT]}, "invalid_post_logout_redirect_uri"),
        ({"post_logout_redirect_uri": {"x": 1}}, "invalid_post_logout_redirect_uri"),
        ({"state": "x" * 1025}, "invalid_state"),
        ({"state": ["x"]}, "invalid_state"),
    ],
    ids=str,
)
def test_a_way_back_that_is_not_listed_is_refused_after_the_logout(idp, came_by, mode, body, code):
    used = came_by(mode)
    response = sign_out(used, upstream=True, **body)
    assert response.status_code == 400
    assert response.json()["code"] == code
    assert_ended(used, reason="logout")


def test_an_endpoint_with_a_query_keeps_it(idp, came_by):
    idp.metadata["end_session_endpoint"] = f"{idp.url}/end?tenant=1"
    _, query = upstream_url(sign_out(came_by(), upstream=True))
    assert query == {"tenant": ["1"], "client_id": [CLIENT_ID], "logout_hint": ["sid-1"]}


# -- security events -----------------------------------------------------------------------


def assert_event_refused(response, err="invalid_request", status=400):
    assert response.status_code == status, response.content
    assert response["Cache-Control"] == "no-store"
    answer = response.json()
    assert answer["err"] == err
    assert answer["description"] == answer["detail"]


def assert_accepted(response):
    assert (response.status_code, response.content) == (202, b"")
    assert response["Cache-Control"] == "no-store"


EVERYTHING = {"by the account", "elsewhere", "password"}
OF_ACCOUNT = {"by the account", "elsewhere"}


@pytest.mark.parametrize(
    ("kind", "event", "ended"),
    [
        (SESSIONS_REVOKED, {}, EVERYTHING),
        (TOKENS_REVOKED, {}, EVERYTHING),
        (f"{RISC}account-disabled", {"reason": "hijacking"}, EVERYTHING),
        (f"{RISC}account-disabled", {"reason": "bulk-account"}, OF_ACCOUNT),
        (f"{RISC}account-disabled", {}, OF_ACCOUNT),
        (f"{RISC}account-credential-change-required", {}, OF_ACCOUNT),
        (f"{RISC}account-purged", {}, OF_ACCOUNT),
        ("https://schemas.openid.net/secevent/caep/event-type/session-revoked", {}, OF_ACCOUNT),
        (f"{RISC}account-enabled", {}, set()),
        ("https://schemas.openid.net/secevent/oauth/event-type/token-revoked", {}, set()),
        (f"{RISC}verification", {"state": "x"}, set()),
        ("urn:unknown", {}, set()),
    ],
)
def test_an_event_ends_what_it_is_about(idp, came_by, login, bob, kind, event, ended):
    logins = {
        "by the account": came_by(),
        "elsewhere": came_by("session", sid=""),
        "password": login("session"),
        "bob": came_by(uid="sub-2", user=bob),
    }
    AuthorizationCode.objects.create(
        user=bob, provider="idp", provider_uid="sub-1", expires_at=logins["bob"].row.expires_at
    )
    assert_accepted(send_event(idp.event_token(kind, event)))
    for name, one in logins.items():
        (assert_ended if name in ended else assert_alive)(one)
    assert AuthorizationCode.objects.exists() == (not ended)


def test_an_event_about_a_stranger_ends_nothing(idp, came_by):
    used = came_by()
    stranger = {"subject_type": "iss-sub", "iss": f"{idp.url}/", "sub": "sub-9"}
    assert_accepted(send_event(idp.event_token(SESSIONS_REVOKED, subject=stranger)))
    assert_alive(used)


@pytest.mark.parametrize(
    "subject",
    [
        {"subject_type": "iss-sub"},
        {"subject_type": "iss_sub"},
        {"format": "iss_sub"},
        {"subject_type": "id_token_claims", "email": "alice@example.com"},
    ],
    ids=str,
)
@pytest.mark.parametrize("slash", ["/", ""])
def test_a_subject_may_be_written_in_several_ways(idp, came_by, subject, slash):
    used = came_by()
    subject = {**subject, "iss": f"{idp.url}{slash}", "sub": "sub-1"}
    assert_accepted(send_event(idp.event_token(SESSIONS_REVOKED, subject=subject)))
    assert_ended(used)


def test_a_subject_may_stand_beside_the_events(idp, came_by):
    used = came_by()
    subject = {"format": "iss_sub", "iss": f"{idp.url}/", "sub": "sub-1"}
    events = {SESSIONS_REVOKED: {}}
    assert_accepted(send_event(idp.event_token(events=events, sub_id=subject)))
    assert_ended(used)


def event(**changed):
    return lambda idp: idp.event_token(SESSIONS_REVOKED, **changed)


def about(**changed):
    def make(idp):
        subject = {"subject_type": "iss-sub", "iss": f"{idp.url}/", "sub": "sub-1", **changed}
        return idp.event_token(SESSIONS_REVOKED, subject=subject)

    return make


BAD_EVENTS = {
    "typ logout+jwt": (event(header={"typ": "logout+jwt"}), "invalid_request"),
    "typ at+jwt": (event(header={"typ": "at+jwt"}), "invalid_request"),
    "crit": (event(header={"crit": ["b64"], "b64": True}), "invalid_request"),
    "alg none": (
        lambda idp: f"{unsigned({'alg': 'none'}, {'aud': CLIENT_ID})}.AAAA",
        "invalid_key",
    ),
    "HS256 with our secret": (
        lambda idp: jwt.encode({"aud": CLIENT_ID}, CLIENT_SECRET, "HS256"),
        "invalid_key",
    ),
    "another key": (event(key=ec.generate_private_key(ec.SECP256R1())), "invalid_key"),
    "unknown kid": (event(header={"kid": "key-9"}), "invalid_key"),
    "iss another": (event(iss="https://evil.example/"), "invalid_issuer"),
    "iss without its slash": (lambda idp: event(iss=idp.url)(idp), "invalid_issuer"),
    "iss missing": (event(iss=MISSING), "invalid_issuer"),
    "aud another": (event(aud="their-client"), "invalid_audience"),
    "aud missing": (event(aud=MISSING), "invalid_audience"),
    "iat missing": (event(iat=MISSING), "invalid_request"),
    "iat ahead": (lambda idp: event(iat=int(time.time()) + 65)(idp), "invalid_request"),
    "iat too old": (lambda idp: event(iat=int(time.time()) - 604_801)(idp), "invalid_request"),
    "jti missing": (event(jti=MISSING), "invalid_request"),
    "exp past": (lambda idp: event(exp=int(time.time()) - 61)(idp), "invalid_request"),
    "exp a text": (event(exp="4102444800"), "invalid_request"),
    "nonce": (event(nonce="n"), "invalid_request"),
    "jti with NUL": (event(jti="a\x00b"), "invalid_request"),
    "events missing": (event(events=MISSING), "invalid_request"),
    "events empty": (event(events={}), "invalid_request"),
    "events a list": (event(events=[SESSIONS_REVOKED]), "invalid_request"),
    "event null": (event(events={SESSIONS_REVOKED: None}), "invalid_request"),
    "subject missing": (event(events={SESSIONS_REVOKED: {}}), "invalid_request"),
    "subject a text": (event(subject="sub-1"), "invalid_request"),
    "subject of another kind": (about(subject_type="email"), "invalid_request"),
    "subject of a strange kind": (about(subject_type=["iss-sub"]), "invalid_request"),
    "subject of another issuer": (about(iss="https://evil.example"), "invalid_issuer"),
    "subject without issuer": (about(iss=None), "invalid_issuer"),
    "sub missing": (about(sub=None), "invalid_request"),
    "sub a number": (about(sub=1), "invalid_request"),
    "sub with NUL": (about(sub="sub-1\x00"), "invalid_request"),
    "an ID token": (
        lambda idp: idp.tokens(idp.codes.setdefault("c", idp.claims) and "c")["id_token"],
        "invalid_request",
    ),
    "nothing": (lambda idp: "", "invalid_request"),
    "a NUL": (lambda idp: "\x00", "invalid_request"),
    "no ASCII": (lambda idp: "ä.ö.ü", "invalid_request"),
    "1 MB": (lambda idp: "x" * 1_000_000, "invalid_request"),
}


@pytest.mark.parametrize("name", BAD_EVENTS)
def test_an_event_that_breaks_a_rule_is_400_and_ends_nothing(idp, came_by, clock, name):
    used = came_by()
    make, err = BAD_EVENTS[name]
    assert_event_refused(send_event(make(idp)), err)
    assert_alive(used)
    assert not ExpiringMark.objects.exists()


@pytest.mark.parametrize("typ", [MISSING, "JWT", "secevent+jwt", "application/secevent+jwt"])
def test_an_event_may_have_these_types(idp, came_by, typ):
    used = came_by()
    assert_accepted(send_event(idp.event_token(SESSIONS_REVOKED, header={"typ": typ})))
    assert_ended(used)


def test_an_event_counts_once(idp, came_by, clock):
    raw = idp.event_token(SESSIONS_REVOKED)
    assert_accepted(send_event(raw))
    # Until it would be refused anyway.
    for wait in (timedelta(0), timedelta(days=6, hours=23), timedelta(hours=2)):
        clock.shift(wait)
        registry.prune()
        used = came_by("session")
        assert_event_refused(send_event(raw))
        assert_alive(used)


@pytest.mark.parametrize("path", ["/.well-known/risc-configuration", "/jwks"])
def test_a_transmitter_that_is_down_is_503_and_ends_nothing(idp, came_by, path):
    used = came_by()
    idp.broken[path] = (500, "")
    response = send_event(idp.event_token(SESSIONS_REVOKED))
    assert_event_refused(response, status=503)
    assert response.json()["code"] == "provider_unavailable"
    assert_alive(used)


@pytest.mark.parametrize("content_type", ["application/json", "application/jwt", "", "text/plain"])
def test_an_event_of_another_content_type_is_415(idp, came_by, content_type):
    used = came_by()
    response = send_event(idp.event_token(SESSIONS_REVOKED), content_type=content_type)
    assert_event_refused(response, status=415)
    assert_alive(used)


def test_a_login_that_waits_for_its_second_factor_ends_by_an_event(idp, alice_at_idp):
    code = totp_of(alice_at_idp)
    browser = Browser()
    stopped = authorize(idp, browser, "/auth/social/idp/start/?mode=session")
    assert_accepted(send_event(idp.event_token(SESSIONS_REVOKED)))
    assert browser.submit(stopped.url, {"code": code()}).status_code == 403
    assert not LoginSession.objects.exists()


def test_a_verification_event_is_logged(idp, db, caplog):
    caplog.set_level("INFO", "authmodes")
    assert_accepted(send_event(idp.event_token(f"{RISC}verification", {"state": "s"})))
    assert "security_event_verified provider=idp" in caplog.text


@pytest.fixture
def google(idp, settings, monkeypatch):
    """allauth's own Google provider, with its transmitter at an address of ours."""
    from allauth.socialaccount.providers import registry as providers
    from allauth.socialaccount.providers.google.provider import GoogleProvider

    providers.load()
    monkeypatch.setitem(providers.provider_map, GoogleProvider.id, GoogleProvider)
    risc = f"{idp.url}/.well-known/risc-configuration"
    apps = [
        {"client_id": "web-client", "secret": "x", "settings": {"risc_configuration_url": risc}},
        {"client_id": CLIENT_ID, "secret": "x", "settings": {"risc_configuration_url": risc}},
    ]
    settings.SOCIALACCOUNT_PROVIDERS = {"google": {"APPS": apps}}
    return apps


@pytest.mark.parametrize("audience", [CLIENT_ID, "web-client", ["x", "web-client"]])
def test_google_sends_events_to_any_of_its_clients(google, idp, came_by, audience):
    used = came_by(provider="google", sid="")
    path = "/auth/upstream/events/google/"
    assert_event_refused(
        send_event(idp.event_token(SESSIONS_REVOKED, aud="x"), path), "invalid_audience"
    )
    assert_accepted(send_event(idp.event_token(SESSIONS_REVOKED, aud=audience), path))
    assert_ended(used)


def test_google_is_asked_where_it_says_and_sends_no_logout_tokens(google, idp, db, monkeypatch):
    asked = []

    class Session(requests.Session):
        def get(self, url, **options):
            asked.append(url)
            raise requests.ConnectionError

    for made in google:
        made["settings"].clear()
    monkeypatch.setattr(DefaultSocialAccountAdapter, "get_requests_session", lambda _: Session())
    path = "/auth/upstream/events/google/"
    iss = "https://accounts.google.com/"
    subject = {"subject_type": "iss-sub", "iss": iss, "sub": "sub-1"}
    raw = idp.event_token(SESSIONS_REVOKED, iss=iss, subject=subject)
    assert_event_refused(send_event(raw, path), status=503)
    assert asked == ["https://accounts.google.com/.well-known/risc-configuration"]
    assert_refused(send(idp.logout_token(), "/auth/upstream/logout/google/"), 404)


def test_a_provider_without_an_address_for_events_has_none(idp, settings, db):
    made = app(idp)
    del made["settings"]["risc_configuration_url"]
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [made]}}
    assert_event_refused(send_event(idp.event_token(SESSIONS_REVOKED)), status=404)
    assert idp.asked == []
