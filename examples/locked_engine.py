"""An engine that others can reach, locked: only workers with a good JWT get in.

Needs PyJWT: ``pip install 'iii-trio[auth]'``. In a program of one's own the listener would
get ``host="0.0.0.0"``, and TLS; the tokens would come from whoever signs them.
"""

import logging
import time

import jwt
import trio

import iii_trio
from iii_trio.access import Access, parse_rules
from iii_trio.builtins.auth import (
    AUTH_FUNCTION,
    AuthConfig,
    JWTConfig,
    SessionConfig,
    serve_auth,
)
from iii_trio.engine import open_engine, open_listener
from iii_trio.net import open_pump
from iii_trio.protocol import AccessDenied, Event, FunctionRegistered

KEY = "a key of at least 32 bytes, from a secret store"
AUTH = AuthConfig(
    jwt=JWTConfig(
        algorithms=["HS256"],
        key=KEY,
        audience="my-engine",
        session=SessionConfig(allowed_functions=["orders::create"]),
    )
)
RULES = {
    "auth_function_id": AUTH_FUNCTION,
    "expose_functions": ['match("catalogue::*")'],
}


def token_of(team: str, seconds: float = 600) -> str:
    """What an issuer would sign: who it is, until when, and what it may do."""
    claims = {
        "sub": team,
        "aud": "my-engine",
        "exp": int(time.time() + seconds),
        "iii": {"function_registration_prefix": team},
    }
    return jwt.encode(claims, KEY, algorithm="HS256")


async def be_team(url: str) -> None:
    """A worker of a team, as a program elsewhere would run it."""
    async with iii_trio.open_worker(url, name="shop") as worker:

        @worker.function("ping")
        async def ping(_payload: object) -> list[str]:
            await trio.lowlevel.checkpoint()
            said = []
            for function_id in ("catalogue::list", "orders::create", "orders::delete"):
                try:
                    said.append(await worker.invoke(function_id, {}))
                except iii_trio.InvocationError as exc:
                    said.append(str(exc))
            return said

        await trio.sleep_forever()


async def main() -> None:
    logging.getLogger("iii_trio").setLevel(logging.ERROR)  # refusals are printed here
    refused, registered = trio.Event(), trio.Event()

    def tell(event: Event) -> None:
        if isinstance(event, AccessDenied) and event.action == "connect":
            print("refused:", event.reason)
            refused.set()
        if isinstance(event, FunctionRegistered) and event.function_id == "blue::ping":
            registered.set()

    access = Access(rules=parse_rules(RULES))
    async with (
        open_pump() as pump,
        open_engine(on_event=tell) as engine,
        open_listener(engine, pump, port=0, access=access) as door,
        iii_trio.open_worker(engine, name="auth") as auth,
        iii_trio.open_worker(engine, name="operator") as operator,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(serve_auth, auth, AUTH)
        for function_id in ("catalogue::list", "orders::create", "orders::delete"):
            operator.register_function(function_id, lambda _payload, f=function_id: f)

        url = f"ws://127.0.0.1:{door.addresses[0][1]}"
        nursery.start_soon(be_team, f"{url}/?token={token_of('blue', -60)}")
        await refused.wait()

        nursery.start_soon(be_team, f"{url}/?token={token_of('blue')}")
        await registered.wait()
        for said in await operator.invoke("blue::ping", {}):
            print(said)
        nursery.cancel_scope.cancel(reason="that was all")


if __name__ == "__main__":
    trio.run(main)
