"""CORS headers of the http worker."""

from iii_trio.builtins.http._config import CORSConfig
from iii_trio.builtins.http._cors import CORS
from iii_trio.builtins.http._reply import JSON_TYPE
from iii_trio.net import HTTPRequest


def from_origin(origin: str | None) -> HTTPRequest:
    headers = () if origin is None else (("origin", origin),)
    return HTTPRequest(
        method="GET",
        target="/",
        path="/",
        query="",
        headers=headers,
        peer=("127.0.0.1", 1),
    )


VARY = (
    "vary",
    "origin, access-control-request-method, access-control-request-headers",
)
ORIGIN = "access-control-allow-origin"
EXPOSE = "access-control-expose-headers"
METHODS = "access-control-allow-methods"
HEADERS = "access-control-allow-headers"


def test_without_configuration_everything_is_allowed() -> None:
    cors = CORS(None)
    assert sorted(cors.apply([], from_origin(None))) == [
        (ORIGIN, "*"),
        (EXPOSE, "*"),
        VARY,
    ]
    assert sorted(cors.apply([JSON_TYPE], from_origin(None))) == [
        (ORIGIN, "*"),
        (EXPOSE, "*"),
        JSON_TYPE,
        VARY,
    ]
    assert sorted(cors.preflight(from_origin(None))) == [
        (HEADERS, "*"),
        (METHODS, "*"),
        (ORIGIN, "*"),
        VARY,
    ]


def test_a_listed_origin_is_echoed_and_another_is_not() -> None:
    cors = CORS(CORSConfig(allowed_origins=("http://a", "http://b")))
    assert (ORIGIN, "http://b") in cors.apply([], from_origin("http://b"))
    assert (ORIGIN, "http://b") in cors.preflight(from_origin("http://b"))
    assert cors.apply([], from_origin("http://c")) == [VARY]
    assert cors.apply([], from_origin(None)) == [VARY]
    assert not any(
        name == ORIGIN for name, _ in cors.preflight(from_origin("http://c"))
    )


def test_empty_origins_or_a_star_among_them_allow_every_origin() -> None:
    for origins in ((), ("http://a", "*")):
        cors = CORS(CORSConfig(allowed_origins=origins))
        assert sorted(cors.apply([], from_origin("http://z"))) == [(ORIGIN, "*"), VARY]


def test_configured_methods_are_a_comma_list() -> None:
    cors = CORS(CORSConfig(allowed_methods=("GET", "POST")))
    assert (METHODS, "GET,POST") in cors.preflight(from_origin(None))
    assert (HEADERS, "*") in cors.preflight(from_origin(None))
    assert not any(name == EXPOSE for name, _ in cors.apply([], from_origin(None)))


def test_headers_of_the_layer_win_and_a_vary_is_kept_beside_ours() -> None:
    own = [(ORIGIN, "http://x"), (EXPOSE, "x-a"), ("vary", "cookie"), ("x-a", "1")]
    found = CORS(None).apply(own, from_origin(None))
    assert sorted(found) == [
        (ORIGIN, "*"),
        (EXPOSE, "*"),
        ("vary", "cookie"),
        VARY,
        ("x-a", "1"),
    ]


def test_what_the_layer_does_not_set_passes() -> None:
    credentials = ("access-control-allow-credentials", "true")
    own = [(ORIGIN, "http://x"), (EXPOSE, "x-a"), credentials]
    found = CORS(CORSConfig(allowed_origins=("http://a",))).apply(
        own, from_origin("http://z")
    )
    assert found == [*own, VARY]
