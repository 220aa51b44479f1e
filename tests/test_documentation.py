"""The documents say what the code does: settings, checks, and the README's own lines."""

import ast
import inspect
import os
import re
import runpy
import subprocess
import sys
import textwrap
import types
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.core.checks.registry import registry
from django.core.management import get_commands, load_command_class

from authmodes import adapter
from authmodes.conf import Settings
from authmodes.urls import urlpatterns

from . import test_revocation
from .test_public_names import PUBLIC, resolve

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()

# An ordinary allauth and DRF project before authmodes came to it, in production form.
PROJECT = """
from datetime import timedelta
from pathlib import Path

SECRET_KEY = "a-key-of-fifty-characters-and-more-for-this-test-0123456789"
DEBUG = False
ALLOWED_HOSTS = ["app.example.com"]
ROOT_URLCONF = "project_urls"
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": Path.cwd() / "cache",
    }
}
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "rest_framework",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = True
SECURE_HSTS_SECONDS = 31536000
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = True
"""

PROJECT_URLS = """
from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls), path("accounts/", include("allauth.urls"))]
"""


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def console_blocks(text: str) -> list[str]:
    return re.findall(r"```console\n(.*?)```", text, re.DOTALL)


def table_names(document: str, pattern: str) -> set[str]:
    text = (ROOT / "docs" / document).read_text()
    return set(re.findall(rf"^\| `({pattern})` \|", text, re.MULTILINE))


def test_the_settings_reference_lists_exactly_the_settings_there_are():
    documented = table_names("settings.md", r"AUTHMODES_\w+")
    assert documented == {f"AUTHMODES_{name}" for name in vars(Settings) if name.isupper()}


def test_the_check_reference_lists_exactly_the_checks_there_are():
    documented = table_names("checks.md", r"authmodes\.[EIW]\d+")
    registered = registry.get_checks(include_deployment_checks=True)
    ours = [each for each in registered if each.__module__.startswith("authmodes.")]
    assert documented == {f"authmodes.{each.__doc__.partition(':')[0]}" for each in ours}


def test_the_api_reference_lists_exactly_the_routes_there_are():
    text = (ROOT / "docs" / "rest-api.md").read_text()
    listed = set(re.findall(r"^\| `([^`]*)` \| (?:GET|POST)", text, re.MULTILINE))
    if "| `` | GET" in text:
        listed.add("")
    routes = {re.sub(r"<str:(\w+)>", r"<\1>", str(route.pattern)) for route in urlpatterns}
    assert listed == routes


def test_the_index_of_the_site_lists_every_page_there_is():
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    toctrees = re.findall(r"```{toctree}\n(.*?)```", index, re.DOTALL)
    listed = [line for tree in toctrees for line in tree.splitlines() if re.match(r"[a-z]", line)]
    assert sorted(listed) == sorted(pages)


def test_the_python_reference_lists_every_public_name():
    documented = (ROOT / "docs" / "python-api.md").read_text()
    # `authmodes.models` also has names that only the package itself uses.
    internal = {"authmodes", "authmodes.models", "authmodes.models.LoginSession.objects"}
    modules = {name.rpartition(".")[0] for name in PUBLIC} - internal
    exported = {f"{m}.{name}" for m in modules for name in getattr(import_module(m), "__all__", ())}
    for dotted in {*PUBLIC, *exported}:
        module, _, name = dotted.rpartition(".")
        assert re.search(rf"`(?:{re.escape(module)}\.)?{name}[`(]", documented), dotted


def test_the_python_reference_has_the_parameters_of_every_function_and_class():
    text = (ROOT / "docs" / "python-api.md").read_text()
    found = 0
    for section in text.split("\n## ")[1:]:
        modules = re.findall(r"`(authmodes[\w.]+)`", section.partition("\n")[0])
        for name, listed in re.findall(r"\*\*`(\w+)\((.*?)\)`\*\*", section, re.DOTALL):
            (module,) = (m for m in modules if hasattr(import_module(m), name))
            parameters = inspect.signature(resolve(f"{module}.{name}")).parameters
            listed_names = [part.partition("=")[0].strip() for part in listed.split(",")]
            assert [p for p in listed_names if p not in ("", "*")] == list(parameters), name
            found += 1
    assert found > 20


