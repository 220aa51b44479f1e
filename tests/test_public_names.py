"""The public names of the package, and every name that the documents mention, exist."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))

# DESIGN, section 5. A project imports these names or writes them into its settings, so they
# change only on purpose.
PUBLIC = (
    "authmodes.adapter.AuthModesAccountAdapter",
    "authmodes.adapter.AuthModesAdapterMixin",
    "authmodes.adapter.AuthModesSocialAccountAdapter",
    "authmodes.adapter.AuthModesSocialAccountAdapterMixin",
    "authmodes.api.serializers.TokenBlacklistSerializer",
    "authmodes.api.serializers.TokenObtainPairSerializer",
    "authmodes.api.serializers.TokenRefreshSerializer",
    "authmodes.api.serializers.TokenVerifySerializer",
    "authmodes.authentication.AuthModesAuthentication",
    "authmodes.authentication.aauthenticate",
    "authmodes.authentication.aauthenticate_token",
    "authmodes.authentication.authenticate",
    "authmodes.authentication.authenticate_token",
    "authmodes.contrib.channels.AuthModesMiddleware",
    "authmodes.contrib.hijack.impersonating",
    "authmodes.contrib.health.health",
    "authmodes.contrib.prometheus.register",
    "authmodes.contrib.ninja.AuthModesAuth",
    "authmodes.contrib.ninja.add_exception_handlers",
    "authmodes.middleware.LoginSessionMiddleware",
    "authmodes.models.LoginEvent",
    "authmodes.models.LoginSession",
    "authmodes.models.LoginSession.objects.active",
    "authmodes.permissions.HasScope",
    "authmodes.permissions.RecentLogin",
    "authmodes.permissions.recent_login",
    "authmodes.registry.prune",
    "authmodes.registry.prune_in_batches",
    "authmodes.registry.revoke",
    "authmodes.registry.revoke_all",
    "authmodes.registry.revoke_in_batches",
    "authmodes.registry.revoke_user",
    "authmodes.registry.start",
    "authmodes.sessions.cached_db",
    "authmodes.sessions.db",
    "authmodes.signals.login_refused",
    "authmodes.signals.login_session_ended",
    "authmodes.signals.login_session_started",
    "authmodes.signals.refresh_token_reused",
    "authmodes.strategy.AuthModesTokenStrategy",
    "authmodes.testing.alogin",
    "authmodes.testing.login",
    "authmodes.testing.no_throttles",
    "authmodes.tokens.AccessToken",
    "authmodes.tokens.RefreshToken",
    "authmodes.tokens.mint",
    "authmodes.urls",
    "authmodes.well_known",
)
# The ids of checks and the permissions have the same prefix.
NOT_A_NAME = re.compile(r"authmodes\.([EWI]\d{3}|(view|add|change|revoke)_\w+)$")


def resolve(name: str) -> Any:
    """Import as much of a dotted name as is a module, and look the rest up."""
    parts = name.split(".")
    found: Any = import_module(parts[0])
    for position, part in enumerate(parts[1:], 2):
        if not hasattr(found, part):
            import_module(".".join(parts[:position]))
        found = getattr(found, part)
    return found


def names_in(document: Path) -> set[str]:
    """Dotted names, names that an example imports, and what it then asks of an imported name."""
    text = document.read_text()
    dotted = set(re.findall(r"\bauthmodes(?:\.[A-Za-z_]\w*)+", text))
    for module, names in re.findall(r"^from (authmodes[\w.]*) import (.+)$", text, re.MULTILINE):
        for name in names.split(", "):
            used = re.findall(rf"\b{name}((?:\.[A-Za-z_]\w*)+)\(", text)
            dotted |= {f"{module}.{name}{attributes}" for attributes in ("", *used)}
    return {name for name in dotted if not NOT_A_NAME.match(name)}


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_exists(name):
    assert resolve(name) is not None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_name_in_a_document_exists(document):
    for name in sorted(names_in(document)):
        resolve(name)
