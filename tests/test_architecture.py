"""What no single test can see, and neither ruff, mypy nor an import contract can say."""

import ast
import re
import subprocess
import sys
from pathlib import Path

from django.core.management import call_command

import authmodes

PACKAGE = Path(authmodes.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if "migrations" not in path.relative_to(PACKAGE).parts
)


def test_the_import_contracts_are_kept():
    # In a process of its own: it takes the handlers off the loggers of the one it runs in.
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_models_have_their_migrations(db):
    call_command("makemigrations", "authmodes", check=True, dry_run=True)


def test_only_the_registry_writes_login_sessions_and_their_events():
    """An end has to reach the session, the tokens and the snapshot, so nobody sets one alone."""
    ending = r"\.(ended_at|end_reason|ended_by)\s*=(?!=)|\.update\([^)]*\bended_at="
    writing = r"Login(Session|Event)(\(|\.objects\.(create|update|bulk_|get_or_create|delete))"
    writers = [
        f"{path.relative_to(PACKAGE)}: {found[0]}"
        for path in MODULES
        if "registry" not in path.relative_to(PACKAGE).as_posix()
        for found in re.finditer(f"(?<!class ){writing}|{ending}", path.read_text())
    ]
    assert not writers


def read_at_import(tree):
    """Every expression that is evaluated when the module is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from filter(None, [*node.args.defaults, *node.args.kw_defaults])
        elif isinstance(node, ast.Module | ast.ClassDef):
            yield from (one for one in node.body if isinstance(one, ast.Assign | ast.AnnAssign))


def test_no_setting_is_read_at_import():
    """Tests and projects override them later."""
    read = {
        f"{path.relative_to(PACKAGE)}: {name.value.id}.{name.attr}"
        for path in MODULES
        for node in read_at_import(ast.parse(path.read_text()))
        for name in ast.walk(node)
        if isinstance(name, ast.Attribute)
        and isinstance(name.value, ast.Name)
        and name.value.id in ("conf", "settings")
        # A foreign key's target has to be known when the class is made.
        and name.attr != "AUTH_USER_MODEL"
    }
    assert not read
