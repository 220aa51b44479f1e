"""Counters of logins for `prometheus_client`, in its default registry."""

from collections.abc import Iterator
from typing import Any

from prometheus_client import REGISTRY, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from .. import signals
from ..exceptions import refusal_codes
from ..models import EndReason, LoginSession
from ..tokens.snapshot import snapshot_age

__all__ = ["register"]

UID = "authmodes.contrib.prometheus"
# The client adds `_total` to the names of counters.
LOGINS = Counter("authmodes_logins", "Logins that started.", ["mode", "provider"])
REFUSED = Counter("authmodes_refused", "Attempts to sign in that were refused.", ["code"])
REUSE = Counter("authmodes_reuse", "Refresh tokens that were reused.")
ENDED = Counter("authmodes_ended", "Logins that ended.", ["reason"])


class SnapshotAge(Collector):
    """Left out in the client's multiprocess mode, where a `Gauge` with a function reads 0."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        age = snapshot_age()
        yield GaugeMetricFamily(
            "authmodes_snapshot_age_seconds",
            "Age of this process's snapshot; NaN without one.",
            value=float("nan") if age is None else age.total_seconds(),
        )


REGISTRY.register(SnapshotAge())


def register() -> None:
    """Count from now on. Call it in `ready()` of an app; a second call changes nothing."""
    signals.login_session_started.connect(_count_login, dispatch_uid=UID)
    signals.login_refused.connect(_count_refusal, dispatch_uid=UID)
    signals.refresh_token_reused.connect(_count_reuse, dispatch_uid=UID)
    signals.login_session_ended.connect(_count_end, dispatch_uid=UID)
    # A series that begins at 1 has not grown for Prometheus, so the first would be missed.
    for reason in EndReason.values:
        ENDED.labels(reason)
    for code in refusal_codes():
        REFUSED.labels(code)


def _count_login(login_session: LoginSession, **kwargs: Any) -> None:
    LOGINS.labels(login_session.mode, login_session.provider).inc()


def _count_refusal(code: str, **kwargs: Any) -> None:
    REFUSED.labels(code).inc()


def _count_reuse(**kwargs: Any) -> None:
    REUSE.inc()


def _count_end(login_session: LoginSession, **kwargs: Any) -> None:
    ENDED.labels(login_session.end_reason).inc()
