"""A queue inside a Trio program: retries, order by group, dead letters, a topic.

Run it: ``python examples/queue_worker.py``. Messages rest in memory here; with
``open_sqlite(path)`` in place of ``open_memory()`` they survive the process.
"""

import functools
from typing import Any

import trio

import iii_trio
from iii_trio.adapters.memory import open_memory
from iii_trio.builtins.queue import NamedQueue, QueueConfig, serve_queue

QUEUES = QueueConfig(
    queue_configs={
        "mail": NamedQueue(max_retries=2, backoff_ms=10),
        "orders": NamedQueue(type="fifo", message_group_field="customer"),
    }
)


async def send_mail(mail: dict[str, Any]) -> None:
    """Fail for one address, always."""
    await trio.lowlevel.checkpoint()
    if mail["to"] == "nobody":
        raise iii_trio.FunctionFailedError("no such address", code="bounced")
    print(f"mail to {mail['to']}")


async def handle_order(order: dict[str, Any]) -> None:
    """Orders of one customer come one after another."""
    await trio.sleep(0.01 if order["step"] == 1 else 0)
    print(f"order of {order['customer']}, step {order['step']}")


async def count_signup(signup: dict[str, Any]) -> None:
    """One of any number of subscribers of a topic."""
    await trio.lowlevel.checkpoint()
    print(f"welcome, {signup['name']}")


async def main() -> None:
    """Serve queues, send messages, look at the one that died."""
    async with (
        iii_trio.open_engine() as engine,
        open_memory() as stores,
        iii_trio.open_worker(engine, name="iii-queue") as queue_worker,
        iii_trio.open_worker(engine, name="shop") as shop,
        trio.open_nursery() as nursery,
    ):
        serve = functools.partial(
            serve_queue,
            queue_worker,
            QUEUES,
            store=stores.queue(),
            records=stores.key_value("queue"),
        )
        await nursery.start(serve)
        shop.register_function("mail::send", send_mail)
        shop.register_function("order::handle", handle_order)
        shop.register_function("signup::count", count_signup)
        await shop.bind("durable:subscriber", "signup::count", {"topic": "signups"})

        await shop.enqueue("mail::send", {"to": "ada"}, queue="mail")
        await trio.sleep(0.05)
        for step in (1, 2):
            order = {"customer": "ada", "step": step}
            await shop.enqueue("order::handle", order, queue="orders")
        await trio.sleep(0.05)
        signup = {"topic": "signups", "data": {"name": "Grace"}}
        await shop.invoke("iii::durable::publish", signup)

        await shop.enqueue("mail::send", {"to": "nobody"}, queue="mail")
        await trio.sleep(0.1)
        for dead in await shop.invoke("engine::queue::dlq_messages", {"queue": "mail"}):
            print(f"dead after {dead['retries']} deliveries: {dead['error']}")
        nursery.cancel_scope.cancel(reason="the example is over")


if __name__ == "__main__":
    trio.run(main)
