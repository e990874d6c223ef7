"""State inside a Trio program: values, updates in one step, and who is told of them.

Run it: ``python examples/state_worker.py``. Values rest in memory here; with
``open_sqlite(path)`` in place of ``open_memory()`` they survive the process.
"""

import functools
from typing import Any

import trio

import iii_trio
from iii_trio.adapters.memory import open_memory
from iii_trio.builtins.state import StateConfig, StateHandle, serve_state

CART = {"scope": "carts", "key": "ada"}
LOCK = {"scope": "locks", "key": "report"}


async def is_paid(write: dict[str, Any]) -> bool:
    """Whether a write is the one that pays; asked before each call of `ship`."""
    await trio.lowlevel.checkpoint()
    return write["new_value"].get("paid") is True


async def log_write(write: dict[str, Any]) -> None:
    """See every write to a cart."""
    await trio.lowlevel.checkpoint()
    print(f"{write['event_type']}: {write['old_value']} -> {write['new_value']}")


async def ship(write: dict[str, Any]) -> None:
    """See the writes that `is_paid` says yes to."""
    await trio.lowlevel.checkpoint()
    print(f"shipping {write['new_value']['items']} to {write['key']}")


async def use(shop: iii_trio.Worker, state: StateHandle) -> None:
    """Fill a cart, pay for it, and take a lock that only one can have."""
    await shop.invoke("state::set", {**CART, "value": {"items": []}})
    await state.drain(5)
    ops = [
        {"type": "append", "path": "items", "value": "tea"},
        {"type": "increment", "path": "total", "by": 4},
        {"type": "increment", "path": "items", "by": 1},
    ]
    updated = await shop.invoke("state::update", {**CART, "ops": ops})
    await state.drain(5)
    for error in updated["errors"]:
        print(f"operation {error['op_index']} was skipped: {error['code']}")
    paid = [{"type": "set", "path": "paid", "value": True}]
    await shop.invoke("state::update", {**CART, "ops": paid})
    await state.drain(5)

    for name in ("first", "second"):
        answer = await shop.invoke("state::compare_and_set", {**LOCK, "value": name})
        print(f"{name}: {answer}")
    print(await shop.invoke("state::list_groups", {}))


async def main() -> None:
    """Serve state, bind two functions to writes, and write."""
    async with (
        iii_trio.open_engine() as engine,
        open_memory() as stores,
        iii_trio.open_worker(engine, name="iii-state") as state_worker,
        iii_trio.open_worker(engine, name="shop") as shop,
        trio.open_nursery() as nursery,
    ):
        store = stores.key_value("state")
        serve = functools.partial(serve_state, state_worker, StateConfig(), store=store)
        state = await nursery.start(serve)
        shop.register_function("cart::is_paid", is_paid)
        shop.register_function("cart::log", log_write)
        shop.register_function("cart::ship", ship)
        await shop.bind("state", "cart::log", {"scope": "carts"})
        only_paid = {"scope": "carts", "condition_function_id": "cart::is_paid"}
        await shop.bind("state", "cart::ship", only_paid)
        await use(shop, state)
        nursery.cancel_scope.cancel(reason="the example is over")


if __name__ == "__main__":
    trio.run(main)
