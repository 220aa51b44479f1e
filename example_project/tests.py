"""How a project tests its views with authmodes: `python manage.py test example_project`."""

from django.contrib.auth import get_user_model
from django.test import TestCase

from authmodes import registry
from authmodes.testing import login, no_throttles

HELLO = "/api/hello/"


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
