"""Workers on public SDKs at a locked listener: let in, restricted, refused."""

import json
import pathlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, get_args

import attrs
import pytest
import trio

from iii_trio.access import Access, parse_rules
from iii_trio.builtins.auth import (
    AUTH_FUNCTION,
    AuthConfig,
    AuthHandle,
    SessionConfig,
    TokenConfig,
    serve_auth,
)
from iii_trio.errors import FunctionFailedError
from iii_trio.protocol import (
    AccessDenied,
    FunctionRegistered,
    InvocationOpened,
    WorkerAnnounced,
)
from iii_trio.worker import open_worker
from tests import sdks
from tests.live import PATIENCE, Language, LiveEngine, open_live_engine

pytestmark = pytest.mark.slow

each_language = pytest.mark.parametrize(
    "language",
    [
        pytest.param(language, marks=pytest.mark.needs_node if language == "ts" else ())
        for language in get_args(Language)
    ],
)
TOKEN = "hush-token-of-team-1"
EXPOSED = ['match("open::*")']


@attrs.frozen(eq=False)
class Locked:
    """What `open_locked_engine` yields."""

    live: LiveEngine
    auth: AuthHandle

    async def start(self, language: Language) -> None:
        await self.live.start(sdks.program(language, "locked", self.live.directory))

    async def came_in(self, function_id: str) -> None:
        """Wait until a worker has registered a function."""
        with trio.move_on_after(PATIENCE):
            await self.live.events.wait_for(FunctionRegistered, function_id=function_id)
            return
        raise AssertionError((self.live.directory / "output.log").read_text())

    async def refused(self, times: int) -> None:
        """Wait until connections were refused so many times."""
        enough = trio.Event()
        events = self.live.events

        def count(_event: object = None) -> None:
            if len(events.of(AccessDenied, action="connect")) >= times:
                enough.set()

        end = self.live.engine.subscribe(count)
        count()
        with trio.fail_after(PATIENCE):
            await enough.wait()
        end()


def tokens(*, token: str = TOKEN, **session: Any) -> AuthConfig:
    return AuthConfig(
        tokens=[
            TokenConfig(name="team-1", token=token, session=SessionConfig(**session))
        ]
    )


def told(language: Language, token: str) -> dict[str, str]:
    """How a worker is given its token: Node of this version knows no ``III_TOKEN``."""
    if language == "py":
        return {"III_TOKEN": token}
    return {"LOCKED_HEADERS": json.dumps({"authorization": f"Bearer {token}"})}


@asynccontextmanager
async def open_locked_engine(
    directory: pathlib.Path,
    config: AuthConfig,
    environment: dict[str, str],
    **rules: Any,
) -> AsyncIterator[Locked]:
    rules = {"auth_function_id": AUTH_FUNCTION, "expose_functions": EXPOSED, **rules}
    access = Access(rules=parse_rules(rules))
    async with (
        open_live_engine(directory, access=access, told=environment) as live,
        open_worker(live.engine, name="iii-auth") as worker,
        trio.open_nursery() as nursery,
    ):
        live.caller.register_function("open::f", lambda _payload: "opened")
        live.caller.register_function("shut::f", lambda _payload: "never")
        handle = await nursery.start(partial(serve_auth, worker, config))
        yield Locked(live, handle)
        nursery.cancel_scope.cancel(reason="the test is over")


@each_language
async def test_a_worker_with_its_token_works_within_its_rules(
    language: Language, tmp_path: pathlib.Path
) -> None:
    config = tokens(function_registration_prefix="team-1")
    async with open_locked_engine(tmp_path, config, told(language, TOKEN)) as locked:
        await locked.start(language)
        await locked.came_in("team-1::last")

        async def attempt(function_id: str) -> Any:
            request = {"function_id": function_id, "payload": {}}
            return await locked.live.caller.invoke("team-1::attempt", request)

        assert await attempt("open::f") == {"result": "opened"}
        for function_id in ("shut::f", "engine::functions::list", "no::where"):
            answer = await attempt(function_id)
            assert answer["code"] == "FORBIDDEN"
            assert "rbac.expose_functions" in answer["message"]
        (announced,) = locked.live.events.of(WorkerAnnounced, name=f"{language}-locked")
        assert announced.namespace == "default"
    output = (tmp_path / "output.log").read_text()
    assert TOKEN not in output


