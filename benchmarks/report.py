"""Writes docs/performance.md from what was measured."""

import os
import platform
import statistics
from importlib.metadata import version
from pathlib import Path
from typing import Any

NAMES = {"postgres": "PostgreSQL", "sqlite": "SQLite"}
# call, stack, peer, and the ratio that is asked for: PostgreSQL, SQLite.
ASKED = (
    ("request", "token, database", "simplejwt", 0.9, 0.5),
    ("request", "token, prepared", "simplejwt, prepared", 0.6, None),
    ("request", "token, snapshot", "simplejwt stateless", 0.6, 0.6),
    ("request", "token, none", "simplejwt stateless", 0.6, 0.6),
    ("request", "cookie", "session", 1.03, 1.03),
    ("request", "cookie, authmodes.sessions.db", "session", 0.85, 0.85),
    ("request", "cookie, authmodes.sessions.cached_db", "session, cached_db", 1.0, 1.0),
    ("refresh", "token, database", "simplejwt", 0.4, 0.4),
    ("refresh", "token, database", "headless JWT", 0.9, 0.9),
    ("login", "token, database", "headless JWT", 0.85, 0.85),
    ("login", "cookie", "allauth session", 1.1, 1.1),
    # How far two processes of one stack differ.
    ("request", "session, twin", "session", None, None),
    ("request", "simplejwt, twin", "simplejwt", None, None),
)
ASKED_HTTP = (
    ("token, database", "simplejwt", 0.9),
    ("token, snapshot", "simplejwt stateless", 1.1),
    ("simplejwt, twin", "simplejwt", None),
)
PACKAGES = {
    "Django": "Django",
    "DRF": "djangorestframework",
    "simplejwt": "djangorestframework-simplejwt",
    "PyJWT": "PyJWT",
    "allauth": "django-allauth",
    "knox": "django-rest-knox",
    "dj-rest-auth": "dj-rest-auth",
    "django-jwt-allauth": "django-jwt-allauth",
    "gunicorn": "gunicorn",
    "psycopg": "psycopg",
}

HEAD = """\
# Performance

`make bench` measures authmodes and the packages that it replaces or extends, and writes this page. `benchmarks/README.md` in
the repository explains the method and the names of the stacks.

{about}

Compare the ratios, not the times. The stacks took turns, so that a busy machine slowed all of them. A ratio is the median of
{rounds} rounds, with the quartiles in brackets. The rows of a stack and its own twin show the noise of a ratio.
"""
COMPARED = """
## Targets and measurements

*request* is the time of an authenticated request above the time of the same view without authentication, in the whole
WSGI application; *refresh* and *login* are whole times. "cookie" has all features on: idle timeout, absolute
lifetime, renewal, rotation, binding to address and user agent, and mail about new logins. "prepared" is PostgreSQL with
the options under [Prepared statements](#prepared-statements).
"""
STACKS_HEAD = """
## Every stack

Microseconds above the view without authentication, and SQL statements in brackets, without `BEGIN` and `COMMIT`. The view
itself takes {floor}.
"""
HTTP_HEAD = """
## Over HTTP

Requests per second of gunicorn with two synchronous workers, asked by {generator} on 8 connections on the same machine.
The ratio of a stack to its own twin is noise. A ratio that is not farther from 1 than that shows no difference.
"""
PREPARED = """
## Prepared statements

The query of a token request reads three tables, and PostgreSQL plans it again for each request. On a direct connection,
psycopg can prepare it, so that it is planned once:

```python
DATABASES["default"]["OPTIONS"] = {{"server_side_binding": True, "prepare_threshold": 1}}
```

Here, a request with a token then takes {after} µs above the view instead of {before} µs, and simplejwt's {peer_after} µs
instead of {peer_before} µs. Do not set these options behind a pooler that may use a different connection for each transaction (PgBouncer in
transaction mode), unless the pooler tracks prepared statements.
"""
MILLION = """
## {rows} login sessions

On PostgreSQL, with ten login sessions for each user, half of them cookies, half of them expired. A row takes {row:.0f} bytes
and its indexes {index:.0f}.

| work | rows | seconds | rows per second | peak memory |
| --- | --- | --- | --- | --- |
| `prune_login_sessions`: end the expired half | {prune[rows]:,} | {prune[seconds]:.1f} | {prune_rate:,.0f} | {prune[peak]:.0f} MB |
| `flushexpiredtokens` of simplejwt, as many tokens, without authmodes | {flush[rows]:,} | {flush[seconds]:.1f} | {flush_rate:,.0f} | {flush[peak]:.0f} MB |
| end all of one provider | {provider[rows]:,} | {provider[seconds]:.1f} | {provider_rate:,.0f} | {provider[peak]:.0f} MB |

Asked: at least twice the rows per second of `flushexpiredtokens` (measured: {ratio:.2f}) in less than 100 MB; one provider
in 5 s, while other requests take at most twice their time (measured: {beside}).

| one call | {small} rows | {rows} rows | ratio (target: 1.1) | with 1,000 own logins | ratio |
| --- | --- | --- | --- | --- | --- |
{growth}
"""


def page(found: dict[str, Any]) -> str:
    kinds = [kind for kind in NAMES if kind in found]
    times = {kind: found[kind]["times"] for kind in kinds}
    rounds = len(times[kinds[0]]["request"]["floor"]) if kinds else 0
    parts = [HEAD.format(about=_about(found["about"]), rounds=rounds)]
    if kinds:
        parts += [COMPARED, "\n", _targets(times, kinds)]
        parts += [STACKS_HEAD.format(floor=_floors(times, kinds)), "\n", _stacks(found, kinds)]
        parts += [HTTP_HEAD.format(**found["about"]), "\n", _http(found, kinds)]
    if "postgres" in kinds:
        over = {name: _over(times["postgres"], "request", name) for name in STACKS_PREPARED}
        parts.append(
            PREPARED.format(
                **{key: f"{over[name] * 1e6:.0f}" for name, key in STACKS_PREPARED.items()}
            )
        )
    if "million" in found:
        parts.append(_million(found["million"]))
    # Written by hand: a profile is read by a person.
    parts += ["\n", Path(__file__).with_name("parts.md").read_text()]
    return "".join(parts)


