"""The HTTP floor: this library's front door and the same JSON work, no engine between.

Argument: the port. ``POST`` adds two numbers. No product on this front door is faster.
"""

import sys

import msgspec
import trio

from iii_trio.net import FixedHeaders, HTTPExchange, open_front_door, open_pump

HEADERS = FixedHeaders([("content-type", "application/json")])
BODY_LIMIT = 2**20  # bytes


class Adder:
    """Answers in the pump."""

    def on_request(self, exchange: HTTPExchange) -> None:
        """Add ``a`` and ``b`` of the body."""
        body = msgspec.json.decode(exchange.take_body_nowait(BODY_LIMIT) or b"")
        answer = {"sum": body["a"] + body["b"], "ok": True}
        exchange.respond(200, HEADERS, msgspec.json.encode(answer))


async def main() -> None:
    """Serve until killed."""
    port = int(sys.argv[1])
    async with (
        open_pump() as pump,
        open_front_door(pump, Adder(), host="127.0.0.1", port=port),
    ):
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main)
