"""The OpenAPI document has every endpoint of ours, and the answers are what it says."""

import re
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path
from urllib.parse import urlencode

import jsonschema
import pytest
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core.management import call_command
from django.test.utils import override_settings
from django.urls import path
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import patched_settings
from drf_spectacular.utils import extend_schema
from rest_framework.views import APIView

from authmodes import urls
from authmodes.api.openapi.schema import find_operation
from authmodes.api.views.base import AuthModesViewMixin
from authmodes.api.views.login import LoginView
from authmodes.machines import clients as machine_clients

from .support.browser import Browser
from .support.logins import PASSWORD, call_with, post_json, sign_in

ROOT = Path(__file__).parent.parent
# A page for people.
NOT_AN_API = {"session_manage"}


def document(**settings):
    with patched_settings({"OAS_VERSION": "3.1.0", **settings}):
        return SchemaGenerator().get_schema(request=None, public=True)


@cache
def default_document():
    """The one of the tests' settings, which is only read."""
    return document()


def operations_of(written):
    return {
        operation["operationId"]: operation
        for methods in written["paths"].values()
        for operation in methods.values()
    }


# -- all of it -----------------------------------------------------------------------------


# Writing and validating it takes a second, so each choice of a setting is met once.
@pytest.mark.parametrize(
    ("mode", "transport", "version"),
    [
        ("session", "body", "3.1.0"),
        ("jwt", "cookie", "3.1.0"),
        ("both", "body", "3.0.3"),
        ("both", "cookie", "3.1.0"),
    ],
)
def test_the_document_is_valid_and_written_without_a_warning(mode, transport, version, tmp_path):
    file = str(tmp_path / "schema.yaml")
    with (
        override_settings(AUTHMODES_MODE=mode, AUTHMODES_TOKEN_TRANSPORT=transport),
        patched_settings({"OAS_VERSION": version}),
    ):
        call_command("spectacular", validate=True, fail_on_warn=True, file=file)
    assert "authmodes_login" in Path(file).read_text()


def test_a_body_of_its_own_has_no_fields_that_are_only_read(tmp_path):
    """As in a project with `COMPONENT_SPLIT_REQUEST`."""
    file = str(tmp_path / "schema.yaml")
    with patched_settings({"COMPONENT_SPLIT_REQUEST": True}):
        call_command("spectacular", validate=True, fail_on_warn=True, file=file)
        schemas = SchemaGenerator().get_schema(request=None, public=True)["components"]["schemas"]
    assert "client" in schemas["AuthModesLoginSession"]["properties"]
    (body,) = [name for name in schemas if re.fullmatch(r"Patched\w*LoginSessionRequest", name)]
    assert set(schemas[body]["properties"]) == {"name"}


def endpoints():
    """Each view of ours, each of its verbs, and where the document has it."""
    for route in urls.urlpatterns:
        if route.name in NOT_AN_API:
            assert not issubclass(route.callback.view_class, APIView)
            continue
        view = route.callback.cls
        at = f"/auth/{route.pattern}".replace("<str:", "{").replace(">", "}")
        for method in sorted(set(view().allowed_methods) - {"OPTIONS"}):
            yield view, method, at


def test_every_endpoint_is_described():
    written = default_document()
    described = []
    for view, method, at in endpoints():
        assert find_operation(view, method) is not None, f"{method} {at}"
        described.append(written["paths"][at][method.lower()]["operationId"])
    assert sorted(described) == sorted(operations_of(written))


def bodies_of(written):
    return {
        name: set(operation["requestBody"]["content"])
        for name, operation in operations_of(written).items()
        if "requestBody" in operation
    }


def test_a_body_is_json_and_a_form_where_oauth_says_so():
    bodies = bodies_of(default_document())
    json, form = "application/json", "application/x-www-form-urlencoded"
    special = {
        "authmodes_token_obtain_pair": {json, form},
        "authmodes_token_revoke": {form},
        "authmodes_token_introspect": {form},
        "authmodes_upstream_logout": {form},
        "authmodes_upstream_events": {"application/secevent+jwt"},
    }
    assert bodies == {name: special.get(name, {json}) for name in bodies}
    assert set(special) < set(bodies)


def test_a_body_is_required_unless_it_may_be_one_of_several():
    """Of several that are, openapi-python-client makes a module that does not import."""
    bodies = {
        name: operation["requestBody"]["required"]
        for name, operation in operations_of(default_document()).items()
        if "requestBody" in operation
    }
    optional = {name for name, is_required in bodies.items() if not is_required}
    assert optional == {"authmodes_logout", "authmodes_token_obtain_pair"}


