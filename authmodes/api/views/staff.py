"""The administrator's list of login sessions, and revocation, over REST (`AUTHMODES_STAFF_API`)."""

from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError as DjangoValidationError
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from rest_framework.exceptions import NotFound, PermissionDenied, ValidationError
from rest_framework.generics import get_object_or_404
from rest_framework.permissions import SAFE_METHODS, BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from ... import registry
from ...admin.login_sessions import LoginSessionAdmin, of_users
from ...conf import conf
from ...exceptions import InsufficientAuthentication
from ...models import LoginSession
from ...permissions import RecentLogin
from ...registry import ending, events
from ...state import to_django
from .. import answers, inputs
from . import base
from .sessions import LoginSessionPagination

# How many batches of `registry.revoke_in_batches` one call ends at most.
BATCHES = 10
LOOKUPS = {"before": "created_at__lt", "after": "created_at__gte"}


def login_session_admin() -> LoginSessionAdmin:
    """Return the admin page whose permissions apply: the site's own, if it has one."""
    if not admin.site.is_registered(LoginSession):
        return LoginSessionAdmin(LoginSession, admin.site)
    registered: Any = admin.site.get_model_admin(LoginSession)
    return registered


class IsAdministrator(BasePermission):
    """Allow users of the admin site who may view login sessions there, or revoke them."""

    def has_permission(self, request: Request, view: Any) -> bool:
        django_request = to_django(request)
        try:
            is_admitted = admin.site.has_permission(django_request)
        except AttributeError:
            # An admin site that asks for more, such as a second factor, asks the user of a cookie.
            return False
        page = login_session_admin()
        if not is_admitted or not page.has_view_permission(django_request):
            return False
        return request.method in SAFE_METHODS or page.has_revoke_permission(django_request)


class StaffView(base.LoginSessionView):
    """For administrators, where the project has switched it on. Writes need a recent sign-in."""

    permission_classes = (IsAuthenticated, IsAdministrator)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if not conf.STAFF_API and hasattr(self, str(request.method).lower()):
            raise NotFound
        super().initial(request, *args, **kwargs)

    def get_permissions(self) -> Any:
        recent = [] if self.request.method in SAFE_METHODS else [RecentLogin()]
        return [*super().get_permissions(), *recent]

    def represent(self, request: Request, rows: Any, **kwargs: Any) -> Any:
        page = login_session_admin()
        context = {
            "request": request,
            "shows_address": page.has_address_permission(to_django(request)),
        }
        return answers.StaffLoginSessionSerializer(rows, context=context, **kwargs).data


class StaffSessionListView(StaffView):
    """The login sessions of all users."""

    @base.describe(
        query=inputs.StaffQuerySerializer,
        answers={200: answers.StaffLoginSessionPageSerializer},
        errors=(ValidationError, PermissionDenied, NotFound),
    )
    def get(self, request: Request) -> Response:
        """List login sessions, the newest sign-in first."""
        fields = _read(request, inputs.StaffQuerySerializer)
        status = fields.pop("status", "")
        found: Any = _matching(request, fields)
        rows = getattr(found, status)() if status else found
        paginator = LoginSessionPagination()
        page = paginator.paginate_queryset(rows, request, view=self)
        return paginator.get_paginated_response(self.represent(request, page, many=True))

    @base.describe(
        query=inputs.StaffRevokeQuerySerializer,
        answers={200: answers.StaffRevokedSerializer},
        errors=(ValidationError, PermissionDenied, InsufficientAuthentication, NotFound),
    )
    def delete(self, request: Request) -> Response:
        """Revoke the active login sessions of a user, of a provider, or from before a moment.

        The caller's own stays, and so do those of superusers unless the caller is one. One call
        ends 10,000 at most; call again while the answer says `has_more`.
        """
        unknown = set(request.query_params) - set(inputs.StaffRevokeQuerySerializer().fields)
        if unknown:
            # A filter of the list alone, without which more would end than was listed.
            raise ValidationError(dict.fromkeys(unknown, _("Not a parameter of a revocation.")))
        fields = _read(request, inputs.StaffRevokeQuerySerializer)
        wants_all = fields.pop("all", "0") == "1"
        if bool(fields) == wants_all:
            raise ValidationError(_("Name a user, a provider or a moment, or only all=1."))
        described = "&".join(f"{name}={value}" for name, value in fields.items()) or "all"
        own = base.own_login(request)
        actor = own.user
        page: Any = login_session_admin()
        matching = _matching(request, fields)
        if fields.keys() == {"user"}:
            matching = _rows(request).filter(of_users([fields["user"]]))
        rows = page.revocable(to_django(request), matching.active()).exclude(sid=own.sid)
        _cancel_unfinished(request, fields)
        event = events.new_bulk(described, by=actor)
        ended = 0
        batches = registry.revoke_in_batches(rows, by=actor, event=event)
        for _number, count in zip(range(BATCHES), batches, strict=False):
            ended += count
        if ended:
            done = ngettext(
                "Revoked %(count)s login session.", "Revoked %(count)s login sessions.", ended
            )
            _log(actor, described, done % {"count": ended})
        return Response({"ended": ended, "has_more": rows.exists()})


