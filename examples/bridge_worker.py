"""Two engines with a bridge: one lends a function to the other, and borrows one.

Run it: ``python examples/bridge_worker.py``.
"""

import functools

import trio

import iii_trio
from iii_trio.builtins.bridge import (
    BridgeConfig,
    ExposeConfig,
    ForwardConfig,
    serve_bridge,
)
from iii_trio.engine import open_listener
from iii_trio.net import open_pump


async def main() -> None:
    """Open two engines, one with a port, and bridge them."""
    async with (
        open_pump() as pump,
        iii_trio.open_engine() as office,
        open_listener(office, pump, port=0) as door,
        iii_trio.open_engine() as shop,
        iii_trio.open_worker(office, name="accounts") as accounts,
        iii_trio.open_worker(shop, name="till") as till,
        iii_trio.open_worker(shop, name="iii-bridge") as bridge,
        trio.open_nursery() as nursery,
    ):
        config = BridgeConfig(
            url=f"ws://127.0.0.1:{door.addresses[0][1]}",
            expose=(ExposeConfig(local_function="till::total"),),
            forward=(
                ForwardConfig(
                    local_function="office::book",
                    remote_function="accounts::book",
                    timeout_ms=5000,
                ),
            ),
        )
        await nursery.start(functools.partial(serve_bridge, bridge, config))

        @accounts.function("accounts::book")
        async def book(amount: int) -> str:
            total = await accounts.invoke("till::total")
            return f"booked {amount} of {total}"

        @till.function("till::total")
        async def total() -> int:
            await trio.lowlevel.checkpoint()
            return 100

        print(await till.invoke("office::book", 30))
        asked = {"function_id": "accounts::book", "data": 70}
        print(await till.invoke("bridge.invoke", asked))
        try:
            await till.invoke("bridge.invoke", {"function_id": "accounts::burn"})
        except iii_trio.InvocationError as error:
            print(error.code, "-", error.message.split(":")[0])
        nursery.cancel_scope.cancel(reason="the example is over")


if __name__ == "__main__":
    trio.run(main)
