"""The route table against a plain model that tries every pattern."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from iii_trio.builtins.http._routes import RouteTable, parse_pattern
from iii_trio.errors import RegistrationError

SEGMENTS = st.sampled_from(["a", "b", "", ":x", "{y}", "{*r}", "*", "{", ":"])
PATTERNS = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join)
PATHS = st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=5).map(
    lambda segments: "/" + "/".join(segments)
)
METHODS = st.sampled_from(["GET", "POST", "HEAD"])
STEPS = st.lists(
    st.tuples(st.sampled_from("12345"), METHODS, st.none() | PATTERNS), max_size=12
)

Routes = dict[str, tuple[str, str]]


def rank(pattern: str, path: str) -> list[int] | None:
    """Say how well a pattern fits, one number a segment, lower is better."""
    wanted = pattern.removeprefix("/").split("/")
    given_segments = path[1:].split("/")
    ranks: list[int] = []
    for position, segment in enumerate(wanted):
        if segment.startswith("{*"):
            rest = "/".join(given_segments[position:])
            return [*ranks, 2] if rest else None
        if position >= len(given_segments):
            return None
        if segment.startswith((":", "{")):
            if not given_segments[position]:
                return None
            ranks.append(1)
        elif segment == given_segments[position]:
            ranks.append(0)
        else:
            return None
    return ranks if len(wanted) == len(given_segments) else None


def expected(routes: Routes, method: str, path: str) -> str | None:
    fitting = [
        (fit, trigger_id)
        for trigger_id, (its_method, pattern) in routes.items()
        if its_method == method and (fit := rank(pattern, path)) is not None
    ]
    if not fitting and method == "HEAD":
        return expected(routes, "GET", path)
    return min(fitting)[1] if fitting else None


def apply(
    table: RouteTable[str],
    routes: Routes,
    trigger_id: str,
    method: str,
    path: str | None,
) -> None:
    if path is None:
        table.unregister(trigger_id)
        routes.pop(trigger_id, None)
        return
    with contextlib.suppress(RegistrationError):
        table.register(trigger_id, method, path, trigger_id)
        shape = parse_pattern(path).shape
        for other, (its_method, its_path) in list(routes.items()):
            if its_method == method and parse_pattern(its_path).shape == shape:
                del routes[other]
        routes[trigger_id] = (method, path)


@given(STEPS, METHODS, st.lists(PATHS, min_size=1, max_size=8))
def test_the_table_finds_what_trying_every_pattern_finds(
    steps: list[tuple[str, str, str | None]], method: str, paths: list[str]
) -> None:
    table: RouteTable[str] = RouteTable()
    routes: Routes = {}
    for trigger_id, its_method, pattern in steps:
        apply(table, routes, trigger_id, its_method, pattern)
        found = table.match(method, paths[0])
        assert (found and found.route.target) == expected(routes, method, paths[0])
    assert len(table) == len(routes)
    for path in paths:
        found = table.match(method, path)
        assert (found and found.route.target) == expected(routes, method, path)


@given(STEPS)
def test_a_refusal_changes_nothing(steps: list[tuple[str, str, str | None]]) -> None:
    table: RouteTable[str] = RouteTable()
    routes: Routes = {}
    for trigger_id, method, pattern in steps:
        apply(table, routes, trigger_id, method, pattern)
    before = {(m, p): table.match(m, "/a/b") for m, p in routes.values()}
    with contextlib.suppress(RegistrationError):
        table.register("1", "GET", "/a/{broken", "1")
    after = {(m, p): table.match(m, "/a/b") for m, p in routes.values()}
    assert before == after


@given(PATHS)
def test_parameters_give_back_the_path(path: str) -> None:
    segments = path[1:].split("/")
    table: RouteTable[str] = RouteTable()
    table.register("1", "GET", "/".join(f":p{i}" for i in range(len(segments))), "1")
    found = table.match("GET", path)
    if found is None:
        assert "" in segments
    else:
        assert list(found.path_params.values()) == segments