class StaffSessionDetailView(StaffView):
    """One login session of any user."""

    @base.describe(
        answers={200: answers.StaffLoginSessionSerializer},
        errors=(PermissionDenied, NotFound),
    )
    def get(self, request: Request, sid: str) -> Response:
        return Response(self.represent(request, self._find(request, sid)))

    @base.describe(
        answers={204: None}, errors=(PermissionDenied, InsufficientAuthentication, NotFound)
    )
    def delete(self, request: Request, sid: str) -> Response:
        """Revoke a login session. One that has ended is answered alike."""
        row = self._find(request, sid)
        if not login_session_admin().has_revoke_permission(to_django(request), row):
            raise PermissionDenied
        actor = base.own_login(request).user
        if registry.revoke(row, by=actor):
            _log(actor, str(row), _("Revoked."), row)
        return Response(status=204)

    def _find(self, request: Request, sid: str) -> LoginSession:
        row: LoginSession = get_object_or_404(_rows(request), sid=sid)
        if not login_session_admin().has_view_permission(to_django(request), row):
            raise PermissionDenied
        return row


def _read(request: Request, serializer_class: type[Any]) -> dict[str, Any]:
    query = serializer_class(data=request.query_params.dict())
    try:
        query.is_valid(raise_exception=True)
    except OverflowError as error:
        # Of DRF's: a moment that has no year in UTC.
        raise ValidationError(_("Enter a valid date/time.")) from error
    paging = ("cursor", "page_size")
    fields = {
        name: value for name, value in query.validated_data.items() if value and name not in paging
    }
    if "user" in fields:
        try:
            fields["user"] = get_user_model()._meta.pk.clean(fields["user"], None)
        except DjangoValidationError as error:
            raise ValidationError({"user": error.messages}) from error
    return fields


def _rows(request: Request) -> Any:
    """Return what the admin page lists, which a project may have narrowed down."""
    return login_session_admin().get_queryset(to_django(request))


def _matching(request: Request, fields: Mapping[str, Any]) -> Any:
    lookups = {LOOKUPS.get(name, name): value for name, value in fields.items()}
    return _rows(request).filter(**lookups)


def _cancel_unfinished(request: Request, fields: Mapping[str, Any]) -> None:
    """Cancel the sign-ins that have no row yet: each would have begun after these were ended."""
    if fields.keys() == {"provider"}:
        spared = login_session_admin().spared(to_django(request))
        ending.cancel_authorization_codes(spare=spared, provider=fields["provider"])
    if fields.keys() == {"user"}:
        user: Any = get_user_model()._base_manager.filter(pk=fields["user"]).first()
        if user and login_session_admin().may_end_unfinished(to_django(request), user):
            ending.cancel_unfinished(user.pk)


def _log(actor: Any, name: str, message: str, row: LoginSession | None = None) -> None:
    LogEntry.objects.create(
        user_id=actor.pk,
        content_type=ContentType.objects.get_for_model(LoginSession),
        object_id=str(row.pk) if row else None,
        object_repr=name[:200],
        action_flag=CHANGE,
        change_message=message,
    )
