"""Live data inside a Trio program: a page that follows a chat room, and a guard.

Run it: ``python examples/stream_worker.py``. A browser would open the same WebSocket and
send the same frames.
"""

import functools
import json
from typing import Any

import trio
import trio_websocket

import iii_trio
from iii_trio.adapters.memory import open_memory
from iii_trio.builtins.stream import StreamConfig, StreamServer, serve_stream
from iii_trio.net import open_pump

ROOM = {"stream_name": "chat", "group_id": "lobby"}


async def guard(visit: dict[str, Any]) -> dict[str, bool]:
    """Nobody may look into the cellar."""
    await trio.lowlevel.checkpoint()
    return {"unauthorized": visit["group_id"] == "cellar"}


async def follow(server: StreamServer, chat: iii_trio.Worker) -> None:
    """Join two rooms, and print what comes."""
    host, port = server.addresses[0]
    url = f"ws://{host}:{port}"
    async with trio_websocket.open_websocket_url(url) as page:
        for room in ("cellar", "lobby"):
            where = {"subscriptionId": room, "streamName": "chat", "groupId": room}
            await page.send_message(json.dumps({"type": "join", "data": where}))
            frame = json.loads(await page.get_message())
            print(room, frame["event"])

        await chat.invoke("stream::set", {**ROOM, "item_id": "2", "data": "Hello, Ada"})
        ops = [{"type": "append", "path": "", "value": "!"}]
        await chat.invoke("stream::update", {**ROOM, "item_id": "2", "ops": ops})
        await chat.invoke("stream::delete", {**ROOM, "item_id": "1"})
        await chat.invoke("stream::send", {**ROOM, "type": "typing", "data": "Ada"})
        for _ in range(4):
            frame = json.loads(await page.get_message())
            print(frame["id"], frame["event"])


async def main() -> None:
    """Serve streams, store a first message, follow the room."""
    async with (
        iii_trio.open_engine() as engine,
        open_memory() as stores,
        open_pump() as pump,
        iii_trio.open_worker(engine, name="iii-stream") as stream_worker,
        iii_trio.open_worker(engine, name="chat") as chat,
        trio.open_nursery() as nursery,
    ):
        server = await nursery.start(
            functools.partial(
                serve_stream,
                stream_worker,
                StreamConfig(port=0, host="127.0.0.1"),
                store=stores.key_value("stream"),
                pump=pump,
            )
        )
        chat.register_function("chat::guard", guard)
        await chat.bind("stream:join", "chat::guard")
        await chat.invoke("stream::set", {**ROOM, "item_id": "1", "data": "Hello"})
        await follow(server, chat)
        await server.drain(1)
        nursery.cancel_scope.cancel(reason="the example is over")


if __name__ == "__main__":
    trio.run(main)
