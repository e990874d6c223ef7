"""The route table: patterns, precedence, ownership, conflicts."""

import re

import pytest

from iii_trio.builtins.http._routes import Match, RouteTable, parse_pattern
from iii_trio.errors import RegistrationError


def table_of(*paths: str, method: str = "GET") -> RouteTable[str]:
    table: RouteTable[str] = RouteTable()
    for path in paths:
        table.register(f"on {path}", method, path, path)
    return table


def target_of(found: Match[str] | None) -> str | None:
    return None if found is None else found.route.target


@pytest.mark.parametrize(
    ("pattern", "path", "params"),
    [
        ("users/:id", "/users/7", {"id": "7"}),
        ("/users/:id", "/users/7", {"id": "7"}),
        ("/users/{id}", "/users/7", {"id": "7"}),
        ("/a/:x/b/:y", "/a/1/b/2", {"x": "1", "y": "2"}),
        ("/a/:x", "/a/b%20c", {"x": "b%20c"}),
        ("/files/{*rest}", "/files/a/b", {"rest": "a/b"}),
        ("/files/{*rest}", "/files/a/", {"rest": "a/"}),
        ("/files/{*rest}", "/files//", {"rest": "/"}),
        ("/{*rest}", "/a", {"rest": "a"}),
        ("", "/", {}),
        ("/", "/", {}),
        ("/a:b", "/a:b", {}),
        ("/a/:x/", "/a/1/", {"x": "1"}),
        ("/:x/:x", "/1/2", {"x": "2"}),
    ],
)
def test_a_pattern_matches_and_gives_raw_parameters(
    pattern: str, path: str, params: dict[str, str]
) -> None:
    found = table_of(pattern).match("GET", path)
    assert found is not None
    assert found.path_params == params
    assert found.route.pattern.text == pattern


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/a", "/a/"),
        ("/a/", "/a"),
        ("/a", "/A"),
        ("/a b", "/a%20b"),
        ("/a/:x", "/a"),
        ("/a/:x", "/a/"),
        ("/a/:x", "/a/1/2"),
        ("/a/:x/c", "/a//c"),
        ("/files/{*rest}", "/files/"),
        ("/files/{*rest}", "/files"),
        ("/a", "/"),
    ],
)
def test_a_pattern_does_not_match(pattern: str, path: str) -> None:
    assert table_of(pattern).match("GET", path) is None


@pytest.mark.parametrize(
    ("path", "winner"),
    [
        ("/a/b", "/a/b"),
        ("/a/x", "/a/:x"),
        ("/a/b/c", "/a/b/{*rest}"),
        ("/a/x/c", "/a/:x/c"),
        ("/a/b/d", "/a/b/{*rest}"),
        ("/a/x/d", "/{*rest}"),
        ("/a/b/c/d", "/a/b/{*rest}"),
        ("/q", "/{*rest}"),
    ],
)
def test_literals_win_over_parameters_and_those_over_catch_alls(
    path: str, winner: str
) -> None:
    table = table_of("/a/b", "/a/:x", "/a/b/{*rest}", "/a/:x/c", "/{*rest}")
    assert target_of(table.match("GET", path)) == winner


def test_the_search_goes_back_when_a_literal_way_ends_nowhere() -> None:
    table = table_of("/a/b/x", "/:first/b/:last")
    found = table.match("GET", "/a/b/y")
    assert found is not None
    assert found.path_params == {"first": "a", "last": "y"}


@pytest.mark.parametrize(
    ("path", "segment"),
    [
        ("/a/*rest", "*rest"),
        ("/*", "*"),
        ("/a/:", ":"),
        ("/a/{x", "{x"),
        ("/a/x}", "x}"),
        ("/a/x{y}z", "x{y}z"),
        ("/{*r}/b", "{*r}"),
        ("/{}", "{}"),
        ("/{*}", "{*}"),
        ("/:*x", ":*x"),
        ("/:{x}", ":{x}"),
        ("/{x}{y}", "{x}{y}"),
        ("/{x*}", "{x*}"),
    ],
)
def test_a_bad_pattern_is_refused_and_the_table_stays(path: str, segment: str) -> None:
    table = table_of("/good")
    with pytest.raises(RegistrationError) as caught:
        table.register("on /good", "GET", path, "bad")
    assert caught.value.code == "trigger_registration_failed"
    assert f"'{path}'" in caught.value.message
    assert f"'{segment}'" in caught.value.message
    assert "valid segments are" in caught.value.message
    assert target_of(table.match("GET", "/good")) == "/good"
    assert len(table) == 1


