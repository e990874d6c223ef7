"""The rates with access rules, limits and metrics on, and with all of them off."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

from benchmarks._figure import Figure, median, ratio
from benchmarks._process import free_port, open_server, script
from benchmarks._product import NAME, config, open_product
from benchmarks._rates import BARS, FLOOR, Target, interleave

TOKEN = "a-token-of-the-benchmark-00000001"
LOCKED, OPEN = f"{NAME} locked", f"{NAME} open"


def _with(
    port: int, http_port: int, door: Mapping[str, object], *others: Mapping[str, object]
) -> dict[str, object]:
    """The usual configuration with another worker port and more workers."""
    usual = config(port, http_port)["workers"]
    assert isinstance(usual, list)
    here = {"port": port, "host": "127.0.0.1", **door}
    manager = {"name": "iii-worker-manager", "config": here}
    return {"workers": [*usual[:-1], *others, manager]}


def _locked(port: int, http_port: int) -> dict[str, object]:
    return _with(
        port,
        http_port,
        {
            "rbac": {
                "auth_function_id": "auth::check",
                "expose_functions": [
                    'match("public::*")',
                    {"metadata": {"public": True}},
                    'match("bench::*")',
                ],
            },
            # Far above what comes, so that they are looked at and never reached.
            "limits": {"messages_per_second": 10**7, "bytes_per_second": 10**11},
        },
        {
            "name": "iii-auth",
            "config": {
                "query_parameter": "token",
                "tokens": [
                    {
                        "name": "bench",
                        "token": TOKEN,
                        "session": {"forbidden_functions": ["secret::*"]},
                    }
                ],
            },
        },
        {
            "name": "iii-observability",
            "config": {"enabled": True, "metrics_enabled": True},
        },
    )


def _open(port: int, http_port: int) -> dict[str, object]:
    off = {"enabled": False, "metrics_enabled": False, "logs_enabled": False}
    limits = {"limits": {"connections_per_address": 0}}
    observability = {"name": "iii-observability", "config": off}
    return _with(port, http_port, limits, observability)


def locked(rounds: int, seconds: float) -> Iterator[Figure]:
    """Both against the line relay, and against each other, in the same rounds."""
    with ExitStack() as stack:
        port = free_port()
        floor = open_server(FLOOR, script("line_relay", port), port)
        closed = stack.enter_context(open_product(configured=_locked))
        opened = stack.enter_context(open_product(configured=_open))
        targets = {
            FLOOR: Target(stack.enter_context(floor), "line"),
            OPEN: Target(opened.server, "worker"),
            LOCKED: Target(closed.server, "worker", f"?token={TOKEN}"),
        }
        for profile, bar, cpu_bar in BARS:
            series = interleave(targets, profile, rounds, seconds)
            for name in (OPEN, LOCKED):
                rates = f"{median(series[name], lambda s: s.rate):,.0f}/s"
                yield Figure(
                    name=f"rate {profile.name}, {name}",
                    value=ratio(series, name, FLOOR, lambda s: s.rate),
                    bar=bar,
                    note=rates,
                )
                yield Figure(
                    name=f"CPU per trip {profile.name}, {name}",
                    value=ratio(series, name, FLOOR, lambda s: s.cpu),
                    bar=cpu_bar,
                    better="less",
                    note=f"{median(series[name], lambda s: s.cpu):.1f} us",
                )
            yield Figure(
                name=f"rate {profile.name}, locked to open",
                value=ratio(series, LOCKED, OPEN, lambda s: s.rate),
                note="an auth function, exposed functions, limits of rates and metrics",
            )
