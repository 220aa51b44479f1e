"""The guides for existing projects, done as they say in a project in a folder of its own.

The lines that change the project are read from the page: its Python blocks are added to the file
that their first line names, its diffs are applied.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from django.urls import resolve

ROOT = Path(__file__).parent.parent
MANAGE = r"^\$ python manage\.py (.*)$"
EXISTING = ROOT / "tests" / "existing_project"
# The project before simplejwt came to it.
WITHOUT_SIMPLEJWT = {
    "views.py": (
        "    by_token = request.auth is not None\n",
        'request.auth.get("staff", False) if by_token else ',
    ),
    "settings.py": (
        '        "rest_framework_simplejwt.authentication.JWTAuthentication",\n',
        '    "TOKEN_OBTAIN_SERIALIZER": "shop.serializers.ShopTokenSerializer",\n',
    ),
    "urls.py": (
        "from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView\n",
        '    path("api/token/", TokenObtainPairView.as_view(), name="token_obtain_pair"),\n',
        '    path("api/token/refresh/", TokenRefreshView.as_view(), name="token_refresh"),\n',
    ),
}
SETUP = """
import json
import django
django.setup()
from django.conf import settings
settings.ALLOWED_HOSTS = ["*"]
from django.test import Client

def post(path, data, client=None):
    return (client or Client()).post(path, json.dumps(data), "application/json")

def orders(access):
    return Client().get("/api/orders/", headers={"authorization": f"Bearer {access}"})

fields = {"username": "alice", "password": "correct horse battery"}
"""
SIGN_IN_TO_A_SESSION = """
from django.contrib.auth import get_user_model
get_user_model().objects.create_user(**fields)
browser = Client()
browser.post("/accounts/login/", {"login": "alice", "password": fields["password"]})
assert browser.get("/").status_code == 200
print(json.dumps(browser.cookies["sessionid"].value))
"""
SIGN_IN_IN_BOTH_MODES = """
from authmodes import registry
from authmodes.models import LoginSession
keys = []
for _ in range(2):
    browser = Client()
    browser.post("/accounts/login/", {"login": "alice", "password": fields["password"]})
    keys.append(browser.cookies["sessionid"].value)
