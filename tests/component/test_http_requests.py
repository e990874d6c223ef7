"""A request's way: route, middleware, body, condition, handler, response."""

from typing import Any

import pytest
import trio
import trio.testing

from iii_trio.builtins.http import CORSConfig, MiddlewareConfig
from iii_trio.builtins.http._worker import provide_trigger_type
from iii_trio.errors import FunctionFailedError, RegistrationError
from iii_trio.worker import NULL, current_invocation
from tests.component.http_rig import JSON_TYPE, NOW, MemoryExchange, open_http_rig

ERROR_ID = f"{int(NOW * 1e9):x}"


async def failing(_payload: Any) -> Any:
    await trio.lowlevel.checkpoint()
    raise FunctionFailedError("it broke", code="my_code")


# The payload


async def test_the_handler_gets_the_documented_payload() -> None:
    async with open_http_rig() as rig:
        calls = await rig.serve("POST", "users/:id", {"body": 1})
        headers = [JSON_TYPE, ("x-a", "1"), ("x-a", "2")]
        await rig.request("POST", "/users/a%20b?q=1&q=2&r", headers, [b'{"z":', b" 1}"])
        assert calls == [
            {
                "query_params": {"q": "2", "r": ""},
                "path_params": {"id": "a%20b"},
                "headers": {"content-type": "application/json", "x-a": "2"},
                "path": "users/:id",
                "method": "POST",
                "body": {"z": 1},
                "trigger": {"type": "http", "path": "users/:id", "method": "POST"},
            }
        ]


@pytest.mark.parametrize(
    ("types", "body", "expected"),
    [
        (["application/json"], b"[1]", [1]),
        ([], b"[1]", [1]),
        (["text/plain"], b"[1]", None),
        (["application/x-www-form-urlencoded"], b"a=1", None),
        (["application/json"], b"{broken", None),
        (["application/json"], b"", None),
        ([], b"", None),
        (["application/json"], b"12345678901234567890123", 12345678901234567890123),
    ],
)
async def test_the_body_is_json_or_null(
    types: list[str], body: bytes, expected: object
) -> None:
    async with open_http_rig() as rig:
        calls = await rig.serve("POST", "/a", 1)
        answer = await rig.post("/a", body, *types)
        assert answer.status == 200
        assert [call["body"] for call in calls] == [expected]


async def test_a_body_over_the_limit_is_refused_with_413() -> None:
    async with open_http_rig(body_limit=4) as rig:
        calls = await rig.serve("POST", "/a", 1)
        assert (await rig.post("/a", b"[12]")).status == 200
        answer = await rig.post("/a", b"[123]")
        assert answer.error() == (
            413,
            "PAYLOAD_TOO_LARGE",
            "the request body is larger than 4 bytes",
        )
        assert answer.values("access-control-allow-origin") == ["*"]
        assert len(calls) == 1


async def test_a_body_that_is_cut_off_never_reaches_the_handler() -> None:
    async with open_http_rig() as rig:
        calls = await rig.serve("POST", "/a", 1)
        exchange = rig.start("POST", "/a", (), [b"{}"], cut=True)
        await rig.settle()
        assert rig.is_idle()
        assert (calls, exchange.status) == ([], 0)


async def test_metadata_travels_beside_the_payload_and_to_nobody_else() -> None:
    seen: list[Any] = []

    async def note(_payload: Any) -> Any:
        await trio.lowlevel.checkpoint()
        seen.append(current_invocation().metadata)
        return {"action": "continue"}

    async with open_http_rig() as rig:
        rig.client.register_function("note", note)
        await rig.bind(
            "GET",
            "/a",
            "note",
            middleware_function_ids=["note"],
            condition_function_id="note",
            options={"metadata": {"m": 1}},
        )
        await rig.request("GET", "/a")
        assert seen == [None, None, {"m": 1}]


