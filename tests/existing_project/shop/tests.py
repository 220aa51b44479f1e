from django.contrib.auth import get_user_model
from django.test import TestCase
from rest_framework_simplejwt.tokens import AccessToken

CREDENTIALS = {"username": "alice", "password": "correct horse battery"}


class ShopTests(TestCase):
    def setUp(self):
        self.alice = get_user_model().objects.create_user("alice", password="correct horse battery")

    def obtain(self):
        response = self.client.post("/api/token/", CREDENTIALS)
        assert response.status_code == 200
        return response.json()

    def orders(self, access):
        return self.client.get("/api/orders/", headers={"authorization": f"Bearer {access}"})

    def test_anonymous(self):
        assert self.client.get("/api/orders/").status_code == 403

    def test_session(self):
        self.client.force_login(self.alice)
        assert self.client.get("/api/orders/").json() == {"user": "alice", "staff": False}

    def test_signing_in_on_the_page(self):
        fields = {"login": "alice", "password": "correct horse battery"}
        self.assertRedirects(self.client.post("/accounts/login/", fields), "/")

    def test_tokens(self):
        answer = self.obtain()
        assert self.orders(answer["access"]).json() == {"user": "alice", "staff": False}

    def test_refreshing(self):
        answer = self.client.post("/api/token/refresh/", {"refresh": self.obtain()["refresh"]})
        assert self.orders(answer.json()["access"]).status_code == 200

    def test_the_app(self):
        self.client.force_login(self.alice)
        answer = self.client.post("/api/pair/").json()
        self.client.logout()
        assert self.orders(answer["access"]).status_code == 200

    def test_a_token_for_the_test(self):
        token = AccessToken.for_user(self.alice)
        token["staff"] = True
        response = self.client.get("/api/orders/", headers={"authorization": f"Bearer {token}"})
        assert response.status_code == 200