def test_the_same_shape_with_other_names_conflicts() -> None:
    table = table_of("a/:y/:x")
    with pytest.raises(
        RegistrationError,
        match=re.escape(
            "Route 'GET a/:x/:y' conflicts with already-registered route "
            "'GET a/:y/:x': routes with identical structure but different "
            "path-parameter names are not supported"
        ),
    ):
        table.register("other", "GET", "a/:x/:y", "other")
    assert target_of(table.match("GET", "/a/1/2")) == "a/:y/:x"


def test_another_method_may_use_other_parameter_names() -> None:
    table = table_of("/a/:x")
    table.register("post", "POST", "/a/:y", "post")
    posted, got = table.match("POST", "/a/1"), table.match("GET", "/a/1")
    assert posted is not None
    assert got is not None
    assert (posted.path_params, got.path_params) == ({"y": "1"}, {"x": "1"})


def test_colon_and_braces_are_the_same_route() -> None:
    table = table_of("/a/:x")
    replaced = table.register("later", "GET", "a/{x}", "later")
    assert replaced is not None
    assert replaced.trigger_id == "on /a/:x"
    assert target_of(table.match("GET", "/a/1")) == "later"


def test_the_last_trigger_owns_a_route_and_a_stale_unregister_is_ignored() -> None:
    table = table_of("/a")
    table.register("second", "GET", "/a", "second")
    table.unregister("on /a")
    assert target_of(table.match("GET", "/a")) == "second"
    table.unregister("second")
    assert table.match("GET", "/a") is None
    assert len(table) == 0


def test_the_version_tells_that_a_path_may_match_otherwise() -> None:
    table: RouteTable[str] = RouteTable()
    versions = [table.version]
    table.register("t", "GET", "/a", "A")
    versions.append(table.version)
    table.register("t", "GET", "/b", "A")
    versions.append(table.version)
    table.unregister("t")
    versions.append(table.version)
    assert versions == sorted(set(versions))
    table.unregister("t")
    assert table.version == versions[-1]


def test_a_trigger_registered_again_moves() -> None:
    table = table_of("/old")
    assert table.register("on /old", "POST", "/new/:x", "moved") is None
    assert table.match("GET", "/old") is None
    assert target_of(table.match("POST", "/new/1")) == "moved"
    assert len(table) == 1


def test_a_trigger_may_rename_its_own_parameters() -> None:
    table = table_of("/a/:x")
    table.register("on /a/:x", "GET", "/a/:y", "renamed")
    found = table.match("GET", "/a/1")
    assert found is not None
    assert found.path_params == {"y": "1"}


def test_a_method_that_is_not_served_registers_and_never_matches() -> None:
    table = table_of("/a", method="TRACE")
    assert table.match("TRACE", "/a") is None
    assert table.allowed("/a") == ()


def test_head_follows_get_unless_it_has_its_own_route() -> None:
    table = table_of("/a")
    assert target_of(table.match("HEAD", "/a")) == "/a"
    table.register("head", "HEAD", "/a", "own")
    assert target_of(table.match("HEAD", "/a")) == "own"
    assert table.match("HEAD", "/b") is None


def test_allowed_lists_the_methods_of_a_path() -> None:
    table = table_of("/a")
    table.register("post", "POST", "/:x", "post")
    assert table.allowed("/a") == ("GET", "HEAD", "POST")
    assert table.allowed("/b") == ("POST",)
    assert table.allowed("/b/c") == ()


def test_removing_a_pattern_keeps_the_others() -> None:
    table = table_of("/a/:x", "/b/:x")
    assert target_of(table.match("GET", "/a/1")) == "/a/:x"
    table.unregister("on /a/:x")
    assert table.match("GET", "/a/1") is None
    assert target_of(table.match("GET", "/b/1")) == "/b/:x"


def test_a_pattern_knows_whether_it_is_literal() -> None:
    assert parse_pattern("/a").is_literal
    assert not parse_pattern("/:a").is_literal