async def test_trace_headers_parent_the_invocation() -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    seen: list[Any] = []

    async def handler(_payload: Any) -> None:
        await trio.lowlevel.checkpoint()
        invocation = current_invocation()
        seen.append((invocation.traceparent, invocation.baggage))

    async with open_http_rig() as rig:
        await rig.serve("GET", "/a", handler)
        headers = [("traceparent", traceparent), ("baggage", "k=v")]
        await rig.request("GET", "/a", headers)
        assert seen == [(traceparent, "k=v")]


async def test_the_caller_stays_unknown_to_handlers() -> None:
    seen: list[Any] = []

    async def handler(_payload: Any) -> None:
        await trio.lowlevel.checkpoint()
        seen.append(current_invocation().caller_worker_id)

    async with open_http_rig() as rig:
        await rig.serve("GET", "/a", handler)
        await rig.request("GET", "/a")
        assert seen == [None]


# The response


async def test_a_response_object_is_sent() -> None:
    async with open_http_rig() as rig:
        result = {"status_code": 201, "headers": ["Set-Cookie: a", "Set-Cookie: b"]}
        await rig.serve("GET", "/a", {**result, "body": {"x": 1}})
        answer = await rig.request("GET", "/a")
        assert (answer.status, answer.body) == (201, b'{"x":1}')
        assert answer.values("set-cookie") == ["a", "b"]
        assert answer.values("content-type") == ["application/json"]


