"""Adapters of a project that replaces a rule of allauth's."""

from django.http import HttpRequest

from authmodes.adapter import AuthModesAccountAdapter

HOME = "192.0.2.10"


class OwnRule(AuthModesAccountAdapter):
    def get_client_ip(self, request: HttpRequest) -> str:
        return request.META.get("HTTP_X_OURS", HOME)
