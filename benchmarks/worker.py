"""One stack in a process of its own: it measures what it is told to on standard input.

A call goes through the whole WSGI application. Each line names a call and a number; the answer
is the median in seconds. `credential` answers with the headers that authenticate.
"""

import gc
import io
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Any

PASSWORD = "correct horse battery staple"
CSRF = "x" * 32
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36"


class Client:
    """A client of one stack, with a user of its own."""

    def __init__(self, stack: Any, name: str) -> None:
        from django.contrib.auth import get_user_model
        from django.core.wsgi import get_wsgi_application

        self.stack, self.app, self.email = stack, get_wsgi_application(), f"{name}@example.com"
        model = get_user_model()
        self.user = model.objects.create_user(name, self.email, PASSWORD)
        self.name, self.headers, self.token = name, {}, ""
        if stack.form:
            self.sign_in()

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Return the status, the cookies and the content of an answer."""
        data = b"" if body is None else json.dumps(body).encode()
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "localhost",
            "HTTP_USER_AGENT": AGENT,
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(data)),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(data),
            "wsgi.errors": sys.stderr,
            **headers,
        }
        answer: list[Any] = []
        result = self.app(environ, lambda status, sent, _info=None: answer.extend((status, sent)))
        content = b"".join(result)
        if hasattr(result, "close"):
            result.close()
        cookies = SimpleCookie()
        for header, value in answer[1]:
            if header.lower() == "set-cookie":
                cookies.load(value)
        assert answer[0].startswith("200"), (path, answer[0], content[:500])
        return cookies, content

    def request(self) -> None:
        self.call("GET", "/view/", **self.headers)

    def login(self) -> Any:
        """Sign in by the stack's own endpoint, without a cookie from before."""
        body: dict[str, Any] = {"username": self.name, "password": PASSWORD}
        if self.stack.form.startswith("ours"):
            body["mode"] = self.stack.form.removeprefix("ours-")
        if self.stack.form == "jwt-allauth":
            body = {"email": self.email, "password": PASSWORD}
        csrf = {"HTTP_COOKIE": f"csrftoken={CSRF}", "HTTP_X_CSRFTOKEN": CSRF}
        return self.call("POST", self.stack.login, body, **csrf)

    def refresh(self) -> None:
        name = "refresh_token" if self.stack.form == "headless" else "refresh"
        _cookies, content = self.call("POST", self.stack.refresh, {name: self.token})
        answer = json.loads(content)
        self.token = answer.get("data", answer)[name]

    def sign_in(self) -> None:
        if self.stack.form == "session":
            self.headers = {"HTTP_COOKIE": f"sessionid={self._session()}; csrftoken={CSRF}"}
            return
        if self.stack.form == "knox":
            from knox.models import AuthToken

            self.headers = _bearer(AuthToken.objects.create(self.user)[1], "Token")
            return
        cookies, content = self.login()
        answer = json.loads(content)
        if "sessionid" in cookies and self.stack.form in ("allauth", "ours-session"):
            key = cookies["sessionid"].value
            self.headers = {"HTTP_COOKIE": f"sessionid={key}; csrftoken={CSRF}"}
            return
        answer = answer.get("meta", answer)
        self.headers = _bearer(answer.get("access_token") or answer["access"], "Bearer")
        self.token = answer.get("refresh_token") or answer.get("refresh", "")

    def _session(self) -> str:
        """What Django's own `login()` leaves."""
        from importlib import import_module

        from django.conf import settings
        from django.contrib.auth import login
        from django.http import HttpRequest

        request = HttpRequest()
        request.session = import_module(settings.SESSION_ENGINE).SessionStore()
        login(request, self.user, "django.contrib.auth.backends.ModelBackend")
        request.session.save()
        return request.session.session_key


def _bearer(token: str, scheme: str) -> dict[str, str]:
    return {"HTTP_AUTHORIZATION": f"{scheme} {token}"}


def measure(call: Callable[[], Any], count: int) -> float:
    call()
    gc.collect()
    gc.disable()
    times = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    gc.enable()
    return statistics.median(times)


def statements(call: Callable[[], Any]) -> int:
    """How many statements a call makes, without BEGIN and COMMIT."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        call()
    brackets = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")
    return sum(not query["sql"].startswith(brackets) for query in captured)


def make_tables() -> None:
    import django

    django.setup()
    from django.core.management import call_command

    # One peer has models that only its views import.
    from . import urls  # noqa: F401

    call_command("migrate", verbosity=0, skip_checks=True, run_syncdb=True)


def main() -> None:
    name = os.environ["BENCH_STACK"]
    # Only answers may go to standard output.
    answers, sys.stdout = sys.stdout, sys.stderr
    import django

    django.setup()
    from django.conf import settings

    client = Client(settings.STACK, "".join(letter for letter in name if letter.isalnum()))
    client.request()
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        what, count = json.loads(line)
        if what == "credential":
            answer: Any = client.headers
        elif count == 0:
            answer = statements(getattr(client, what))
        else:
            answer = measure(getattr(client, what), count)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    main() if sys.argv[1:] != ["--tables"] else make_tables()