@pytest.mark.parametrize("result", [None, NULL])
async def test_null_of_a_local_handler_is_an_empty_object_at_once(
    result: object, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_http_rig() as rig:
        await rig.serve("GET", "/a", result)
        began = trio.current_time()
        answer = await rig.request("GET", "/a")
        assert (answer.status, answer.body) == (200, b"{}")
        assert trio.current_time() == began


@pytest.mark.parametrize("result", [{"c": 1}, [1], 7, "text", False])
async def test_a_bare_value_is_the_body(result: object) -> None:
    async with open_http_rig() as rig:
        await rig.serve("GET", "/a", result)
        answer = await rig.request("GET", "/a")
        assert (answer.status, answer.json()) == (200, result)


@pytest.mark.parametrize("status", [100, 101, 103])
async def test_an_informational_status_is_an_internal_error(status: int) -> None:
    async with open_http_rig() as rig:
        await rig.serve("GET", "/a", {"status_code": status})
        answer = await rig.request("GET", "/a")
        assert answer.error()[:2] == (500, "INTERNAL_ERROR")
        assert answer.json()["error"]["error_id"] == ERROR_ID


# Errors


async def test_a_failed_handler_is_a_500_with_its_code() -> None:
    async with open_http_rig() as rig:
        await rig.serve("GET", "/a", failing)
        answer = await rig.request("GET", "/a")
        assert answer.status == 500
        assert answer.json() == {
            "error": {"code": "my_code", "message": "it broke", "error_id": ERROR_ID}
        }
        assert answer.values("access-control-allow-origin") == ["*"]


async def test_a_missing_handler_is_a_500() -> None:
    async with open_http_rig() as rig:
        await rig.bind("GET", "/a", "no::such")
        answer = await rig.request("GET", "/a")
        status, code, message = answer.error()
        assert (status, code) == (500, "function_not_found")
        assert message.startswith("Function no::such not found in namespace default")


async def test_a_worker_that_vanishes_is_a_500() -> None:
    async with open_http_rig() as rig:
        async with rig.under_test.open_worker("brief") as brief:
            brief.register_function("slow", trio.sleep_forever)
            await rig.bind("GET", "/a", "slow")
            exchange = rig.start("GET", "/a")
            await rig.settle()
        await exchange.done.wait()
        assert exchange.error() == (500, "invocation_stopped", "Invocation stopped")


async def test_a_path_without_a_route_is_a_404_without_error_id() -> None:
    async with open_http_rig() as rig:
        answer = await rig.request("GET", "/nothing")
        assert answer.status == 404
        assert answer.json() == {"error": {"code": "NOT_FOUND", "message": "Not Found"}}
        assert answer.values("access-control-allow-origin") == ["*"]


async def test_another_method_is_a_405_with_allow_and_envelope() -> None:
    async with open_http_rig() as rig:
        await rig.serve("GET", "/a/:x", 1)
        answer = await rig.request("POST", "/a/b")
        assert answer.error() == (405, "METHOD_NOT_ALLOWED", "Method Not Allowed")
        assert answer.values("allow") == ["GET,HEAD"]
        assert "error_id" not in answer.json()["error"]


async def test_head_follows_get_and_an_own_head_route_wins() -> None:
    async with open_http_rig() as rig:
        gets = await rig.serve("GET", "/a", {"body": "x"})
        assert (await rig.request("HEAD", "/a")).status == 200
        assert [call["method"] for call in gets] == ["HEAD"]
        await rig.serve("HEAD", "/a", {"status_code": 204})
        assert (await rig.request("HEAD", "/a")).status == 204


# CORS


async def test_every_options_request_is_a_preflight() -> None:
    async with open_http_rig() as rig:
        calls = await rig.serve("OPTIONS", "/a", 1)
        await rig.serve("POST", "/a", 1)
        answer = await rig.request("OPTIONS", "/a", [("origin", "http://x")])
        assert (answer.status, answer.body, calls) == (200, b"", [])
        assert answer.values("allow") == ["POST,OPTIONS"]
        assert answer.values("access-control-allow-methods") == ["*"]
        assert answer.values("access-control-expose-headers") == []
        other = await rig.request("OPTIONS", "/nothing")
        assert (other.status, other.values("allow")) == (200, [])


async def test_configured_origins_are_echoed() -> None:
    cors = CORSConfig(allowed_origins=("http://x",))
    async with open_http_rig(cors=cors) as rig:
        await rig.serve("GET", "/a", {"headers": {"vary": "cookie"}})
        answer = await rig.request("GET", "/a", [("origin", "http://x")])
        assert answer.values("access-control-allow-origin") == ["http://x"]
        assert len(answer.values("vary")) == 2
        other = await rig.request("GET", "/a", [("origin", "http://y")])
        assert other.values("access-control-allow-origin") == []


# Conditions


@pytest.mark.parametrize("verdict", [False, None, 0, "", 0.0])
async def test_a_falsy_condition_is_a_422(verdict: object) -> None:
    async with open_http_rig() as rig:
        asked = await rig.serve("GET", "/condition", verdict)
        calls = await rig.serve(
            "POST", "/a", 1, condition_function_id="on::GET /condition"
        )
        answer = await rig.post("/a", b'{"z":1}')
        assert answer.status == 422
        assert answer.json() == {
            "error": {
                "code": "CONDITION_NOT_MET",
                "message": "Request condition not met",
            },
            "skipped": True,
        }
        assert calls == []
        assert asked[0]["body"] == {"z": 1}
        assert "response" not in asked[0]


@pytest.mark.parametrize("verdict", [True, 1, "x", [], {}])
async def test_a_truthy_condition_lets_the_request_pass(verdict: object) -> None:
    async with open_http_rig() as rig:
        await rig.serve("GET", "/condition", verdict)
        await rig.serve("GET", "/a", 1, condition_function_id="on::GET /condition")
        assert (await rig.request("GET", "/a")).status == 200


async def test_a_condition_that_fails_or_is_missing_is_a_500() -> None:
    async with open_http_rig() as rig:
        await rig.serve("GET", "/condition", failing)
        await rig.serve("GET", "/a", 1, condition_function_id="on::GET /condition")
        await rig.serve("GET", "/b", 1, condition_function_id="no::such")
        assert (await rig.request("GET", "/a")).error() == (500, "my_code", "it broke")
        answer = await rig.request("GET", "/b")
        assert answer.error()[:2] == (500, "function_not_found")
        assert answer.json()["error"]["error_id"] == ERROR_ID


# Middleware


async def test_middleware_runs_in_order_around_body_and_condition() -> None:
    order: list[str] = []

    def noting(name: str, result: object) -> Any:
        async def note() -> object:
            await trio.lowlevel.checkpoint()
            order.append(name)
            return result

        return note

    middleware = (
        MiddlewareConfig(function_id="late", priority=9),
        MiddlewareConfig(function_id="early", priority=-1),
        MiddlewareConfig(function_id="never", phase="postHandler"),
    )
    async with open_http_rig(middleware=middleware) as rig:
        for name in ("early", "late", "one", "two", "never"):
            rig.client.register_function(name, noting(name, {"action": "continue"}))
        rig.client.register_function("condition", noting("condition", True))
        rig.client.register_function("handler", noting("handler", 1))
        await rig.bind(
            "GET",
            "/a",
            "handler",
            middleware_function_ids=["one", "two"],
            condition_function_id="condition",
        )
        assert (await rig.request("GET", "/a")).status == 200
        assert order == ["early", "late", "condition", "one", "two", "handler"]


async def test_middleware_sees_the_request_without_its_body() -> None:
    async with open_http_rig() as rig:
        seen = await rig.serve("GET", "/m", {"action": "continue"})
        await rig.serve("POST", "/a/:x", 1, middleware_function_ids=["on::GET /m"])
        await rig.request("POST", "/a/1?q=2", [("h", "3")], [b"{}"])
        request = {
            "path_params": {"x": "1"},
            "query_params": {"q": "2"},
            "headers": {"h": "3"},
            "method": "POST",
        }
        assert seen == [{"phase": "preHandler", "request": request, "context": {}}]


async def test_middleware_that_responds_ends_the_request() -> None:
    async with open_http_rig() as rig:
        response = {"status_code": 401, "body": "no", "headers": {"X-A": "1"}}
        await rig.serve("GET", "/m", {"action": "respond", "response": response})
        calls = await rig.serve("GET", "/a", 1, middleware_function_ids=["on::GET /m"])
        answer = await rig.request("GET", "/a")
        assert (answer.status, answer.body, calls) == (401, b'"no"', [])
        assert answer.values("x-a") == ["1"]


async def test_global_middleware_that_responds_leaves_the_body_unread() -> None:
    middleware = (MiddlewareConfig(function_id="on::GET /m"),)
    async with open_http_rig(middleware=middleware) as rig:
        await rig.serve("GET", "/m", {"action": "respond"})
        await rig.serve("POST", "/a", 1)
        answer = await rig.post("/a", b"{}")
        assert (answer.status, answer.body, answer.read_bytes) == (200, b"null", 0)


@pytest.mark.parametrize("result", [None, {}, 7, {"action": "other"}, []])
async def test_middleware_that_is_not_understood_lets_the_request_pass(
    result: object,
) -> None:
    async with open_http_rig() as rig:
        await rig.serve("GET", "/m", result)
        calls = await rig.serve("GET", "/a", 1, middleware_function_ids=["on::GET /m"])
        assert (await rig.request("GET", "/a")).status == 200
        assert len(calls) == 1


async def test_middleware_that_fails_or_is_missing_is_a_500() -> None:
    async with open_http_rig() as rig:
        await rig.serve("GET", "/m", failing)
        await rig.serve("GET", "/a", 1, middleware_function_ids=["on::GET /m"])
        await rig.serve("GET", "/b", 1, middleware_function_ids=["no::such"])
        assert (await rig.request("GET", "/a")).error() == (500, "my_code", "it broke")
        assert (await rig.request("GET", "/b")).error()[:2] == (
            500,
            "function_not_found",
        )


async def test_middleware_with_an_informational_status_is_a_500() -> None:
    async with open_http_rig() as rig:
        response = {"action": "respond", "response": {"status_code": 101}}
        await rig.serve("GET", "/m", response)
        await rig.serve("GET", "/a", 1, middleware_function_ids=["on::GET /m"])
        assert (await rig.request("GET", "/a")).error()[:2] == (500, "INTERNAL_ERROR")


# Namespaces and registration


async def test_everything_resolves_in_the_namespace_of_the_trigger() -> None:
    middleware = (MiddlewareConfig(function_id="m"),)
    async with (
        open_http_rig(middleware=middleware) as rig,
        rig.under_test.open_worker("other", namespace="other") as other,
    ):
        rig.client.register_function("m", lambda: {"action": "respond"})
        other.register_function("m", lambda: {"action": "continue"})
        other.register_function("handler", lambda: {"body": "other"})
        config = {"api_path": "/a"}
        await rig.client.bind("http", "handler", config, namespace="other")
        assert (await rig.request("GET", "/a")).json() == "other"
        other.unregister_function("m")
        answer = await rig.request("GET", "/a")
        assert answer.error()[:2] == (500, "function_not_found")


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({}, "api_path is required for http triggers"),
        ({"api_path": "/a/*rest"}, "valid segments are"),
        ({"api_path": "/x/:other"}, "conflicts with already-registered route"),
    ],
)
async def test_a_bad_trigger_is_refused_and_routes_stay(
    config: dict[str, Any], text: str
) -> None:
    async with open_http_rig() as rig:
        await rig.serve("GET", "/x/:id", 1)
        with pytest.raises(RegistrationError) as caught:
            await rig.client.bind("http", "on::GET /x/:id", config)
        assert caught.value.code == "trigger_registration_failed"
        assert text in caught.value.message
        assert (await rig.request("GET", "/x/1")).status == 200
        assert len(rig.dispatcher.routes) == 1


