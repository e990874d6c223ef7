"""An engine inside a Trio program: typed functions, errors, and cancellation that arrives.

Run it: ``python examples/embedded.py``. No socket is opened and no thread is started.
"""

import attrs
import trio

import iii_trio


@attrs.frozen
class Pair:
    """What ``math::divide`` takes; other payloads never reach the handler."""

    a: float
    b: float


@attrs.frozen
class Quotient:
    """What ``math::divide`` returns."""

    q: float


async def divide(pair: Pair) -> Quotient:
    """Divide ``a`` by ``b``; the types are published as JSON schemas."""
    await trio.lowlevel.checkpoint()
    if pair.b == 0:
        raise iii_trio.FunctionFailedError("b is zero", code="division_by_zero")
    return Quotient(q=pair.a / pair.b)


async def wait_for_ever(_payload: object) -> None:
    """Wait until the caller gives up."""
    try:
        await trio.sleep_forever()
    finally:
        print("the handler was cancelled with its caller")


async def main() -> None:
    """Open an engine and a worker, and call what it offers."""
    async with (
        iii_trio.open_engine() as engine,
        iii_trio.open_worker(engine, name="math-worker") as worker,
    ):
        worker.register_function("math::divide", divide)
        worker.register_function("math::wait", wait_for_ever)

        print(await worker.invoke("math::divide", {"a": 6, "b": 3}))
        for payload in ({"a": 1, "b": 0}, {"a": "one", "b": 2}):
            try:
                await worker.invoke("math::divide", payload)
            except iii_trio.InvocationError as error:
                print(error)

        with trio.move_on_after(0.05):
            await worker.invoke("math::wait")
        print(f"calls in flight: {engine.statistics().invocations}")


if __name__ == "__main__":
    trio.run(main)
