"""The newest releases that authmodes was tested with, and the check that compares them."""

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from django.core.checks import CheckMessage, Info
from django.utils.version import get_version_tuple

from .base import Apps

# A test compares these with the files that `make constraints` writes. A patch release of allauth
# is not reported, because it only repairs.
NEWEST_TESTED = {
    "django-allauth": "65.22",
    "djangorestframework-simplejwt": "5.5.1",
}


def check_tested_versions(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    """I001: authmodes extends both packages, and a newer one may work differently."""
    for package, tested in NEWEST_TESTED.items():
        installed = version(package)
        newest = get_version_tuple(tested)
        if get_version_tuple(installed)[: len(newest)] > newest:
            yield Info(
                f"{package} {installed} is newer than {tested}, the newest that this release "
                "of authmodes was tested with.",
                hint="Look for a newer authmodes, and run your own tests of signing in and out.",
                id="authmodes.I001",
            )
