"""HTTP routes inside a Trio program: parameters, middleware, streams, and hanging up.

Run it: ``python examples/http_worker.py``. The client could be any other, such as curl or
a browser.
"""

import functools
import json
from typing import Any

import httpx2
import trio

import iii_trio
from iii_trio.builtins.http import HTTPConfig, HTTPServer, serve_http
from iii_trio.net import open_pump


async def read_order(request: dict[str, Any]) -> dict[str, Any]:
    """What is returned is the body, unless it is a response object."""
    await trio.lowlevel.checkpoint()
    return {"id": request["path_params"]["id"], **request["query_params"]}


async def create_order(request: dict[str, Any]) -> dict[str, Any]:
    """A response object has a status, headers or a body."""
    await trio.lowlevel.checkpoint()
    return {"status_code": 201, "body": {"ordered": request["body"]["item"]}}


async def authorize(call: dict[str, Any]) -> dict[str, Any]:
    """Middleware lets a request go on, or responds itself."""
    await trio.lowlevel.checkpoint()
    if call["request"]["headers"].get("authorization") == "Bearer ada":
        return {"action": "continue"}
    return {"action": "respond", "response": {"status_code": 401, "body": "who?"}}


async def count(shop: iii_trio.Worker, request: dict[str, Any]) -> None:
    """Stream a response: head as text, body as bytes."""
    async with shop.open_writer(request["response"]) as writer:
        headers = {"content-type": "text/plain"}
        await writer.send(json.dumps({"type": "set_headers", "headers": headers}))
        for number in range(3):
            await writer.send(b"%d" % number)


class Thinker:
    """A handler that works for longer than its client waits."""

    def __init__(self) -> None:
        self.began, self.ended = trio.Event(), trio.Event()

    async def think(self) -> None:
        """Tell when it begins and when it ends, in whatever way."""
        self.began.set()
        try:
            await trio.sleep(3600)
        finally:
            self.ended.set()


async def use(server: HTTPServer, thinker: Thinker) -> None:
    """Be the client."""
    host, port = server.addresses[0]
    url = f"http://{host}:{port}"
    async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
        answers = [
            await client.get("/orders/7?page=2"),
            await client.post("/orders", json={"item": "tea"}),
            await client.post(
                "/orders",
                json={"item": "tea"},
                headers={"authorization": "Bearer ada"},
            ),
            await client.get("/count"),
            await client.delete("/orders"),
        ]
        for answer in answers:
            print(answer.status_code, answer.text)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.get, "/think")
            await thinker.began.wait()
            nursery.cancel_scope.cancel(reason="the client hangs up")
    await thinker.ended.wait()
    print("the handler was cancelled with its client")


async def main() -> None:
    """Serve routes on a free port, and be their client."""
    async with (
        iii_trio.open_engine() as engine,
        open_pump() as pump,
        iii_trio.open_worker(engine, name="iii-http") as http_worker,
        iii_trio.open_worker(engine, name="shop") as shop,
        trio.open_nursery() as nursery,
    ):
        config = HTTPConfig(port=0, host="127.0.0.1")
        serve = functools.partial(serve_http, http_worker, config, pump=pump)
        server = await nursery.start(serve)
        thinker = Thinker()
        shop.register_function("orders::read", read_order)
        shop.register_function("orders::create", create_order)
        shop.register_function("orders::authorize", authorize)
        shop.register_function("count", functools.partial(count, shop))
        shop.register_function("think", thinker.think)
        await shop.bind("http", "orders::read", {"api_path": "/orders/:id"})
        route = {"api_path": "/orders", "http_method": "POST"}
        guard = {"middleware_function_ids": ["orders::authorize"]}
        await shop.bind("http", "orders::create", {**route, **guard})
        await shop.bind("http", "count", {"api_path": "/count", "channels": True})
        await shop.bind("http", "think", {"api_path": "/think"})
        await use(server, thinker)
        await server.drain(1)
        nursery.cancel_scope.cancel(reason="the example is over")


if __name__ == "__main__":
    trio.run(main)
