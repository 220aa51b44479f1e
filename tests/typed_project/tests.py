"""Tests of a project."""

from typing import assert_type

from django.contrib.auth.models import User
from django.test import TestCase

from authmodes.models import LoginSession
from authmodes.testing import login, no_throttles


class HelloTest(TestCase):
    def test_hello(self) -> None:
        user = User.objects.create_user("alice")
        with no_throttles():
            assert_type(login(self.client, user, "jwt"), LoginSession)
        assert self.client.get("/hello/").status_code == 200
