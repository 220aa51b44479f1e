"""Wrong passwords are counted by account, and take the same time whatever was named."""

import re

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core import mail
from django.db import connection
from django.test import override_settings

from .support.browser import Browser
from .support.logins import PASSWORD, post_json

User = get_user_model()
WRONG = "not the password at all"
LIMITED = override_settings(ACCOUNT_RATE_LIMITS={"login_failed": "3/m/key"})


@pytest.fixture
def hashed(monkeypatch):
    """Each password that is hashed."""
    made, encode = [], MD5PasswordHasher.encode

    def note(self, password, salt):
        made.append(password)
        return encode(self, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", note)
    return made


def rest(name, password, mode):
    field = "email" if "@" in name else "username"
    return post_json("/auth/login/", {field: name, "password": password, "mode": mode})


def simplejwt(name, password, mode):
    return post_json("/auth/token/", {"username": name, "password": password})


def headless(name, password, mode):
    field = "email" if "@" in name else "username"
    body = {field: name, "password": password, "mode": mode}
    return post_json("/_allauth/app/v1/auth/login", body)


ENTRY_POINTS = pytest.mark.parametrize("enter", [rest, simplejwt, headless])


@LIMITED
@ENTRY_POINTS
def test_every_name_of_an_account_has_the_same_count(enter, mode, alice):
    names = ["alice", "ALICE", "Alice@Example.com"]
    if connection.vendor == "mysql":
        names[1] = "álicé"
    for name in names:
        assert enter(name, WRONG, mode).status_code in (400, 401)
    # The right password is not even looked at.
    for name in ["alice", "alice@example.com", *names]:
        assert enter(name, PASSWORD, mode).status_code in (400, 429)


@LIMITED
def test_accounts_and_unknown_names_have_counts_of_their_own(mode, alice, bob):
    for name in ("alice", "alice@example.com", "ALICE", "unknown", "unknown", "unknown"):
        rest(name, WRONG, mode)
    assert rest("unknown", WRONG, mode).status_code == 429
    assert rest("bob", PASSWORD, mode).status_code == 200
    assert rest("someone@example.com", WRONG, mode).status_code == 401


@LIMITED
def test_a_page_of_allauths_counts_with_the_api(alice):
    browser = Browser()
    for name in ("alice", "ALICE", "alice@example.com"):
        browser.get("/accounts/login/")
        browser.submit("/accounts/login/", {"login": name, "password": WRONG})
    assert rest("alice", PASSWORD, "jwt").status_code == 429


@ENTRY_POINTS
@pytest.mark.parametrize("name", ["alice@example.com", "unknown@example.com"])
def test_an_address_costs_one_hash_whether_it_is_known_or_not(enter, name, mode, alice, hashed):
    hashed.clear()
    assert enter(name, WRONG, mode).status_code in (400, 401)
    assert hashed == [WRONG]


@pytest.mark.parametrize("verified", [False, True])
def test_an_address_that_is_also_the_user_name_costs_one_hash(verified, mode, db, hashed):
    user = User.objects.create_user("a@example.com", "a@example.com", PASSWORD)
    EmailAddress.objects.create(user=user, email=user.email, verified=verified, primary=True)
    hashed.clear()
    assert rest("a@example.com", WRONG, mode).status_code == 401
    assert hashed == [WRONG]
    assert rest("a@example.com", PASSWORD, mode).status_code == 200


@pytest.mark.parametrize("enter", [rest, simplejwt])
def test_a_user_name_that_is_the_address_of_a_different_user_still_signs_in(enter, mode, alice):
    User.objects.create_user("alice@example.com", "other@example.com", "another password")
    assert enter("alice@example.com", "another password", mode).status_code == 200
    assert enter("alice@example.com", PASSWORD, mode).status_code == 200


def test_without_allauths_backend_an_address_is_still_a_user_name(mode, db, settings):
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    User.objects.create_user("a@example.com", "a@example.com", PASSWORD)
    assert rest("a@example.com", PASSWORD, mode).status_code == 200


@LIMITED
def test_a_new_password_lifts_the_count_of_every_name(mode, alice):
    for _attempt in range(3):
        rest("alice", WRONG, mode)
    assert rest("alice@example.com", PASSWORD, mode).status_code == 429
    browser = Browser()
    browser.submit("/accounts/password/reset/", {"email": alice.email})
    (link,) = re.findall(r"/accounts/password/reset/key/\S+", mail.outbox[0].body)
    page = browser.get(link)
    browser.submit(page.url, {"password1": "a horse of iron", "password2": "a horse of iron"})
    assert rest("alice", "a horse of iron", mode).status_code == 200