def options_of(command: str) -> set[str]:
    parser = load_command_class("authmodes", command).create_parser("manage.py", command)
    own = {option for action in parser._actions for option in action.option_strings}
    return own - {option for option in own if option in DJANGOS_OPTIONS}


# What every command of Django has.
DJANGOS_OPTIONS = {
    *("-h", "--help", "--version", "-v", "--verbosity", "--settings", "--pythonpath"),
    *("--traceback", "--no-color", "--force-color", "--skip-checks"),
}


def test_the_command_reference_lists_exactly_the_commands_and_options_there_are():
    text = (ROOT / "docs" / "commands.md").read_text()
    documented: dict[str, set[str]] = {}
    for command, option in re.findall(
        r"^\| (?:`(\w+)`)? ?\| (?:`(--[\w-]+)`)? ?\|", text, re.MULTILINE
    ):
        if command:
            documented[latest := command] = set()
        if option:
            documented[latest].add(option)
    folder = ROOT / "authmodes" / "management" / "commands"
    commands = [path.stem for path in folder.glob("[a-z]*.py")]
    assert documented == {command: options_of(command) for command in commands}


def test_the_template_reference_lists_exactly_the_templates_for_users():
    documented = table_names("templates.md", r"authmodes/[\w/]+\.\w+")
    folder = ROOT / "authmodes" / "templates"
    files = (path.relative_to(folder) for path in folder.glob("authmodes/**/*.*"))
    assert documented == {str(file) for file in files if "admin" not in file.parts}


def test_the_adapter_reference_lists_exactly_the_hooks_that_authmodes_overrides():
    text = (ROOT / "docs" / "python-api.md").read_text().partition("| hook |")[2]
    cells = re.findall(r"^\| (`.+?) \|", text.partition("\n\n")[0], re.MULTILINE)
    documented = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    mixins = (adapter.AuthModesAdapterMixin, adapter.AuthModesSocialAccountAdapterMixin)
    own = {name for mixin in mixins for name in vars(mixin) if not name.startswith("_")}
    assert documented == own


def test_the_revocation_table_is_the_one_that_is_tested():
    text = (ROOT / "docs" / "revocation.md").read_text()
    rows = re.findall(r"\| (\d{3}) \| (\d{3}) \| (\d{3}) \| `(\w+)` \|$", text, re.MULTILINE)
    documented = {way: tuple(map(int, statuses)) for *statuses, way in rows}
    table = test_revocation.TABLE
    assert documented == {way.__name__: tuple(c[0] for c in cells) for way, cells in table.items()}


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_every_test_that_a_page_names_exists(page):
    for module, name in re.findall(r"`(test_\w+)\.(test_\w+)", page.read_text()):
        source = (ROOT / "tests" / f"{module}.py").read_text()
        assert re.search(rf"^(?:async )?def {name}\(", source, re.MULTILINE), f"{module}.{name}"


def test_all_eighty_requirements_have_a_test_or_a_reason():
    text = (ROOT / "docs" / "standards.md").read_text()
    rows = re.findall(r"^\| (\d+) \| .+ \| .+ \| (.+) \|$", text, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 81))
    unmet = re.search(r"Not met, or not by authmodes alone: ([\d, ]+) and (\d+)", text)
    named = {*unmet[1].split(", "), unmet[2]}
    # The lines that are named there have a reason in words; the others a test, a page or a check.
    assert all(re.search(r"`test_|\]\(|`authmodes\.", shown) for n, shown in rows if n not in named)


def test_every_page_that_the_readme_links_exists():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert links
    assert all((ROOT / link).exists() for link in links)


