"""The authorization server metadata, and the check that clients find them (RFC 8414)."""

from urllib.parse import urlsplit

import jsonschema
import pytest
from django.core.checks import run_checks
from django.test import Client
from django.urls import include, path, resolve
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import patched_settings

from authmodes.management.commands.make_signing_key import make_key

from .urls import urlpatterns as project_urlpatterns

AT_ROOT = "/.well-known/oauth-authorization-server"
ISSUER = "https://id.example"
urlpatterns = [*project_urlpatterns, path("", include("authmodes.well_known"))]


class Nested:
    app_name = "api"
    urlpatterns = [path("sign-in/", include("authmodes.urls"))]


class Elsewhere:
    """Our URLs in the namespaces of others, and the metadata below the root."""

    urlpatterns = [
        path("api/", include(Nested, namespace="v1")),
        path("auth/", include("authmodes.well_known")),
    ]


class WithoutEndpoints:
    urlpatterns = [path("", include("authmodes.well_known"))]


pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db]


@pytest.fixture(autouse=True)
def issuer(settings):
    settings.SIMPLE_JWT = {"ISSUER": ISSUER, "AUDIENCE": "https://api.example"}


def get(at=AT_ROOT, **extra):
    return Client().get(at, **extra)


def test_the_metadata_say_what_a_client_needs():
    response = get(headers={"host": "localhost"})
    assert response.json() == {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/auth/authorize/",
        "token_endpoint": f"{ISSUER}/auth/token/",
        "revocation_endpoint": f"{ISSUER}/auth/token/revoke/",
        "introspection_endpoint": f"{ISSUER}/auth/token/introspect/",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "code_challenge_methods_supported": ["S256"],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "authorization_response_iss_parameter_supported": True,
        "token_endpoint_auth_methods_supported": [
            *("none", "client_secret_basic", "client_secret_post"),
        ],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "introspection_endpoint_auth_methods_supported": ["Bearer"],
    }
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "public, max-age=600"
    assert not response.cookies


def test_the_endpoints_are_there_and_the_keys_if_there_are_public_ones(settings):
    settings.AUTHMODES_SIGNING_KEYS = [{"kid": "k1", "algorithm": "ES256", **make_key("ES256")}]
    body = get().json()
    named = [value for name, value in body.items() if name.endswith(("_endpoint", "_uri"))]
    assert len(named) == 5
    assert all(resolve(urlsplit(url).path).app_names == ["authmodes"] for url in named)
    keys = Client().get(urlsplit(body["jwks_uri"]).path).json()["keys"]
    assert [key["kid"] for key in keys] == ["k1"]


def test_the_path_of_an_issuer_comes_behind(settings):
    settings.SIMPLE_JWT = {"ISSUER": f"{ISSUER}/tenants/one/"}
    body = get(f"{AT_ROOT}/tenants/one").json()
    assert body["issuer"] == f"{ISSUER}/tenants/one/"
    assert body["token_endpoint"] == f"{ISSUER}/auth/token/"
    for at in (AT_ROOT, f"{AT_ROOT}/tenants/two", f"{AT_ROOT}/tenants"):
        assert get(at).status_code == 404
    assert not problems()


@pytest.mark.parametrize(("name", "value"), [("SIMPLE_JWT", {}), ("AUTHMODES_MODE", "session")])
def test_without_an_issuer_and_without_tokens_there_are_none(settings, name, value):
    setattr(settings, name, value)
    refused = get()
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(("name", "value"), [("TOKEN_TRANSPORT", "cookie"), ("REDIRECT_URIS", [])])
def test_a_code_flow_that_no_client_can_use_is_not_offered(settings, name, value):
    setattr(settings, f"AUTHMODES_{name}", value)
    body = get().json()
    assert body["grant_types_supported"] == ["client_credentials"]
    assert body["response_types_supported"] == []
    assert "none" not in body["token_endpoint_auth_methods_supported"]


def test_the_endpoints_are_found_in_any_namespace(settings):
    settings.ROOT_URLCONF = Elsewhere
    body = get(f"/auth{AT_ROOT}").json()
    assert body["token_endpoint"] == f"{ISSUER}/api/sign-in/token/"


def problems():
    return [str(each.msg) for each in run_checks() if each.id == "authmodes.E013"]


@pytest.mark.parametrize(
    ("issuer", "is_wrong"),
    [
        (ISSUER, False),
        ("https://id.example/a/b", False),
        ("http://localhost:8000", False),
        (None, True),
        ("id.example", True),
        ("http://id.example", True),
        ("https://id.example?a=1", True),
        ("https://id.example#a", True),
    ],
)
def test_the_check_compares_the_metadata_with_the_issuer(settings, issuer, is_wrong):
    settings.SIMPLE_JWT = {"ISSUER": issuer}
    assert len(problems()) == is_wrong


def test_the_check_finds_metadata_that_are_not_at_the_root(settings):
    settings.ROOT_URLCONF = Elsewhere
    assert problems() == [f"The metadata of the issuer {ISSUER!r} are not served at {AT_ROOT}."]


def test_the_check_finds_metadata_without_endpoints(settings):
    settings.ROOT_URLCONF = WithoutEndpoints
    assert len(problems()) == 1


@pytest.mark.urls("tests.urls")
def test_the_check_asks_nothing_where_there_are_no_metadata(settings):
    settings.SIMPLE_JWT = {}
    assert not problems()


def test_the_openapi_document_describes_them():
    with patched_settings({"OAS_VERSION": "3.1.0"}):
        written = SchemaGenerator(patterns=urlpatterns).get_schema(request=None, public=True)
    operation = written["paths"][AT_ROOT]["get"]
    assert set(operation["responses"]) == {"200", "404"}
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(get().json(), {**schema, "components": written["components"]})
