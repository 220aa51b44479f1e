"""Asks every library the same questions and prints the rows of the README's comparison.

    python -m benchmarks.rivals FOLDER

FOLDER gets an environment for each library, with the versions below. PostgreSQL has to run
(PGHOST, PGUSER, PGPASSWORD), because two refreshes at once are two transactions.
"""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMMON = ("Django==5.2.19", "djangorestframework==3.18.3", "psycopg[binary]==3.3.9")
SIMPLEJWT = "djangorestframework-simplejwt[crypto]==5.5.1"
ALLAUTH = "django-allauth[headless,mfa,socialaccount]==65.22.1"
PACKAGES = {
    "authmodes": (str(ROOT), SIMPLEJWT, ALLAUTH),
    "djangorestframework-simplejwt": (SIMPLEJWT,),
    "dj-rest-auth": ("dj-rest-auth[with-social,with-mfa]==7.2.0", SIMPLEJWT, ALLAUTH),
    "django-allauth": (ALLAUTH,),
    "django-jwt-allauth": ("django-jwt-allauth[mfa,social]==1.5.1", SIMPLEJWT, ALLAUTH),
    "drf-auth-kit": ("drf-auth-kit[all]==1.8.1", SIMPLEJWT, ALLAUTH),
}
WITH_TOKEN_COOKIES = ("authmodes", "dj-rest-auth", "drf-auth-kit")


def ask(folder: Path, name: str) -> dict[str, Any]:
    python = folder / name / "bin" / "python"
    if not python.exists():
        venv.create(folder / name, with_pip=True)
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    # PyJWT makes the provider's tokens.
    packages = (*COMMON, "pyjwt[crypto]", *PACKAGES[name])
    subprocess.run([*install, *packages], check=True)
    answers: dict[str, Any] = {}
    for cookies in ("", "1") if name in WITH_TOKEN_COOKIES else ("",):
        done = subprocess.run(
            [python, "-W", "ignore", Path(__file__).with_name("probe.py"), name],
            env={**os.environ, "RIVALS_COOKIES": cookies},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=300,
        )
        answers |= json.loads(done.stdout.splitlines()[-1])
    return answers


def said(answer: Any) -> str:
    return "n.a." if answer is None else "yes" if answer else "no"


def row(title: str, answers: dict[str, dict[str, Any]], question: Any) -> str:
    return f"| {title} | " + " | ".join(said(question(a)) for a in answers.values()) + " |"


def main(folder: Path) -> None:
    answers = {name: ask(folder, name) for name in PACKAGES}
    for name, answer in answers.items():
        print(name, json.dumps(answer))

    def social(question: str) -> Any:
        # "n.a." where there is no sign-in with a provider's token.
        return lambda a: a["social"][question] == "no tokens" if a["social"] else None

    def cookie(a: dict[str, Any]) -> bool | None:
        return a["cookie without CSRF"] == "refused" if "cookie without CSRF" in a else None

    print("\n| |", " | ".join(answers), "|")
    rows = {
        "Two tabs refresh at once": lambda a: set(a["two tabs"]) == {"one family"},
        "An exchanged refresh token is refused": lambda a: a["reuse"]["old is refused"],
        "Reuse ends the login": lambda a: a["reuse"]["ends"],
        "Access token after a password change": lambda a: not a["after password change"],
        "Access token of a deactivated user": lambda a: not a["after deactivation"],
        "Access token after a logout": lambda a: not a["after logout"],
        "The admin ends one login": lambda a: a["admin"] == "access token is refused",
        "One list": lambda a: a["one list"],
        "Second factor": social("second factor, by provider"),
        "Another client's token": social("another client's"),
        "Cookie without CSRF": cookie,
        "No refresh token in the database": lambda a: not a["refresh token in database"],
        "Registration and password reset": lambda a: a["registration"] and a["password reset"],
        "Second factor's endpoints": lambda a: a["mfa"],
    }
    for title, question in rows.items():
        print(row(title, answers, question))


if len(sys.argv) != 2:
    sys.exit(__doc__)
main(Path(sys.argv[1]).resolve())
