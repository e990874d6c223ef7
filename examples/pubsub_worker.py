"""Pub/sub inside a Trio program: two subscribers, one of them choosy.

Run it: ``python examples/pubsub_worker.py``.
"""

import functools
from typing import Any

import trio

import iii_trio
from iii_trio.builtins.pubsub import PubSubConfig, serve_pubsub


async def count(order: dict[str, Any]) -> None:
    """Gets every order."""
    await trio.lowlevel.checkpoint()
    print(f"counted {order['id']}")


async def celebrate(order: dict[str, Any]) -> None:
    """Gets those that the condition lets pass."""
    await trio.lowlevel.checkpoint()
    print(f"celebrated {order['id']}")


async def is_large(order: dict[str, Any]) -> bool:
    """Decides about each message."""
    await trio.lowlevel.checkpoint()
    return bool(order["total"] >= 100)


async def main() -> None:
    """Serve pub/sub, subscribe twice, publish three times."""
    async with (
        iii_trio.open_engine() as engine,
        iii_trio.open_worker(engine, name="iii-pubsub") as pubsub_worker,
        iii_trio.open_worker(engine, name="shop") as shop,
        trio.open_nursery() as nursery,
    ):
        serve = functools.partial(serve_pubsub, pubsub_worker, PubSubConfig())
        handle = await nursery.start(serve)
        shop.register_function("order::count", count)
        shop.register_function("order::celebrate", celebrate)
        shop.register_function("order::is_large", is_large)
        orders = {"topic": "orders"}
        await shop.bind("subscribe", "order::count", orders)
        await shop.bind(
            "subscribe", "order::celebrate", orders, condition="order::is_large"
        )

        for number, total in enumerate((20, 300), start=1):
            order = {"id": number, "total": total}
            await shop.invoke("publish", {"topic": "orders", "data": order})
            await handle.drain(5)
        shop.fire("publish", {"topic": "nobody listens", "data": None})
        nursery.cancel_scope.cancel(reason="the example is over")


if __name__ == "__main__":
    trio.run(main)
