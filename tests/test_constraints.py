"""constraints/ holds what setup.cfg promises, and what the code says was tested."""

import json
import re
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import authmodes
from authmodes.checks.installation import NEWEST_TESTED

ROOT = Path(__file__).parent.parent
SETUP = ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def promised(classifier: str) -> set[str]:
    """What the classifiers name of Python or Django, such as "5.2"."""
    lines = SETUP["metadata"]["classifiers"].splitlines()
    found = {line.removeprefix(classifier) for line in lines if line.startswith(classifier)}
    return {version for version in found if "." in version}


def pins(name: str) -> dict[str, Version]:
    lines = (ROOT / "constraints" / f"{name}.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(package): Version(version) for package, version in pairs}


def constraints() -> dict[str, dict[str, Version]]:
    """The pins for each Python."""
    paths = (ROOT / "constraints").glob("py*.txt")
    return {path.stem.removeprefix("py"): pins(path.stem) for path in paths}


def test_every_python_and_django_that_is_promised_is_tested():
    assert set(constraints()) == promised("Programming Language :: Python :: ")
    djangos = [found["django"] for found in constraints().values()]
    assert {f"{django.major}.{django.minor}" for django in djangos} == promised(
        "Framework :: Django :: "
    )


@pytest.mark.parametrize("package", NEWEST_TESTED)
def test_the_check_knows_the_newest_release_that_was_tested(package):
    named = Version(NEWEST_TESTED[package])
    newest = max(found[package] for found in constraints().values())
    # allauth is named without its patch release.
    assert newest.release[: len(named.release)] == named.release
    assert len(named.release) == (2 if package == "django-allauth" else 3)


def test_the_lowest_versions_are_those_of_setup_cfg():
    extras = SETUP["options.extras_require"]
    optional = extras["jwe"], extras["redis"], extras["spectacular"]
    sections = SETUP["options"]["install_requires"], *optional
    wanted = [Requirement(line) for line in "\n".join(sections).split("\n") if line]
    lowest = pins("lowest")
    for requirement in wanted:
        (floor,) = requirement.specifier
        assert lowest[canonicalize_name(requirement.name)] == Version(floor.version)


def test_the_page_of_versions_says_what_is_tested():
    text = (ROOT / "docs" / "versions.md").read_text()
    rows = re.findall(
        r"^\| ([\w-]+)(?: \(optional\))? \| (\d\S*) \| (\d\S*) \|$", text, re.MULTILINE
    )
    found = {canonicalize_name(name): (lowest, newest) for name, lowest, newest in rows}
    extras = SETUP["options.extras_require"]
    optional = extras["jwe"], extras["redis"], extras["spectacular"]
    sections = SETUP["options"]["install_requires"], *optional
    names = {
        canonicalize_name(Requirement(line).name)
        for line in "\n".join(sections).split("\n")
        if line
    }
    assert found == {
        name: (str(pins("lowest")[name]), str(max(each[name] for each in constraints().values())))
        for name in names
    }


# -- the matrix ----------------------------------------------------------------------------

DATABASES = ("sqlite", "postgres", "mariadb")


def matrix() -> dict[str, tuple[str, ...]]:
    """Python and Django by environment."""
    lines = (ROOT / ".ci" / "matrix").read_text().splitlines()
    rows = [line.split()[:3] for line in lines if not line.startswith("#")]
    return {name: (python, django) for name, python, django in rows}


def test_the_matrix_has_each_file_of_constraints_with_its_django():
    environments = matrix()
    assert set(environments) == {*(f"py{python}" for python in constraints()), "lowest", "newest"}
    for python, found in constraints().items():
        django = f"{found['django'].major}.{found['django'].minor}"
        assert environments[f"py{python}"] == (python, django)
    lowest = pins("lowest")["django"]
    assert environments["lowest"] == (min(constraints()), f"{lowest.major}.{lowest.minor}")


def test_the_page_of_versions_says_what_runs_where():
    text = (ROOT / "docs" / "versions.md").read_text()
    rows = re.findall(r"^\| `(\w\S+)` \| (\S+) \| (\S+) \|(.*)\|(.*)\|(.*)\|$", text, re.MULTILINE)
    assert {name: (python, django) for name, python, django, *_cells in rows} == matrix()
    documented = {
        (name, database)
        for name, _python, _django, *cells in rows
        for database, cell in zip(DATABASES, cells, strict=True)
        if cell.strip()
    }
    script = (ROOT / ".ci" / "run").read_text()
    suites = re.findall(r"^(?:\w+=\S+ )?suite (\S+) (\w+) ", script, re.MULTILINE)
    # `make test` is the one of the oldest Python.
    assert documented == {*suites, ("py3.11", "sqlite")}


# -- the release ---------------------------------------------------------------------------


def test_the_change_log_begins_with_this_version_its_security_and_its_compatibility():
    section = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1]
    assert re.match(rf"{re.escape(authmodes.__version__)} \(", section)
    assert re.findall("^### (.+)$", section, re.MULTILINE)[:2] == ["Security", "Compatibility"]


def test_the_javascript_client_has_the_version_of_the_package():
    path = ROOT / "authmodes" / "static" / "authmodes" / "client" / "package.json"
    # "1.0.0-rc.1" in npm's words.
    assert Version(json.loads(path.read_text())["version"]) == Version(authmodes.__version__)


def test_the_policy_names_this_version():
    assert f"| {authmodes.__version__} |" in (ROOT / "SECURITY.md").read_text()
