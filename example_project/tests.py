"""How a project tests its views with authmodes: `python manage.py test example_project`."""

from typing import Any, NoReturn

from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404
from django.test import SimpleTestCase, TestCase, override_settings
from django.urls import path

from authmodes import registry
from authmodes.testing import login, no_throttles

from . import urls

HELLO = "/api/hello/"
FAILURES = {
    400: SuspiciousOperation("secret"),
    403: PermissionDenied("secret"),
    404: Http404("secret"),
    500: RuntimeError("secret"),
}


def fail(request: Any, status: int) -> NoReturn:
    raise FAILURES[status]


urlpatterns = [
    *(path(f"{prefix}fail/<int:status>/", fail) for prefix in ("", "api/")),
    *urls.urlpatterns,
]
handler400, handler403 = urls.handler400, urls.handler403
handler404, handler500 = urls.handler404, urls.handler500


@no_throttles()
class HelloTests(TestCase):
    def setUp(self) -> None:
        self.alice = get_user_model().objects.create_user("alice")

    def test_a_stranger_is_refused(self) -> None:
        self.assertEqual(self.client.get(HELLO).status_code, 401)

    def test_the_view_is_the_same_for_a_cookie_and_a_token(self) -> None:
        for mode in ("session", "jwt"):
            with self.subTest(mode):
                login(self.client, self.alice, mode)
                self.assertEqual(self.client.get(HELLO).json()["mode"], mode)

    def test_a_revoked_login_is_refused(self) -> None:
        login_session = login(self.client, self.alice, "jwt")
        registry.revoke(login_session, by=self.alice)
        self.assertEqual(self.client.get(HELLO).json()["code"], "login_session_ended")


# The database cannot be asked in a SimpleTestCase, as if it were away.
@override_settings(ROOT_URLCONF=__name__)
class ErrorTests(SimpleTestCase):
    def setUp(self) -> None:
        self.client.raise_request_exception = False

    def test_errors_are_pages_of_the_site(self) -> None:
        for status in FAILURES:
            with self.subTest(status), self.assertLogs("django"):
                answer = self.client.get(f"/fail/{status}/")
                self.assertContains(answer, 'class="brand"', status_code=status)
                self.assertNotContains(answer, "secret", status_code=status)

    def test_errors_of_the_api_are_json_unless_a_browser_opens_them(self) -> None:
        for status in FAILURES:
            with self.subTest(status), self.assertLogs("django"):
                answer = self.client.get(f"/api/fail/{status}/")
                self.assertEqual(answer.status_code, status)
                self.assertEqual(answer.json().keys(), {"detail", "code"})
                page = self.client.get(f"/api/fail/{status}/", headers={"accept": "text/html,*/*"})
                self.assertContains(page, 'class="brand"', status_code=status)

    def test_a_form_without_its_token_gets_a_page(self) -> None:
        self.client.handler.enforce_csrf_checks = True
        with self.assertLogs("django.security.csrf"):
            answer = self.client.post("/accounts/login/")
        self.assertContains(answer, "This form is out of date", status_code=403)

    def test_a_page_that_needs_the_database_is_a_500_while_it_is_away(self) -> None:
        self.client.cookies["site_sessionid"] = "a" * 32
        with self.assertLogs("django.request"):
            answer = self.client.get("/account/")
        self.assertContains(answer, "Something went wrong", status_code=500)