@each_language
async def test_a_worker_without_the_right_token_stays_out_until_it_is_let_in(
    language: Language, tmp_path: pathlib.Path
) -> None:
    environment = told(language, TOKEN + "x")
    async with open_locked_engine(tmp_path, tokens(), environment) as locked:
        await locked.start(language)
        await locked.refused(2)  # it comes again: the SDKs ignore the error frame
        assert not locked.live.events.of(FunctionRegistered, function_id="last")
        assert not locked.live.events.of(WorkerAnnounced, name=f"{language}-locked")
        with pytest.raises(FunctionFailedError, match="token is not known"):
            await locked.live.caller.invoke(
                AUTH_FUNCTION, {"headers": {"authorization": f"Bearer {TOKEN}x"}}
            )
        await locked.auth.reconfigure(tokens(token=TOKEN + "x"))
        await locked.came_in("last")


@each_language
async def test_headers_and_the_address_reach_the_auth_function(
    language: Language, tmp_path: pathlib.Path
) -> None:
    environment = {"LOCKED_HEADERS": json.dumps({"x-team": "blue"})}
    asked: list[Any] = []

    def check(request: Any) -> dict[str, Any]:
        asked.append(request)
        return {}

    access = Access(rules=parse_rules({"auth_function_id": "auth::own"}))
    async with open_live_engine(tmp_path, access=access, told=environment) as live:
        live.caller.register_function("auth::own", check)
        live.told["III_URL"] = f"{live.url}/?color=%23fff"
        await live.start(sdks.program(language, "locked", live.directory))
        with trio.fail_after(PATIENCE):
            await live.events.wait_for(FunctionRegistered, function_id="last")
    # The telemetry socket of this Node version brings neither headers nor the query.
    main = [one for one in asked if one["headers"].get("x-team") == "blue"]
    assert main
    assert all(one["query_params"] == {"color": ["%23fff"]} for one in main)
    assert all(one["ip_address"] == "127.0.0.1" for one in main)


@each_language
async def test_a_hook_and_a_middleware_are_on_the_way_of_real_workers(
    language: Language, tmp_path: pathlib.Path
) -> None:
    rules = {"on_function_registration_function_id": "hook::rename"}
    async with open_locked_engine(
        tmp_path, tokens(), told(language, TOKEN), **rules
    ) as locked:

        @locked.live.caller.function("hook::rename")
        def rename(question: dict[str, Any]) -> dict[str, Any]:
            return {"function_id": f"renamed::{question['function_id']}"}

        await locked.start(language)
        await locked.came_in("renamed::last")
        request = {"function_id": "open::f", "payload": {}}
        answer = await locked.live.caller.invoke("renamed::attempt", request)
        assert answer == {"result": "opened"}
        opened = locked.live.events.of(InvocationOpened, function_id="hook::rename")
        assert len(opened) == 2


@pytest.mark.full
@pytest.mark.parametrize("version", sdks.PYTHON_VERSIONS)
async def test_each_python_sdk_gets_in_by_its_address_or_stays_out(
    version: str, tmp_path: pathlib.Path
) -> None:
    python = sdks.python_with_sdk(version)
    async with open_locked_engine(tmp_path, tokens(), {}) as locked:
        program = sdks.math_worker(version, tmp_path)
        locked.live.told["III_URL"] = f"{locked.live.url}/?token=wrong"
        stranger = await locked.live.start([python, program])
        await locked.refused(1)
        assert not locked.live.events.of(FunctionRegistered, function_id="math::add")
        stranger.kill()
        locked.live.told["III_URL"] = f"{locked.live.url}/?token={TOKEN}"
        await locked.live.start([python, program])
        await locked.came_in("math::add")
    output = (tmp_path / "output.log").read_text()
    assert not re.search("Traceback", output), output
