"""What a login still waits for when allauth's flow has stopped, and how one call completes it.

No credential exists before the last stage is done. This module only names the stage, and passes
what the client sent to allauth's own forms.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from allauth.socialaccount import app_settings as socialaccount_settings
from allauth.socialaccount.adapter import get_adapter as get_socialaccount_adapter
from allauth.utils import get_form_class
from django.conf import settings
from django.core.exceptions import NON_FIELD_ERRORS
from django.db import transaction
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from rest_framework.exceptions import ValidationError

from ..conf import Mode
from ..exceptions import InvalidMfaCode, LoginRefused, StagePending, UserInactive
from ..models import LoginSession, is_accepted, write_database
from ..state import request_state
from .allauth_internals import get_pending_stage, social_flows
from .flow import throttled

MFA, TRUST, SIGNUP = "mfa_authenticate", "mfa_trust", "provider_signup"
# What Django and DRF call the errors that belong to no field.
NAMES = {NON_FIELD_ERRORS: "non_field_errors"}


@dataclass(frozen=True)
class Answers:
    """What a client sent for the stages that it knows or was told of."""

    mfa_code: str = ""
    signup: Mapping[str, Any] = field(default_factory=dict)


def conclude(request: HttpRequest, user: Any, answers: Answers) -> LoginSession:
    """Return the login session that the flow has started.

    Raises `StagePending`, and `AuthenticationFailed` or `Throttled` for a wrong second
    factor or a login that allauth has refused.
    """
    stage = get_pending_stage(request)
    if stage is not None and stage.key == MFA and answers.mfa_code:
        _authenticate(stage, answers.mfa_code)
        stage = get_pending_stage(request)
    if stage is not None and stage.key == TRUST:
        # allauth's page asks whether to trust the browser. A client that cannot answer is not
        # trusted, and is asked for the second factor again next time.
        stage.exit()
        stage = get_pending_stage(request)
    if stage is not None:
        page = _page(request, stage.urlname)
        raise StagePending(stage.key, page=page, fields=_fields(stage))
    started = request_state(request).login_session
    if started is not None:
        return started
    if user is not None and not is_accepted(user):
        raise UserInactive
    raise LoginRefused


def sign_up(request: HttpRequest, sociallogin: Any, answers: Answers) -> None:
    """Complete a social sign-up for which allauth would show its form.

    Raises `StagePending`, or `ValidationError` for invalid fields.
    """
    form_class = get_form_class(
        socialaccount_settings.FORMS, "signup", "allauth.socialaccount.forms.SignupForm"
    )
    known = get_socialaccount_adapter(request).get_signup_form_initial_data(sociallogin)
    form = form_class({**known, **answers.signup}, sociallogin=sociallogin)
    is_valid = form.is_valid()
    if not set(answers.signup) & set(form.fields):
        # Nothing need be missing: a project may want every sign-up to be confirmed.
        fields = [name for name in form.fields if name in form.errors] or list(form.fields)
        page = _page(request, "socialaccount_signup")
        raise StagePending(SIGNUP, page=page, fields=fields)
    if not is_valid:
        raise ValidationError(
            {NAMES.get(name, name): errors for name, errors in form.errors.items()}
        )
    with transaction.atomic(using=write_database()):
        social_flows().signup.signup_by_form(request, sociallogin, form)


def error_codes(form: Any) -> set[str]:
    return {error.code for errors in form.errors.as_data().values() for error in errors}


def _authenticate(stage: Any, code: str) -> None:
    # Without allauth.mfa, which need not be installed, this stage does not exist.
    from allauth.mfa import app_settings
    from allauth.mfa.base.forms import AuthenticateForm

    if not code.isascii():
        # Not a code, and an error in allauth before 65.20.
        raise InvalidMfaCode
    form_class = get_form_class(app_settings.FORMS, "authenticate", AuthenticateForm)
    form = form_class({"code": code}, user=stage.login.user)
    if form.is_valid():
        form.save()
        stage.exit()
        return
    if "too_many_login_attempts" in error_codes(form):
        raise throttled("login_failed")
    raise InvalidMfaCode


def _fields(stage: Any) -> list[str]:
    if stage.key != MFA:
        return []
    from allauth.mfa.models import Authenticator

    # A security key is used on a page and has no code.
    authenticators = Authenticator.objects.filter(user=stage.login.user)
    has_code = authenticators.exclude(type=Authenticator.Type.WEBAUTHN).exists()
    return ["mfa_code"] if has_code else []


def _page(request: HttpRequest, urlname: str | None) -> str | None:
    """allauth's page for a stage, if the browser's own session holds the pending login."""
    requested = request_state(request).authorization_request
    if urlname is None or requested is None or requested.mode != Mode.SESSION:
        return None
    try:
        # Of the project's own URLs; `flow.run` may have added allauth's.
        return reverse(urlname, urlconf=getattr(request, "urlconf", None) or settings.ROOT_URLCONF)
    except NoReverseMatch:
        return None
