"""The overview: who is signed in, how, and what was ended why, from bounded queries.

A day that is over is counted once and kept in Django's cache. What is not counted yet when the
time of a request is used up is counted by the next one.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from typing import Any

from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from ..models import MODES, ClientFamily, EndReason, EventKind, LoginEvent, LoginSession
from .base import ListAdmin, relative_time

DAYS = 30
# Seconds that one request spends on days that are not in the cache.
BUDGET = 0.4
# How many of the newest sign-ins are looked through for those that are active.
NEWEST = 200_000
# How long today and the active logins are kept, and a day that is over.
SHORT, LONG = 60, 7 * 24 * 3600
KEY = "authmodes.overview"
# How many providers have a colour of their own.
SERIES = 6
REVOCATIONS = 10
REVOKED = (EndReason.REVOKED, EndReason.REVOKED_BY_USER)


class OverviewAdmin(ListAdmin):
    """Leads from the index and the sidebar to the overview."""

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may_open(request, LoginSession)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.open_view)
        return [path("", view, name=f"{self.opts.app_label}_{self.opts.model_name}_changelist")]

    def open_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        page = self.admin_site.get_model_admin(LoginSession)
        assert isinstance(page, ListAdmin)
        return HttpResponseRedirect(page.page_url("overview"))


def overview_context(names: dict[str, str], events: Any) -> dict[str, Any]:
    """Return what the page shows; `names` are those of the providers.

    `events` are the login events that the administrator may see; None if there are none.
    """
    days = [timezone.localdate() - timedelta(days=age) for age in range(DAYS)]
    counted = _count_days(days)
    active = cache.get(f"{KEY}.active") or _count_active()
    return {
        "charts": _charts(counted, active["rows"], names),
        "counted_at": relative_time(parse_datetime(active["at"])),
        "active_since": active["since"] and parse_datetime(active["since"]),
        "counted_days": len(counted),
        "all_days": DAYS,
        "revocations": None if events is None else _latest_revocations(events),
    }


# -- counting ------------------------------------------------------------------------------


def _count_days(days: list[date]) -> dict[date, dict[str, Any]]:
    """Count as many days as the time allows, the newest first."""
    keys = {day: f"{KEY}.{day}.{timezone.get_current_timezone_name()}" for day in days}
    kept = cache.get_many(keys.values())
    until = time.monotonic() + BUDGET
    counted: dict[date, dict[str, Any]] = {}
    has_counted = False
    for day, key in keys.items():
        if key not in kept:
            if has_counted and time.monotonic() > until:
                break
            has_counted = True
            kept[key] = _count_day(day)
            cache.set(key, kept[key], SHORT if day == days[0] else LONG)
        counted[day] = kept[key]
    return dict(sorted(counted.items()))


def _count_day(day: date) -> dict[str, Any]:
    begin = timezone.make_aware(datetime.combine(day, datetime.min.time()))
    end = timezone.make_aware(datetime.combine(day + timedelta(days=1), datetime.min.time()))
    started = LoginSession.objects.filter(created_at__gte=begin, created_at__lt=end).order_by()
    ended = LoginSession.objects.filter(ended_at__gte=begin, ended_at__lt=end).order_by()
    events = LoginEvent.objects.filter(
        kind__in=(EventKind.REFUSED, EventKind.REUSE), created_at__gte=begin, created_at__lt=end
    ).order_by()
    return {
        "started": list(started.values_list("mode", "provider").annotate(Count("pk"))),
        "ended": list(ended.values_list("end_reason").annotate(Count("pk"))),
        "events": list(events.values_list("kind").annotate(Sum("count"))),
    }


def _count_active() -> dict[str, Any]:
    now = timezone.now()
    rows = LoginSession.objects.order_by("-created_at", "-pk").values_list("created_at", flat=True)
    since = next(iter(rows[NEWEST : NEWEST + 1]), None)
    active = LoginSession.objects.active().order_by()
    if since is not None:
        active = active.filter(created_at__gt=since)
    groups = active.values_list("mode", "client_family", "provider").annotate(Count("pk"))
    counted = {
        "at": now.isoformat(),
        "since": since.isoformat() if since else None,
        "rows": list(groups),
    }
    cache.set(f"{KEY}.active", counted, SHORT)
    return counted


def _latest_revocations(events: Any) -> list[LoginEvent]:
    # One query for each reason, so that each is answered by the index on it.
    rows = events.filter(kind=EventKind.ENDED).prefetch_related("user", "actor")
    found = [
        event
        for code in REVOKED
        for event in rows.filter(code=code).order_by("-created_at", "-pk")[:REVOCATIONS]
    ]
    return sorted(found, key=lambda event: event.created_at, reverse=True)[:REVOCATIONS]


# -- charts --------------------------------------------------------------------------------


def _charts(
    counted: dict[date, dict[str, Any]], active: list[Any], names: dict[str, str]
) -> list[dict[str, Any]]:
    """Return each chart as labels and series; its table shows the same."""
    modes: dict[str, Any] = dict(MODES)

    def provider(value: str) -> str:
        return names.get(value, value) or _("Without a provider")

    def by_day(title: str, rows: str, label: Callable[[Any], Any]) -> dict[str, Any]:
        totals = [_sums((label(row), row[-1]) for row in day[rows]) for day in counted.values()]
        all_of_them = sum(totals, Counter[str]())
        shown = [name for name, _count in all_of_them.most_common(SERIES)]
        series = [{"label": name, "data": [day[name] for day in totals]} for name in shown]
        if len(all_of_them) > SERIES:
            rest = [sum(day.values()) - sum(day[name] for name in shown) for day in totals]
            series.append({"label": _("Others"), "data": rest})
        labels = [date_format(day, "MONTH_DAY_FORMAT") for day in counted]
        return {"title": title, "type": "bar", "head": _("Day"), "labels": labels, "series": series}

    def by_value(title: str, head: str, rows: Iterable[tuple[Any, int]]) -> dict[str, Any]:
        totals = _sums(rows).most_common()
        data = [count for _name, count in totals]
        return {
            "title": title,
            "type": "horizontal",
            "head": head,
            "labels": [str(name) for name, _count in totals],
            "series": [{"label": _("Login sessions"), "data": data}],
        }

    reasons, kinds = dict(EndReason.choices), dict(EventKind.choices)
    clients = dict(ClientFamily.choices)
    charts = [
        by_day(_("Sign-ins per day by mode"), "started", lambda row: modes.get(row[0], row[0])),
        by_day(_("Sign-ins per day by provider"), "started", lambda row: provider(row[1])),
        by_value(_("Active now by mode"), _("Mode"), ((modes[r[0]], r[-1]) for r in active)),
        by_value(_("Active now by client"), _("Client"), ((clients[r[1]], r[-1]) for r in active)),
        by_value(
            _("Active now by provider"), _("Provider"), ((provider(r[2]), r[-1]) for r in active)
        ),
        by_value(
            _("Ended by reason"),
            _("End reason"),
            (
                (reasons.get(reason, reason), count)
                for day in counted.values()
                for reason, count in day["ended"]
            ),
        ),
        by_day(
            _("Refused sign-ins and reused tokens per day"),
            "events",
            lambda row: kinds.get(row[0], row[0]),
        ),
    ]
    for chart in charts:
        # Each row of the table: a label, and a figure of each series.
        columns = [each["data"] for each in chart["series"]]
        chart["rows"] = list(zip(chart["labels"], zip(*columns, strict=True), strict=False))
    return charts


def _sums(pairs: Iterable[tuple[Any, int]]) -> "Counter[str]":
    sums: Counter[str] = Counter()
    for name, count in pairs:
        sums[str(name)] += count
    return sums
