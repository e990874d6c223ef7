"""Logs, traces and metrics of a program: who watches whom.

Run it: ``python examples/observability_worker.py``.
"""

import functools
from typing import Any

import trio

import iii_trio
from iii_trio.builtins.observability import (
    DEFAULT_BLOCK,
    ObservabilityConfig,
    Telemetry,
    serve_observability,
)


async def main() -> None:
    """Watch an engine, let something go wrong, and look at it from all sides."""
    telemetry = Telemetry()
    async with (
        iii_trio.open_engine(
            on_telemetry=telemetry.take, latest_metrics=telemetry.latest_metrics
        ) as engine,
        iii_trio.open_worker(engine, name="iii-observability") as server,
        iii_trio.open_worker(engine, name="shop") as shop,
        trio.open_nursery() as nursery,
    ):
        telemetry.attach(engine)
        serve = functools.partial(
            serve_observability,
            server,
            ObservabilityConfig(**DEFAULT_BLOCK),
            telemetry=telemetry,
        )
        handle = await nursery.start(serve)

        async def pay(order: dict[str, Any]) -> None:
            message = f"order {order['id']} was refused"
            await shop.invoke(
                "engine::log::error", {"message": message, "service_name": "shop"}
            )
            raise ValueError("no money")

        async def call_for_help(record: dict[str, Any]) -> None:
            print(f"{record['service_name']} needs help: {record['body']}")
            # It logs itself, and is not called again for that.
            await shop.invoke("engine::log::error", {"message": "help is on its way"})

        shop.register_function("order::pay", pay)
        shop.register_function("on::error", call_for_help)
        await shop.bind("log", "on::error", {"level": "error"})

        try:
            await shop.invoke("order::pay", {"id": 7}, kind="delivery")
        except iii_trio.FunctionFailedError as exc:
            print(f"it failed: {exc.message}")
        await handle.drain(5)

        logs = await shop.invoke("engine::logs::list", {"severity_min": 17})
        print("errors, newest first:", [record["body"] for record in logs["logs"]])
        traces = await shop.invoke("engine::traces::list", {"status": "error"})
        for span in traces["spans"]:
            print(f"{span['name']}: {span['status']}")
        metrics = await shop.invoke("engine::metrics::list")
        print("calls:", metrics["engine_metrics"]["invocations"]["by_function"])
        nursery.cancel_scope.cancel(reason="the example is over")


if __name__ == "__main__":
    trio.run(main)