async def test_a_trigger_bound_again_moves_its_route() -> None:
    async with open_http_rig() as rig:
        await rig.serve("GET", "/old", 1, options={"trigger_id": "t"})
        await rig.bind("GET", "/new", "on::GET /old", options={"trigger_id": "t"})
        assert (await rig.request("GET", "/old")).status == 404
        assert (await rig.request("GET", "/new")).status == 200


async def test_the_last_trigger_of_a_route_wins_and_nothing_is_restored() -> None:
    async with open_http_rig() as rig:
        await rig.serve("GET", "/a", "first", options={"trigger_id": "1"})
        rig.client.register_function("second", lambda: "second")
        await rig.bind("GET", "/a", "second", options={"trigger_id": "2"})
        assert (await rig.request("GET", "/a")).json() == "second"
        rig.client.unbind("1")
        assert (await rig.request("GET", "/a")).json() == "second"
        rig.client.unbind("2")
        assert (await rig.request("GET", "/a")).status == 404


async def test_routes_go_with_the_worker_that_bound_them() -> None:
    async with open_http_rig() as rig:
        async with rig.under_test.open_worker("brief") as brief:
            brief.register_function("f", lambda: 1)
            await brief.bind("http", "f", {"api_path": "/a"})
            assert (await rig.request("GET", "/a")).status == 200
        assert (await rig.request("GET", "/a")).status == 404


