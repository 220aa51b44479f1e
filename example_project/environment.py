"""What the hosts of the demo take from the environment: addresses, files and kept secrets."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

PROJECT_DIR = Path(__file__).resolve().parent
VAR_DIR = Path(os.environ.get("DEMO_VAR_DIR") or PROJECT_DIR / "var").resolve()

SITE_PORT = int(os.environ.get("SITE_PORT") or 8000)
IDP_PORT = int(os.environ.get("IDP_PORT") or 8001)
SPA_PORT = int(os.environ.get("SPA_PORT") or 8002)
SERVICE_PORT = int(os.environ.get("SERVICE_PORT") or 8003)
SECOND_PORT = int(os.environ.get("SECOND_PORT") or 8004)
SITE_URL = (os.environ.get("SITE_URL") or f"http://localhost:{SITE_PORT}").rstrip("/")
IDP_URL = (os.environ.get("IDP_URL") or f"http://localhost:{IDP_PORT}").rstrip("/")
SPA_URL = (os.environ.get("SPA_URL") or f"http://localhost:{SPA_PORT}").rstrip("/")
# The host of the token app once more, under a name that makes it a different site.
OTHER_SITE_URL = (os.environ.get("OTHER_SITE_URL") or f"http://127.0.0.1:{SPA_PORT}").rstrip("/")
SERVICE_URL = (os.environ.get("SERVICE_URL") or f"http://localhost:{SERVICE_PORT}").rstrip("/")
SECOND_URL = (os.environ.get("SECOND_URL") or f"http://localhost:{SECOND_PORT}").rstrip("/")

# It needs no package, so any Python will do.
NATIVE_COMMAND = f"python3 example_project/hosts/native.py {SITE_URL} {SERVICE_URL}"

# Where a sign-in may end: the app on its own origin, a program on this machine, an app with its
# own scheme. The pages on the way name them in `form-action`. A policy cannot name [::1].
APP_SCHEME = "org.example.authmodes"
APP_SOURCES = [SPA_URL, "http://127.0.0.1:*", f"{APP_SCHEME}:"]

# Both sites must agree on these. They protect only two processes on one machine, so they may
# be constants; a real site gets them from its provider.
OIDC_PROVIDER_ID = "demo"
OIDC_CLIENT_ID = os.environ.get("DEMO_OIDC_CLIENT_ID") or "example-site"
OIDC_CLIENT_SECRET = os.environ.get("DEMO_OIDC_CLIENT_SECRET") or "example-site-demo-secret"


def secret(name: str) -> str:
    """Read a variable, or the file that `NAME_FILE` names, as containers get their secrets."""
    if path := os.environ.get(f"{name}_FILE"):
        return Path(path).read_text(encoding="utf-8").strip()
    return os.environ.get(name, "").strip()


def flag(name: str, default: bool) -> bool:
    """Read a yes-or-no variable; `0`, `false`, `no` and `off` are no."""
    value = os.environ.get(name, "").strip().lower()
    if not value:
        return default
    return value not in {"0", "false", "no", "off"}


def kept_secret(filename: str, make: Callable[[], str]) -> str:
    """Return the secret kept in the var directory; make it the first time it is asked for."""
    VAR_DIR.mkdir(parents=True, exist_ok=True)
    path = VAR_DIR / filename
    if not path.exists():
        draft = path.with_name(f"{filename}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(make())
        # Unlike a rename, a link never replaces: two processes that start at once agree.
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text(encoding="utf-8")


def sqlite(path: Path) -> dict[str, Any]:
    """Return a SQLite database that handles several requests at once.

    IMMEDIATE takes the write lock when a transaction begins; Django's default takes it at
    the first write, and then fails at once if another request holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
