"""What no single test can see: the imports, the migrations, and smells cheap to find."""

import ast
import configparser
import re
from pathlib import Path

import pytest
from django.core.management import call_command
from importlinter.cli import lint_imports

import authmodes

PACKAGE = Path(authmodes.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if "migrations" not in path.relative_to(PACKAGE).parts
)
DOORS = {
    *("receivers", "middleware", "authentication", "adapter", "strategy", "serializers"),
    *("views", "urls", "admin", "checks", "apps", "management"),
    # What the doors share.
    *("handoff", "intent", "sign_in", "stages", "transport", "cookie_judge", "cookie_keys"),
    # What describes them.
    "openapi",
}


def name_of(path):
    return str(path.relative_to(PACKAGE))


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def found(pattern, *, outside=()):
    """Lines of the package that match, as `module:line: text`, comments left aside."""
    return [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in MODULES
        if room_of(path) not in outside
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(pattern, line.split("#")[0])
    ]


def test_imports_go_down_the_house(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    status = lint_imports(config_filename="setup.cfg", no_cache=True)
    assert status == 0, capsys.readouterr().out


def test_the_contract_is_the_one_of_the_design():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    layers = config["importlinter:contract:layers"]
    assert layers["exhaustive"] == "True"
    order = re.findall(r"\b(apps|registry|models|policy|conf)\b", layers["layers"])
    assert order == ["apps", "registry", "models", "conf", "policy"]


def test_the_models_have_their_migrations(db):
    call_command("makemigrations", "authmodes", check=True, dry_run=True)


def test_only_the_registry_ends_a_login():
    pattern = r"ended_at\s*=(?!=)|end_reason\s*=(?!=)|ended_by\s*=(?!=)"
    elsewhere = found(pattern, outside={"registry"})
    allowed = (
        # Fields are declared, and questions asked, with the same word.
        r"models/login_session\.py:\d+: (ended_at|end_reason|ended_by) = models\.",
        r"\.(filter|exclude)\(",
        r"^admin/",
    )
    assert not [line for line in elsewhere if not any(re.search(p, line) for p in allowed)]


def test_nobody_writes_login_sessions_but_the_registry():
    on_the_model = r"LoginSession(\(|\.objects\.(create|update|bulk_|get_or_create|delete))"
    pattern = rf"{on_the_model}|login_session\.(save|delete)\("
    writers = [
        line for line in found(pattern, outside={"registry"}) if "class LoginSession" not in line
    ]
    assert not writers


def test_only_the_doors_know_a_mode():
    compared = found(r"\bmode\b\s*(==|!=|in\b)", outside=DOORS | {"conf"})
    # What a login is tied to follows from its mode; nothing else does.
    assert [line.partition(":")[0] for line in compared] == ["registry/starting.py"]
    switches = found(r"conf\.(MODE|DEFAULT_MODE)\b", outside=DOORS | {"conf"})
    # Rotation refuses when tokens are off, whichever door it was called from.
    # A mail does not link to a page that nobody can open. And the rules of a request only
    # hand on to the doors what the setting says.
    rooms = {line.partition("/")[0].partition(":")[0] for line in switches}
    assert rooms <= {"registry", "notices.py"}


def test_no_setting_is_read_at_import():
    for path in MODULES:
        tree = ast.parse(path.read_text())
        imported = []
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                defaults = [*node.args.defaults, *node.args.kw_defaults]
                imported += [default for default in defaults if default is not None]
        imported += [
            statement
            for scope in ast.walk(tree)
            if isinstance(scope, ast.Module | ast.ClassDef)
            for statement in scope.body
            if isinstance(statement, ast.Assign | ast.AnnAssign)
        ]
        for node in imported:
            for name in ast.walk(node):
                if isinstance(name, ast.Attribute) and isinstance(name.value, ast.Name):
                    read = f"{name.value.id}.{name.attr}"
                    # A foreign key's target has to be known when the class is made.
                    assert name.value.id != "conf", f"{name_of(path)}: {read}"
                    assert name.value.id != "settings" or read == "settings.AUTH_USER_MODEL", (
                        f"{name_of(path)}: {read}"
                    )


def test_only_conf_reads_our_settings():
    assert not found(r"settings\.AUTHMODES_|getattr\(settings, .AUTHMODES", outside={"conf"})


def test_simplejwts_settings_are_never_held_on_to():
    assert not found(r"from rest_framework_simplejwt\.settings import")


def test_forwarded_addresses_are_left_to_allauth():
    assert not found(r"X_FORWARDED|X-Forwarded", outside={"checks"})
    # Where nothing else is trusted; test_binding holds it against allauth's own answer.
    peers = found(r"META.*REMOTE_ADDR", outside={"checks"})
    assert [line.partition(":")[0] for line in peers] == []


def test_only_policy_compares_times():
    pattern = (
        r"(now|time\.time)(\(\))?\s*(-|<|>)|(<|>)=?\s*((timezone\.)?now|time\.time)|_at\s*(<|>)"
    )
    # Deadlines for a query or a cookie are computed, not decided.
    rooms = {"stores", "transport", "registry", "models", "revocations", "management"}
    assert not found(pattern, outside=rooms | {"policy"})


def test_nothing_runs_md5_or_sha1():
    used = found(r"md5|sha1\b", outside={"checks"})
    # simplejwt's own claim, in a token from before us, can only be compared in its own way.
    assert not [line for line in used if "get_md5_hash_password" not in line]


def test_no_print_no_debugger_and_no_todo():
    assert not found(r"(?<!\.)\bprint\(|breakpoint\(|import pdb", outside={"management"})
    text = "\n".join(path.read_text() for path in MODULES)
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_what_it_is_for(path):
    text = path.read_text()
    assert not text or ast.get_docstring(ast.parse(text))


def test_the_package_ships_its_types():
    assert (PACKAGE / "py.typed").exists()