async def test_a_method_that_is_not_served_registers_and_is_a_404() -> None:
    async with open_http_rig() as rig:
        await rig.serve("TRACE", "/a", 1)
        assert (await rig.request("TRACE", "/a")).status == 404


async def test_a_trigger_bound_before_the_provider_is_served_when_it_comes() -> None:
    async with open_http_rig() as rig:
        rig.server.unregister_trigger_type("http")
        await rig.serve("GET", "/a", 1)
        assert (await rig.request("GET", "/a")).status == 404
        provide_trigger_type(rig.server, rig.dispatcher.routes)
        assert (await rig.request("GET", "/a")).status == 200


async def test_the_trigger_type_publishes_its_schemas() -> None:
    async with open_http_rig() as rig:
        info = await rig.client.invoke("engine::triggers::info", {"id": "http"})
        assert "api_path" in str(info["configuration_schema"])
        assert "middleware_function_ids" in str(info["configuration_schema"])
        assert "query_params" in str(info["request_schema"])
        assert "status_code" in str(info["response_schema"])
        assert info["description"] == "HTTP API trigger"


async def test_exchanges_of_tests_are_exchanges() -> None:
    exchange = MemoryExchange("POST", "/", (), [b"a", b"b"])
    assert exchange.has_body
    assert await exchange.read_body(2) == b"ab"
