"""The endpoints for providers that end logins; the signature of their token authenticates them."""

import logging
from typing import Any

from allauth.socialaccount.providers.base import Provider
from django.core.exceptions import SuspiciousOperation
from django.http import Http404
from rest_framework.exceptions import APIException, NotFound, ParseError
from rest_framework.parsers import BaseParser, FormParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from ... import exceptions as errors
from ... import logs
from ...signin import issuers, providers
from ...state import to_django
from ...upstream import events as security_events
from ...upstream import logout as upstream_logout
from .. import answers, inputs
from .base import FORM, PublicView, describe

BODY_MAX_LENGTH = 65_536
PUSH_ERRORS = (errors.UpstreamTokenRefused, NotFound, errors.ProviderUnavailable)


class LogoutTokenParser(FormParser):
    """DRF's parser, which answers Django's limits with JSON and not with a page."""

    def parse(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().parse(*args, **kwargs)
        except SuspiciousOperation:
            raise ParseError("The form has too many fields.") from None


class SecurityEventParser(BaseParser):
    """The bare token that RFC 8935, 2.1 asks for."""

    media_type = "application/secevent+jwt"

    def parse(self, stream: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return str(stream.read(BODY_MAX_LENGTH), "ascii")
        except UnicodeDecodeError:
            raise ParseError("The body is not a signed token.") from None


class UpstreamView(PublicView):
    """A call by a provider: no cookie, no login of ours, no CSRF token."""

    renderer_classes = (JSONRenderer,)
    error_serializer = answers.UpstreamErrorSerializer
    credential_scope = "authmodes_upstream"
    # Not the project's throttles: DRF's trust `X-Forwarded-For`, so an attacker who sends the
    # provider's address there would use up its calls.
    throttle_classes = ()

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        # A call is processed whatever content types the provider accepts.
        return super().perform_content_negotiation(request, force=True)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        length = request.META.get("CONTENT_LENGTH") or "0"
        # Count the digits first: `int()` raises for thousands of them.
        if length.isdecimal() and (len(length) > 9 or int(length) > BODY_MAX_LENGTH):
            raise ParseError("The body is too long.")
        super().initial(request, *args, **kwargs)

    def ends_a_login(self, request: Request) -> bool:
        """Verify the token before a call over the count is refused: strangers may use it up."""
        try:
            return self.would_end(request)
        except errors.ProviderUnavailable:
            # The call is answered with 503, and the provider may send it again.
            return True
        except (APIException, Http404):
            return False

    def would_end(self, request: Request) -> bool:
        raise NotImplementedError

    def handle_exception(self, exc: Exception) -> Response:
        response = super().handle_exception(exc)
        # Providers rarely report the errors that they receive.
        name, reason = self.kwargs["provider"][:100], response.data["detail"]
        logs.log(logging.WARNING, "provider_call_refused", provider=name, reason=reason)
        return response


class UpstreamLogoutView(UpstreamView):
    """OpenID Connect Back-Channel Logout 1.0: form parameter `logout_token`."""

    parser_classes = (LogoutTokenParser,)

    @describe(body={FORM: inputs.LogoutTokenSerializer}, answers={200: None}, errors=PUSH_ERRORS)
    def post(self, request: Request, provider: str) -> Response:
        upstream_logout.log_out(*self._presented(request))
        return Response()

    def would_end(self, request: Request) -> bool:
        return upstream_logout.would_log_out(*self._presented(request))

    def _presented(self, request: Request) -> tuple[list[Provider], Any]:
        named = providers.named(to_django(request), self.kwargs["provider"])
        form: Any = request.data
        return _or_404(issuers.openid_providers(named)), form.get("logout_token")

    def handle_exception(self, exc: Exception) -> Response:
        response = super().handle_exception(exc)
        # Section 2.8, in addition to what every error contains.
        error = "invalid_request" if response.status_code < 500 else "temporarily_unavailable"
        description = str(response.data["detail"])
        response.data = {"error": error, "error_description": description, **response.data}
        return response


class UpstreamEventsView(UpstreamView):
    """Security event tokens by push (RFC 8935), such as Google's Cross-Account Protection."""

    parser_classes = (SecurityEventParser,)

    @describe(body={SecurityEventParser.media_type: str}, answers={202: None}, errors=PUSH_ERRORS)
    def post(self, request: Request, provider: str) -> Response:
        security_events.receive(*self._presented(request))
        return Response(status=202)

    def would_end(self, request: Request) -> bool:
        return security_events.would_end(*self._presented(request))

    def _presented(self, request: Request) -> tuple[list[Provider], Any]:
        named = providers.named(to_django(request), self.kwargs["provider"])
        return _or_404(issuers.transmitters(named)), request.data

    def handle_exception(self, exc: Exception) -> Response:
        response = super().handle_exception(exc)
        # RFC 8935, 2.4; `UpstreamTokenRefused` uses its codes.
        code = response.data["code"]
        err = code if code.startswith("invalid_") else "invalid_request"
        response.data = {"err": err, "description": str(response.data["detail"]), **response.data}
        return response


def _or_404(found: list[Provider]) -> list[Provider]:
    if not found:
        raise Http404
    return found