STACKS_PREPARED = {
    "token, database": "before",
    "token, prepared": "after",
    "simplejwt": "peer_before",
    "simplejwt, prepared": "peer_after",
}


def _about(about: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version(package)}" for name, package in PACKAGES.items())
    return (
        f"Measured on {about['moment']} at commit {about['commit']}, in {about['minutes']} minutes, "
        f"on {_processor()} with {os.cpu_count()} cores at load {about['load']}. "
        f"{platform.python_implementation()} "
        f"{platform.python_version()}, {packages}, {about['databases']}."
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            names = {line.split(":")[1].strip() for line in lines if line.startswith("model name")}
        return " and ".join(sorted(names))
    except OSError:
        return platform.processor() or platform.machine()


def _overheads(times: dict[str, Any], call: str, name: str) -> list[float]:
    """The times of a call by round; of a request, what it takes above the view itself."""
    taken, floor = times[call][name], times[call]["floor"]
    if call != "request":
        return list(taken)
    return [each - view for each, view in zip(taken, floor, strict=True)]


def _over(times: dict[str, Any], call: str, name: str) -> float:
    return statistics.median(_overheads(times, call, name))


def _ratio(ours: list[float], peers: list[float]) -> str:
    ratios = [mine / theirs for mine, theirs in zip(ours, peers, strict=True)]
    return _spread(ratios)


def _spread(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.2f}"
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines) + "\n"


def _targets(times: dict[str, Any], kinds: list[str]) -> str:
    head = ["work", "beside"]
    for kind in kinds:
        head += [f"target, {NAMES[kind]}", "measured"]
    rows = []
    for call, stack, peer, *bounds in ASKED:
        row = [f"{call}: {stack}", peer]
        for kind in kinds:
            bound = bounds[list(NAMES).index(kind)]
            known = times[kind][call]
            if stack not in known:
                row += ["", ""]
                continue
            both = (_overheads(times[kind], call, name) for name in (stack, peer))
            row += ["" if bound is None else f"{bound}", _ratio(*both)]
        rows.append(row)
    return _table(head, rows)


def _floors(times: dict[str, Any], kinds: list[str]) -> str:
    floors = {kind: statistics.median(times[kind]["request"]["floor"]) for kind in kinds}
    return ", ".join(f"{seconds * 1e6:.0f} µs ({NAMES[kind]})" for kind, seconds in floors.items())


def _stacks(found: dict[str, Any], kinds: list[str]) -> str:
    calls = ("request", "refresh", "login")
    head = ["stack", *(f"{call}, {NAMES[kind]}" for kind in kinds for call in calls)]
    rows = []
    for name in found[kinds[0]]["times"]["request"]:
        if name == "floor" or name.endswith("twin"):
            continue
        row = [name]
        for kind in kinds:
            for call in calls:
                if name not in found[kind]["times"][call]:
                    row.append("")
                    continue
                statements = found[kind]["statements"][call][name]
                row.append(f"{_over(found[kind]['times'], call, name) * 1e6:.0f} ({statements})")
        rows.append(row)
    return _table(head, sorted(rows))


def _http(found: dict[str, Any], kinds: list[str]) -> str:
    rates = {kind: found[kind]["http"] for kind in kinds}
    rows = [
        [name, *(f"{statistics.median(rates[kind][name]):.0f}" for kind in kinds)]
        for name in rates[kinds[0]]
    ]
    text = _table(["stack", *(NAMES[kind] for kind in kinds)], rows)
    compared = [
        [stack, peer, "" if bound is None else f"at least {bound}"]
        + [_ratio(rates[kind][stack], rates[kind][peer]) for kind in kinds]
        for stack, peer, bound in ASKED_HTTP
    ]
    head = ["requests per second", "beside", "target", *(NAMES[kind] for kind in kinds)]
    return text + "\n" + _table(head, compared)


def _million(found: dict[str, Any]) -> str:
    rate = {
        name: found[name]["rows"] / found[name]["seconds"]
        for name in ("prune", "flush", "provider")
    }
    rows = [
        f"| {call} | {_ms(of['small'])} | {_ms(of['big'])} | {_growth(of, 'big')} "
        f"| {_ms(of['own'])} | {_growth(of, 'own')} |"
        for call, of in found["growth"].items()
    ]
    one = found["provider"]
    beside = ", ".join(
        f"{call} {statistics.median(taken) / statistics.median(one['before'][call]):.1f} times"
        for call, taken in one["beside"].items()
        if taken
    )
    return MILLION.format(
        rows=f"{found['rows']:,}",
        small=f"{found['rows'] // 10:,}",
        **found["big size"],
        **{name: found[name] for name in rate},
        **{f"{name}_rate": value for name, value in rate.items()},
        ratio=rate["prune"] / rate["flush"],
        beside=beside,
        growth="\n".join(rows),
    )


def _growth(of: dict[str, list[float]], size: str) -> str:
    """The ratio to the small table, whose turn was just before."""
    half = len(of["big"])
    small = of["small"][:half] if size == "big" else of["small"][half:]
    return _ratio(of[size], small)


def _ms(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.2f} ms"
