"""The benchmarks need peers and servers; what they compare and write is tested without."""

from typing import Any

from benchmarks import report
from benchmarks.__main__ import OVER_HTTP
from benchmarks.stacks import STACKS


def test_every_comparison_names_stacks_that_make_the_call():
    for call, *pair in ((call, ours, peer) for call, ours, peer, *_ in report.ASKED):
        for name in pair:
            assert call == "request" or getattr(STACKS[name], call), name
    for ours, peer, _bound in report.ASKED_HTTP:
        assert {ours, peer} <= set(OVER_HTTP) <= set(STACKS)


def test_the_page_shows_the_median_of_the_ratios_above_the_view(monkeypatch):
    monkeypatch.setattr(report, "version", lambda package: "1.0")
    page = report.page(measured())
    rows = [line for line in page.splitlines() if line.startswith("| request: token, database | s")]
    # 3, 2 and 1 milliseconds above the view, where the peer needs 2.
    assert rows == ["| request: token, database | simplejwt | 0.5 | 1.00 (0.50-1.50) |"]
    assert "| token, database | 2000 (1) | 2000 (1) | 2000 (1) |" in page
    assert "| token, database | simplejwt | at least 0.9 | 1.00 (1.00-1.00) |" in page
    assert "measured: 4.00" in page
    assert "request 2.0 times" in page
    assert "{" not in page


def measured() -> dict[str, Any]:
    """One millisecond for the view, and two more for each peer."""
    plain = [name for name, stack in STACKS.items() if not stack.is_prepared]
    times: dict[str, dict[str, list[float]]] = {
        call: {name: [0.003] * 3 for name in plain} for call in ("request", "refresh", "login")
    }
    for call in times:
        times[call]["floor"] = [0.001] * 3
    times["request"]["token, database"] = [0.004, 0.003, 0.002]
    times["refresh"]["token, database"] = times["login"]["token, database"] = [0.002] * 3
    done = {"seconds": 1.0, "peak": 90.0}
    calls = {"request": [0.001] * 2, "refresh": [0.001] * 2}
    return {
        "sqlite": {
            "times": times,
            "statements": {call: dict.fromkeys(plain, 1) for call in times},
            "http": {name: [100.0, 100.0, 100.0] for name in OVER_HTTP},
        },
        "million": {
            "rows": 1000,
            "big size": {"row": 300, "index": 200},
            "growth": {
                call: {"small": [0.001] * 4, "big": [0.001] * 2, "own": [0.001] * 2}
                for call in calls
            },
            "prune": {**done, "rows": 400},
            "flush": {**done, "rows": 100},
            "provider": {
                **done,
                "rows": 100,
                "before": calls,
                "beside": {"request": [0.002], "refresh": []},
            },
        },
        "about": {
            "moment": "now",
            "load": "0.1 to 0.2",
            "minutes": 9,
            "commit": "abc",
            "databases": "SQLite",
            "generator": "wrk",
        },
    }