def test_a_refresh_asks_for_the_refresh_token_alone():
    asked = default_document()["components"]["schemas"]["AuthModesTokenRefresh"]
    assert (set(asked["properties"]), asked["required"]) == ({"refresh"}, ["refresh"])


def test_every_code_is_in_the_reference():
    reference = (ROOT / "docs" / "error-codes.md").read_text()
    for name, operation in operations_of(default_document()).items():
        for status, answer in operation["responses"].items():
            for code in re.findall(r"`(\w+)`", answer["description"]):
                # DRF's own, for what no endpoint of any project takes.
                if code not in ("not_acceptable", "unsupported_media_type"):
                    assert f"`{code}`" in reference, (name, status, code)


def test_all_names_are_ours():
    """So that none collides with one of the project."""
    components = default_document()["components"]
    # drf-spectacular marks the body of a PATCH.
    schemas = [name.removeprefix("Patched") for name in components["schemas"]]
    assert all(name.startswith("AuthModes") for name in schemas)
    assert all(name.startswith("authmodes") for name in components["securitySchemes"])
    assert all(name.startswith("authmodes_") for name in operations_of(default_document()))


def test_no_view_of_ours_asks_for_drf_spectacular():
    """A project without it installs, checks and serves as any other."""
    script = textwrap.dedent(
        """
        import sys
        sys.modules["drf_spectacular"] = None
        from tests import settings
        settings.INSTALLED_APPS.remove("drf_spectacular")
        del settings.REST_FRAMEWORK["DEFAULT_SCHEMA_CLASS"]
        settings.ROOT_URLCONF = "authmodes.urls"
        import django
        django.setup()
        from django.core.management import call_command
        from django.test import Client
        from django.urls import get_resolver
        assert get_resolver().url_patterns
        assert not [name for name in sys.modules if name.startswith("authmodes.openapi")]
        """
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={"DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


# -- what the settings change --------------------------------------------------------------

BEARER, TOKEN, SESSION = "authmodesBearer", "authmodesTokenCookie", "authmodesSessionCookie"


@pytest.mark.parametrize(
    ("mode", "transport", "schemes"),
    [
        ("session", "body", [SESSION]),
        ("session", "cookie", [SESSION]),
        ("jwt", "body", [BEARER]),
        ("jwt", "cookie", [BEARER, TOKEN]),
        ("both", "body", [BEARER, SESSION]),
        ("both", "cookie", [BEARER, TOKEN, SESSION]),
    ],
)
def test_the_credentials_are_those_of_the_settings(mode, transport, schemes):
    with override_settings(AUTHMODES_MODE=mode, AUTHMODES_TOKEN_TRANSPORT=transport):
        written = document()
    assert sorted(written["components"]["securitySchemes"]) == sorted(schemes)
    by_id = operations_of(written)
    any_of = [{scheme: []} for scheme in schemes]
    assert by_id["authmodes_user"]["security"] == any_of
    assert by_id["authmodes_logout"]["security"] == [*any_of, {}]
    assert by_id["authmodes_login"]["security"] == [{}]
    assert by_id["authmodes_token_verify"]["security"] == [{}]


def test_the_schemes_say_where_a_credential_is_put(settings):
    settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"
    settings.AUTHMODES_ACCESS_COOKIE_NAME = "access-here"
    settings.SESSION_COOKIE_NAME = "session-here"
    schemes = document()["components"]["securitySchemes"]
    assert schemes[BEARER] == {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    places = {name: (each.get("in"), each.get("name")) for name, each in schemes.items()}
    assert places[TOKEN] == ("cookie", "access-here")
    assert places[SESSION] == ("cookie", "session-here")


def test_tokens_in_cookies_are_in_no_body(settings):
    settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"
    written = document()
    tokens = written["components"]["schemas"]["AuthModesTokenAnswer"]["properties"]
    assert not {"access", "refresh"} & set(tokens)
    assert "requestBody" not in operations_of(written)["authmodes_token_refresh"]


def test_a_view_that_a_project_extends_keeps_its_schema_and_may_change_it():
    class Extended(LoginView):
        pass

    class Described(LoginView):
        @extend_schema(summary="Sign in here")
        def post(self, request):
            return super().post(request)

    patterns = [path("a/", Extended.as_view()), path("b/", Described.as_view())]
    written = SchemaGenerator(patterns=patterns).get_schema(request=None, public=True)
    extended, described = (written["paths"][at]["post"] for at in ("/a/", "/b/"))
    assert extended["summary"] == "Sign in with a password, in either mode"
    assert described["summary"] == "Sign in here"
    assert set(extended["responses"]) == set(described["responses"])


def test_what_is_throttled_says_so():
    written = default_document()
    for view, method, at in endpoints():
        counted = issubclass(view, AuthModesViewMixin) and view.credential_scope and method != "GET"
        answer = written["paths"][at][method.lower()]["responses"].get("429")
        assert bool(answer) == bool(counted)
        assert not answer or "Retry-After" in answer["headers"]


# -- the answers are what it says ----------------------------------------------------------


@pytest.fixture
def conforms():
    """Hold an answer against the document: its status, its kind, its body."""
    written = default_document()

    def check(operation_id, response, status):
        assert response.status_code == status, response.content
        operation = operations_of(written)[operation_id]
        documented = operation["responses"][str(status)]
        kinds = documented.get("content", {})
        if not kinds:
            assert not response.content
            return
        kind = response["Content-Type"].split(";")[0]
        schema = {**kinds[kind]["schema"], "components": written["components"]}
        if kind == "application/json":
            validator = jsonschema.Draft202012Validator(
                schema, format_checker=jsonschema.FormatChecker()
            )
            validator.validate(response.json())
        for header in documented.get("headers", {}):
            assert response.headers.get(header), header

    return check


def test_the_check_itself_finds_what_is_wrong(conforms, alice):
    with pytest.raises(jsonschema.ValidationError):
        conforms("authmodes_csrf", sign_in("jwt"), 200)
    with pytest.raises(KeyError):
        conforms("authmodes_index", sign_in("jwt", password="wrong"), 401)


def test_signing_in_answers_as_documented(conforms, mode, alice):
    conforms("authmodes_login", sign_in(mode), 200)
    conforms("authmodes_login", sign_in(mode, password="wrong"), 401)
    conforms("authmodes_login", sign_in("spoon"), 400)
    conforms("authmodes_login", Browser().post("/auth/login/", {}), 400)
    with override_settings(AUTHMODES_MAX_LOGIN_SESSIONS=1, AUTHMODES_LIMIT_POLICY="refuse"):
        conforms("authmodes_login", sign_in(mode), 403)


def test_a_pending_stage_answers_as_documented(conforms, mode, alice):
    TOTP.activate(alice, generate_totp_secret())
    conforms("authmodes_login", sign_in(mode), 401)
    assert sign_in(mode).json()["code"] == "stage_pending"


def test_what_the_signed_in_user_sees_is_as_documented(conforms, mode, login):
    signed_in, other = login(mode), login("jwt")
    conforms("authmodes_user", signed_in.get("/auth/user/"), 200)
    conforms("authmodes_session_list_get", signed_in.get("/auth/sessions/"), 200)
    one = f"/auth/sessions/{other.sid}/"
    conforms("authmodes_session_detail_get", signed_in.get(one), 200)
    conforms("authmodes_session_detail_delete", signed_in.delete(one), 204)
    conforms("authmodes_session_detail_get", signed_in.get(one), 404)
    conforms("authmodes_session_list_delete", signed_in.delete("/auth/sessions/"), 200)
    conforms("authmodes_token_introspect", signed_in.post("/auth/token/introspect/"), 403)
    leaving = {"upstream": True, "post_logout_redirect_uri": "https://evil.example/"}
    conforms("authmodes_logout", login(mode).post("/auth/logout/", leaving), 400)
    conforms("authmodes_logout", login(mode).post("/auth/logout/", {"upstream": True}), 200)
    conforms("authmodes_logout", signed_in.logout(), 204)
    conforms("authmodes_user", signed_in.get("/auth/user/"), 401)


def test_tokens_answer_as_documented(conforms, login, admin_user):
    signed_in, staff = login("jwt"), login("jwt", admin_user)
    conforms("authmodes_token_refresh", signed_in.refresh(), 200)
    token = {"token": signed_in.access}
    conforms("authmodes_token_verify", post_json("/auth/token/verify/", token), 200)
    introspect = "/auth/token/introspect/"
    conforms("authmodes_token_introspect", staff.post(introspect, token), 200)
    conforms("authmodes_token_introspect", staff.post(introspect, {"token": "x"}), 200)
    conforms("authmodes_token_revoke", post_json("/auth/token/revoke/", token), 200)
    conforms("authmodes_token_verify", post_json("/auth/token/verify/", token), 401)
    conforms("authmodes_token_refresh", signed_in.refresh(), 401)
    conforms("authmodes_user", call_with(signed_in.access, "/auth/user/"), 401)
    again = {"refresh": login("jwt").refresh_token}
    conforms("authmodes_token_blacklist", post_json("/auth/token/blacklist/", again), 200)
    password = {"username": "alice", "password": PASSWORD}
    conforms("authmodes_token_obtain_pair", post_json("/auth/token/", password), 200)


def test_the_code_flow_answers_as_documented(conforms, code_flow):
    conforms("authmodes_social_start_get", code_flow.look(), 200)
    conforms("authmodes_social_start_get", code_flow.look(next="https://evil.example/"), 400)
    code_flow.run()
    conforms("authmodes_token_obtain_pair", code_flow.exchange(), 200)
    conforms("authmodes_token_obtain_pair", code_flow.exchange(), 400)
    start = "/auth/social/dummy/start/?mode=session"
    conforms("authmodes_social_start_post", Browser().post(start), 403)
    conforms("authmodes_social_start_post", Browser().submit(start), 302)
    nobody = Browser(headers={"accept": "text/html"}).submit("/auth/social/nobody/start/")
    conforms("authmodes_social_start_post", nobody, 404)


def test_a_machine_clients_token_answers_as_documented(conforms, db, admin_user, login):
    client, secret = machine_clients.create("nightly", scopes="reports:read")
    body = {
        "grant_type": "client_credentials",
        "client_id": client.client_id,
        "client_secret": secret,
    }
    granted = post_json("/auth/token/", body)
    conforms("authmodes_token_obtain_pair", granted, 200)
    refused = {400: {"scope": "reports:write"}, 401: {"client_secret": "wrong"}}
    for status, changed in refused.items():
        answer = post_json("/auth/token/", {**body, **changed})
        conforms("authmodes_token_obtain_pair", answer, status)
    about = {"token": granted.json()["access_token"]}
    introspected = login("jwt", admin_user).post("/auth/token/introspect/", about)
    assert introspected.json()["active"]
    conforms("authmodes_token_introspect", introspected, 200)


def test_a_providers_token_answers_as_documented(conforms, alice_at_dummy, login):
    answer = post_json("/auth/social/dummy/", {"id_token": "x", "mode": "jwt"})
    conforms("authmodes_social_token_post", answer, 401)
    conforms("authmodes_social_token_post", post_json("/auth/social/nobody/", {"code": "x"}), 400)
    signed_in = login("jwt")
    conforms("authmodes_social_token_delete", signed_in.delete("/auth/social/nobody/"), 404)
    conforms("authmodes_social_token_delete", signed_in.delete("/auth/social/dummy/"), 204)
    anonymous = Browser().delete("/auth/social/dummy/")
    conforms("authmodes_social_token_delete", anonymous, 401)


def test_a_call_of_a_provider_is_answered_as_documented(conforms, db):
    for provider, status in {"example": 400, "nobody": 404}.items():
        at = f"/auth/upstream/logout/{provider}/"
        form = {"logout_token": "x"}
        conforms("authmodes_upstream_logout", post_json(at, form), 415)
        answer = Browser().post(at, urlencode(form), "application/x-www-form-urlencoded")
        conforms("authmodes_upstream_logout", answer, status)
    events = Browser().post("/auth/upstream/events/nobody/", "x", "application/secevent+jwt")
    conforms("authmodes_upstream_events", events, 404)


def test_the_public_answers_are_as_documented(conforms, db):
    public = {
        "index": "",
        "csrf": "csrf/",
        "social": "social/",
        "jwks": ".well-known/jwks.json",
    }
    for name, at in public.items():
        conforms(f"authmodes_{name}", Browser().get(f"/auth/{at}"), 200)
    unacceptable = Browser().get("/auth/", headers={"accept": "image/png"})
    conforms("authmodes_index", unacceptable, 406)


def test_a_client_may_ask_for_the_public_keys_by_their_own_type(db):
    for accept in ("application/jwk-set+json", "application/json", "*/*", ""):
        answer = Browser().get("/auth/.well-known/jwks.json", headers={"accept": accept})
        assert answer.status_code == 200
        assert "keys" in answer.json()


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_the_public_keys_are_only_read(method, db):
    answer = getattr(Browser(), method)("/auth/.well-known/jwks.json")
    assert answer.status_code == 405
    assert answer.json()["code"] == "method_not_allowed"
