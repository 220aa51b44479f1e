"""Only what test_binding names."""

from authmodes.adapter import AuthModesAccountAdapter

from .test_binding import HOME


class OwnRule(AuthModesAccountAdapter):
    def get_client_ip(self, request):
        return request.META.get("HTTP_X_OURS", HOME)