def test_the_description_for_pypi_has_no_link_into_the_repository(monkeypatch):
    described: dict[str, str] = {}
    # setuptools is not among what a test environment installs.
    stub = types.SimpleNamespace(setup=described.update)
    monkeypatch.setitem(sys.modules, "setuptools", stub)
    runpy.run_path(str(ROOT / "setup.py"))
    text = described["long_description"]
    assert "](https://docs.allauth.org/)" in text
    assert not re.search(r"\]\((?!https:)", text)


def test_the_comparison_names_the_versions_that_are_asked():
    pins = dict(
        re.findall(
            r'"([a-z-]+)(?:\[[\w,-]+\])?==([\d.]+)"',
            (ROOT / "benchmarks" / "rivals" / "__main__.py").read_text(),
        )
    )
    run = section("Comparison")
    rivals = ("djangorestframework-simplejwt", "dj-rest-auth", "django-allauth")
    for name in (*rivals, "django-jwt-allauth", "drf-auth-kit"):
        assert f"{name} {pins[name]}" in " ".join(run.split())


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MANAGE_COMMANDS = {path.stem for path in (ROOT / "authmodes/management/commands").glob("[a-z]*.py")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_python_of_a_page_parses_and_imports_what_there_is(page):
    for block in python_blocks(page.read_text()):
        # In a function, because a block may `await`.
        tree = ast.parse(f"async def page():\n{textwrap.indent(block, '    ')}")
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("authmodes"):
                module = import_module(str(node.module))
                for name in node.names:
                    if not hasattr(module, name.name):
                        import_module(f"{node.module}.{name.name}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_names_settings_and_commands_that_there_are(page):
    text = page.read_text()
    named = set(re.findall(r"\bAUTHMODES_([A-Z_]*[A-Z])\b(?!_)", text))
    assert named <= {name for name in vars(Settings) if name.isupper()}
    commands = set(re.findall(r"manage\.py (\w+)", "\n".join(console_blocks(text))))
    assert commands <= {*MANAGE_COMMANDS, *get_commands()}
    # Names of authmodes in running text and tables.
    for name in set(re.findall(r"`(authmodes\.[a-z]\w*(?:\.\w+)*)`", text)):
        if not re.fullmatch(r"authmodes\.[a-z_]+loginsession|authmodes\.view_\w+", name):
            assert find(name), name


def find(dotted: str) -> bool:
    """Whether this is a module of ours, or something in one."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:]:
            found = getattr(found, name, None)
        return found is not None
    return False


@pytest.fixture
def project(tmp_path):
    """A project in a folder of its own, changed by the README's lines and by nothing else."""
    *settings, urls = python_blocks(section("Install"))
    settings += python_blocks(section("Settings"))
    (tmp_path / "project.py").write_text(PROJECT + "\n".join(settings))
    (tmp_path / "project_urls.py").write_text(PROJECT_URLS + urls)

    def manage(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "project",
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
        }
        return subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return manage


def test_the_readmes_lines_install_authmodes_cleanly(project):
    check = project("check", "--deploy", "--fail-level", "WARNING")
    assert check.returncode == 0, check.stderr


def test_a_project_with_the_readmes_lines_signs_a_user_in_both_ways(project):
    migrate = project("migrate")
    assert migrate.returncode == 0, migrate.stderr
    script = textwrap.dedent(
        """
        from django.contrib.auth import get_user_model
        from django.test import Client

        get_user_model().objects.create_user("alice", password="correct horse")
        client = Client(headers={"host": "app.example.com"})
        for mode in ("session", "jwt"):
            fields = {"username": "alice", "password": "correct horse", "mode": mode}
            answer = client.post("/auth/login/", fields, secure=True)
            assert answer.status_code == 200, answer.content
            print(mode, *sorted(answer.json()))
        """
    )
    signed_in = project("shell", "--no-imports", "-c", script)
    assert signed_in.returncode == 0, signed_in.stderr
    assert signed_in.stdout.splitlines() == [
        "session access_expires_at idle_expires_at mode refresh_expires_at sid user",
        "jwt access access_expires_at idle_expires_at mode refresh refresh_expires_at sid user",
    ]
