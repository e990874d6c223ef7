"""A function that is an HTTP endpoint: signed requests, and errors with a code.

Run it: ``python examples/http_functions_worker.py``.
"""

import functools
import hashlib
import hmac
from base64 import b64encode

import msgspec
import trio

import iii_trio
from iii_trio.builtins.http_functions import (
    HTTPFunctionsConfig,
    SecurityConfig,
    serve_http_functions,
)

KEY = "only the engine and the endpoint know it"

# The endpoint is on this machine and speaks plain HTTP, which is refused by default.
SETTINGS = HTTPFunctionsConfig(
    security=SecurityConfig(
        url_allowlist=("127.0.0.1",), block_private_ips=False, require_https=False
    )
)


async def endpoint(stream: trio.SocketStream) -> None:
    """Any web server would do; this one reads a request by hand and checks it."""
    request = bytes(await stream.receive_some())  # a small one comes in one piece
    head, _, body = request.partition(b"\r\n\r\n")
    headers = dict(line.split(b": ", 1) for line in head.splitlines()[1:])
    signed = headers[b"x-iii-Timestamp"] + b":" + b64encode(body)
    signature = hmac.new(KEY.encode(), signed, hashlib.sha256).hexdigest()
    assert headers[b"x-iii-Signature"] == f"sha256={signature}".encode()
    price = msgspec.json.decode(body)["price"]
    if price > 0:
        status, answer = b"200 OK", {"with_tax": price * 1.2}
    else:
        error = {"code": "bad_price", "message": "a price is positive"}
        status, answer = b"422 Unprocessable", {"error": error}
    text = msgspec.json.encode(answer)
    length = b"Content-Length: %d\r\nConnection: close" % len(text)
    await stream.send_all(b"HTTP/1.1 %s\r\n%s\r\n\r\n%s" % (status, length, text))


async def main() -> None:
    """Serve an endpoint and the worker, register a function, call it twice."""
    async with (
        iii_trio.open_engine() as engine,
        iii_trio.open_worker(engine, name="iii-http-functions") as http_functions,
        iii_trio.open_worker(engine, name="shop") as shop,
        trio.open_nursery() as nursery,
    ):
        listeners = await nursery.start(
            functools.partial(trio.serve_tcp, endpoint, 0, host="127.0.0.1")
        )
        port = listeners[0].socket.getsockname()[1]
        serve = functools.partial(
            serve_http_functions, http_functions, SETTINGS, environ={"TAX_KEY": KEY}
        )
        handle = await nursery.start(serve)

        shop.register_http_function(
            "tax::add",
            f"http://127.0.0.1:{port}/tax",
            auth={"type": "hmac", "secret_key": "TAX_KEY"},
        )
        print(await shop.invoke("tax::add", {"price": 10}))
        try:
            await shop.invoke("tax::add", {"price": -1})
        except iii_trio.InvocationError as error:
            print(error)
        try:
            shop.register_http_function("tax::evil", "http://169.254.169.254/")
        except iii_trio.RegistrationError as error:
            print(error)
        print("requests:", handle.statistics().requests)
        nursery.cancel_scope.cancel(reason="the example is over")


if __name__ == "__main__":
    trio.run(main)