registry.revoke(LoginSession.objects.get(session_key=keys[1]))
tokens = post("/api/login/", {**fields, "mode": "jwt"}).json()
assert orders(tokens["access"]).status_code == 200
print(json.dumps([keys, tokens]))
"""
GO_ON_WITH_THE_SESSION = """
from authmodes.models import LoginSession
browser = Client()
browser.cookies["sessionid"] = known
rows = LoginSession.objects.active()
assert [row.session_key for row in rows] == [known]
assert browser.get("/").content == b"Orders of alice"
assert browser.get("/api/orders/").json()["user"] == "alice"
assert rows.get().mode == "session"
"""


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / f"{page}.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


class Project:
    """A copy of `tests/existing_project`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(EXISTING, folder, ignore=shutil.ignore_patterns("__pycache__"))

    def environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if "DJANGO" not in name},
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def python(self, *command: str) -> Any:
        return subprocess.run(
            [sys.executable, "-W", "ignore", *command],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def manage(self, *command: str) -> str:
        done = self.python("manage.py", *command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def script(self, text: str, known: Any = None) -> Any:
        done = self.python("-c", f"known = {known!r}\n{SETUP}\n{textwrap.dedent(text)}")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout else None

    def failing_tests(self) -> list[str]:
        done = self.python("manage.py", "test", "--verbosity", "0")
        assert re.search(r"Ran \d+ tests?", done.stderr), done.stderr
        return sorted(re.findall(r"^(?:FAIL|ERROR): (\w+)", done.stderr, re.MULTILINE))

    def remove_simplejwt(self) -> None:
        """Be the project before simplejwt came to it."""
        for name, lines in WITHOUT_SIMPLEJWT.items():
            path = self.folder / "shop" / name
            text = path.read_text()
            for line in lines:
                assert text.count(line) == 1
                text = text.replace(line, "")
            path.write_text(text)
        (self.folder / "shop" / "tests.py").unlink()

    def add(self, block: str) -> None:
        """Add a Python block to the file that it names."""
        named = re.match(r"# (shop/\w+\.py)\n", block)
        if named:
            path = self.folder / named[1]
            with path.open("a") as file:
                file.write(block)

    def apply(self, diff: str) -> None:
        """Apply a diff that names its file and has no line numbers."""
        header, *lines = diff.splitlines()
        path = self.folder / header.removeprefix("--- ")
        before = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
        after = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
        text = path.read_text()
        assert text.count(before) == 1, diff
        path.write_text(text.replace(before, after))

    def deploy(self, page: str) -> None:
        """Run the page's commands."""
        (commands,) = (block for block in blocks(page, "console") if "migrate" in block)
        for command in re.findall(MANAGE, commands, re.MULTILINE):
            fail_level = ["--fail-level", "ERROR"] if command.startswith("check") else []
            self.manage(*command.split(), *fail_level)


@pytest.fixture
def simplejwt_project(tmp_path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture
def allauth_project(simplejwt_project) -> Project:
    simplejwt_project.remove_simplejwt()
    return simplejwt_project


def test_an_allauth_project_gets_both_modes_and_signs_no_user_out(allauth_project):
    project = allauth_project
    project.manage("migrate")
    session_key = project.script(SIGN_IN_TO_A_SESSION)
    for block in blocks("existing-project", "python"):
        project.add(block)
    project.manage("check", "--fail-level", "WARNING")
    project.deploy("existing-project")
    project.script(GO_ON_WITH_THE_SESSION, session_key)
    project.script(
        """
        for mode in ("session", "jwt"):
            answer = post("/auth/login/", {**fields, "mode": mode})
            assert (answer.status_code, answer.json()["mode"]) == (200, mode), answer.content
        assert Client().get("/api/orders/").status_code == 401
        """
    )


def test_what_authmodes_leaves_when_it_is_taken_out(simplejwt_project):
    project = simplejwt_project
    source = project.folder / "shop"
    shutil.copytree(source, project.folder / "before")
    for diff in blocks("from-simplejwt", "diff"):
        project.apply(diff)
    project.manage("migrate")
    project.script(SIGN_IN_TO_A_SESSION)
    (kept, revoked), tokens = project.script(SIGN_IN_IN_BOTH_MODES)

    for command in re.findall(MANAGE, blocks("take-out", "console")[0], re.MULTILINE):
        project.manage(*command.split())
    shutil.rmtree(source)
    (project.folder / "before").rename(source)
    assert not [path for path in source.glob("*.py") if "authmodes" in path.read_text()]
    with (source / "settings.py").open("a") as file:
        file.write('INSTALLED_APPS += ["rest_framework_simplejwt.token_blacklist"]\n')
    project.script(
        """
        (kept, revoked), tokens = known
        for key, status in ((kept, 200), (revoked, 302)):
            browser = Client()
            browser.cookies["sessionid"] = key
            assert browser.get("/").status_code == status
        assert post("/api/token/refresh/", {"refresh": tokens["refresh"]}).status_code == 401
        # As the page says of a release that does not wait for it to expire.
        assert orders(tokens["access"]).status_code == 200
        from django.contrib.auth import get_user_model
        get_user_model().objects.get().delete()
        """,
        [[kept, revoked], tokens],
    )


def test_a_simplejwt_project_gets_both_modes_and_signs_no_user_out(simplejwt_project):
    project = simplejwt_project
    assert project.failing_tests() == []
    project.manage("migrate")
    session_key = project.script(SIGN_IN_TO_A_SESSION)
    known = project.script('print(json.dumps(post("/api/token/", fields).json()))')

    diffs = blocks("from-simplejwt", "diff")
    for diff in diffs:
        if "shop/tests.py" not in diff:
            project.apply(diff)
    # What the page says of the tests, and nothing else.
    assert project.failing_tests() == ["test_a_token_for_the_test", "test_anonymous"]
    for diff in diffs:
        if "shop/tests.py" in diff:
            project.apply(diff)
    assert project.failing_tests() == []
    project.manage("check", "--fail-level", "WARNING")

    project.deploy("from-simplejwt")
    project.script(GO_ON_WITH_THE_SESSION, session_key)
    project.script(
        """
        assert orders(known["access"]).json()["code"] == "token_not_valid"
        answer = post("/api/token/refresh/", {"refresh": known["refresh"]})
        assert answer.status_code == 200, answer.content
        assert orders(answer.json()["access"]).json() == {"user": "alice", "staff": False}
        assert post("/api/token/refresh/", {"refresh": known["refresh"]}).status_code == 401
        for mode in ("session", "jwt"):
            answer = post("/api/login/", {**fields, "mode": mode})
            assert (answer.status_code, answer.json()["mode"]) == (200, mode), answer.content
        """,
        known,
    )


def test_a_user_model_without_a_user_name_signs_in_both_ways(allauth_project):
    project = allauth_project
    for block in blocks("existing-project", "python") + blocks("custom-user-model", "python"):
        project.add(block)
    project.manage("check", "--fail-level", "WARNING")
    (project.folder / "shop" / "migrations").mkdir()
    (project.folder / "shop" / "migrations" / "__init__.py").touch()
    project.manage("makemigrations", "shop")
    project.manage("migrate")
    project.script(
        """
        from django.contrib.auth import get_user_model
        fields = {"email": "alice@example.com", "password": "correct horse battery"}
        alice = get_user_model().objects.create_user(**fields)
        browser = Client()
        assert post("/auth/login/", {**fields, "mode": "session"}, browser).status_code == 200
        tokens = post("/auth/login/", {**fields, "mode": "jwt"}).json()
        assert tokens["user"]["id"] == str(alice.pk)

        def statuses():
            cookie = browser.get("/api/orders/").status_code
            return cookie, orders(tokens["access"]).status_code

        assert statuses() == (200, 200)
        get_user_model().objects.update(is_banned=True)
        assert statuses() == (401, 401)
        """
    )


FROM_DJ_REST_AUTH = """
from tests.support.mfa import totp_code
from tests.support.oidc_provider import OidcProvider, app_of
from tests.support.oidc_server import serve

APP = "https://app.example.com/signed-in"
replaced = known
app = {}

def call(left, data=None, access=""):
    method, path = replaced[left]
    headers = {"authorization": f"Bearer {access}"} if access else app
    path = "/" + path.replace("<provider>", "example")
    body = json.dumps(data) if data else ""
    return Client().generic(method, path, body, "application/json", headers=headers)

def said(answer, status=200):
    assert answer.status_code == status, answer.content
    return answer.json()

def opens(access):
    return orders(access).status_code == 200

with serve(OidcProvider) as provider:
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app_of(provider.url)]}}
    bob = {"username": "bob", "email": "bob@example.com", "password": "correct horse battery"}
    signed_up = said(call("`POST registration/`", bob))
    assert signed_up["data"]["user"]["username"] == "bob"
    assert opens(signed_up["meta"]["access_token"])
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    eve = {**bob, "username": "eve", "email": "eve@example.com"}
    flows = said(call("`POST registration/`", eve), 401)["data"]["flows"]
    assert [flow["id"] for flow in flows if flow.get("is_pending")] == ["verify_email"]
    settings.ACCOUNT_EMAIL_VERIFICATION = "none"

    login = {"username": "bob", "password": bob["password"], "mode": "jwt"}
    tokens = said(call("`POST login/`", login))
    assert said(call("`GET user/`", access=tokens["access"]))["user"]["username"] == "bob"
    said(call("`POST token/verify/`", {"token": tokens["access"]}))
    newer = said(call("`POST token/refresh/`", {"refresh": tokens["refresh"]}))
    assert newer["refresh"] != tokens["refresh"]
    assert call("`POST logout/`", {"refresh": newer["refresh"]}).status_code == 204
    assert not opens(newer["access"])
    said(call("`POST token/verify/`", {"token": newer["access"]}), 401)
    said(call("`POST token/refresh/`", {"refresh": newer["refresh"]}), 401)

    social = "a `SocialLoginView` with `code`"
    for credential in (
        {"id_token": provider.id_token()},
        {"id_token": provider.id_token(), "access_token": "of the provider"},
        provider.code_credential(APP),
    ):
        signed_in = said(call(social, {"mode": "jwt", **credential}))
        assert opens(signed_in["access"])
    code = provider.code_credential(APP)
    del code["code_verifier"]
    assert "code_verifier" in said(call(social, {"mode": "jwt", **code}), 400)["errors"]
    alone = {"mode": "jwt", "access_token": "of the provider"}
    assert said(call(social, alone), 400)["code"] == "audience_unverifiable"

    here, elsewhere = (said(call("`POST login/`", login))["access"] for _ in range(2))
    connect = {"process": "connect", "id_token": provider.id_token(sub="bob")}
    connected = said(call("a `SocialConnectView`", connect, here))
    assert connected == {"provider": "example", "uid": "bob"}
    assert (opens(here), opens(elsewhere)) == (True, False)
    elsewhere = said(call("`POST login/`", login))["access"]
    assert call("a `SocialAccountDisconnectView`", access=here).status_code < 300
    assert (opens(here), opens(elsewhere)) == (True, False)

    def headless(path, data):
        return post("/_allauth/app/v1/" + path, data, Client(headers=app)).json()["meta"]

    tokens = headless("auth/login", bob)
    status = "`GET mfa/status/`"
    said(call(status, access=tokens["access_token"]), 401)
    app = {"x-session-token": tokens["session_token"]}
    assert said(call(status))["data"] == []
    enrolment = "`GET mfa/totp/activate/`"
    said(call(enrolment), 409)
    from allauth.account.models import EmailAddress
    EmailAddress.objects.update(verified=True)
    secret = said(call(enrolment), 404)["meta"]["secret"]
    activate = "`POST mfa/totp/activate/`, `POST mfa/totp/deactivate/`"
    said(call(activate, {"code": totp_code(secret)}), 401)
    signed_in_again = headless("auth/reauthenticate", {"password": bob["password"]})
    app = {"x-session-token": signed_in_again["session_token"]}
    said(call(activate, {"code": totp_code(secret)}))
    assert [each["type"] for each in said(call(status))["data"]] == ["totp", "recovery_codes"]
    codes = "`POST mfa/recovery-codes/`, `POST mfa/recovery-codes/regenerate/`"
    recovery_code = said(call(codes))["data"]["unused_codes"][0]

    assert said(call("`POST login/`", login), 401)["code"] == "stage_pending"
    assert opens(said(call("`mfa/verify/`", {**login, "mfa_code": recovery_code}))["access"])
    assert said(call(codes))["data"]["unused_code_count"] == 9
"""


def test_the_calls_that_take_the_place_of_dj_rest_auths(allauth_project):
    project = allauth_project
    for block in blocks("existing-project", "python"):
        project.add(block)
    settings, urls = blocks("headless", "python")[:2]
    apps = ("mfa", "socialaccount.providers.openid_connect")
    settings += "".join(f'INSTALLED_APPS += ["allauth.{app}"]\n' for app in apps)
    settings += 'EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"\n'
    settings += 'ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*"]\n'
    for name, lines in (("settings.py", settings), ("urls.py", urls)):
        with (project.folder / "shop" / name).open("a") as file:
            file.write(lines)
    project.manage("migrate")
    page = (ROOT / "docs" / "from-dj-rest-auth.md").read_text()
    rows = re.findall(
        r"^\| (.*?) \| `(GET|POST|DELETE) ((?:auth|_allauth)/\S*)`", page, re.MULTILINE
    )
    replaced = {left: (method, path) for left, method, path in rows}
    project.script(FROM_DJ_REST_AUTH, replaced)


def test_the_urls_that_a_guide_sends_clients_to_are_there():
    page = (ROOT / "docs" / "from-dj-rest-auth.md").read_text()
    named = set(re.findall(r"`(?:GET|POST|DELETE) ((?:auth|_allauth)/[^` ]*)`", page))
    assert len(named) > 6
    for path in named:
        assert resolve("/" + path.replace("<provider>", "dummy"))
