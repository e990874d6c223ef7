"""``iii-trio trigger`` as a process against a listening engine in this one."""

import json
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, Any

import attrs
import msgspec
import pytest
import trio

from iii_trio.access import Access, parse_rules
from iii_trio.app import open_app
from iii_trio.app._trigger_command import _shown
from iii_trio.engine import open_engine, open_listener
from iii_trio.errors import FunctionFailedError
from iii_trio.net import open_pump
from iii_trio.worker import NULL, Worker, open_worker
from tests.integration.server_rig import COMMAND, environment, run_cli
from tests.integration.tls_rig import shared_config

FULL = Path("/dev/full")
CONFIG = {"workers": [{"name": "iii-worker-manager", "config": {"port": 0}}]}


@asynccontextmanager
async def open_engine_with_worker() -> AsyncIterator[tuple[str, Worker]]:
    """A listening engine and a worker in it; the port as text."""
    async with open_app(CONFIG) as app:
        port = app.addresses["iii-worker-manager"][0][1]
        async with open_worker(app.engine, name="math-worker") as worker:
            worker.register_function("test::echo", echo)
            yield str(port), worker


async def echo(payload: Any) -> Any:
    await trio.lowlevel.checkpoint()
    return NULL if payload is None else payload


async def test_value_is_printed_pretty_with_sorted_keys() -> None:
    async with open_engine_with_worker() as (port, _):
        code, out, err = await run_cli(
            "trigger", "test::echo", "b=-2", "a=[1]", "c=é", "--port", port
        )
    assert (code, err) == (0, "")
    assert out == '{\n  "a": [\n    1\n  ],\n  "b": -2,\n  "c": "é"\n}\n'


@pytest.mark.parametrize(
    ("text", "printed"),
    [("null", ""), ("0", "0\n"), ('"hi"', '"hi"\n'), ("[]", "[]\n"), ("-5", "-5\n")],
)
async def test_any_json_value_can_be_sent_and_printed(text: str, printed: str) -> None:
    async with open_engine_with_worker() as (port, _):
        code, out, err = await run_cli(
            "t", "test::echo", "--json", text, "--port", port, "--address", "127.0.0.1"
        )
    assert (code, out, err) == (0, printed, "")


async def test_no_result_prints_nothing() -> None:
    async with open_engine_with_worker() as (port, worker):
        worker.register_function("test::silent", lambda: None)
        code, out, err = await run_cli("trigger", "test::silent", "--port", port)
    assert (code, out, err) == (0, "", "")


async def test_big_integers_are_printed_digit_by_digit() -> None:
    digits = "12345678901234567890"
    async with open_engine_with_worker() as (port, _):
        code, out, _ = await run_cli(
            "trigger", "test::echo", "--json", digits, "--port", port
        )
    assert (code, out) == (0, f"{digits}\n")


async def test_a_number_that_python_cannot_show_is_printed_as_it_came() -> None:
    async def answer() -> msgspec.Raw:
        await trio.lowlevel.checkpoint()
        return msgspec.Raw(b"[1e400]")

    async with open_engine_with_worker() as (port, worker):
        worker.register_function("test::odd", answer)
        code, out, err = await run_cli("trigger", "test::odd", "--port", port)
    assert (code, out, err) == (0, "[1e400]\n", "")


async def test_what_the_terminal_cannot_show_is_printed_escaped() -> None:
    latin = {"PYTHONIOENCODING": "latin-1"}
    async with open_engine_with_worker() as (port, _):
        code, out, err = await run_cli(
            "trigger", "test::echo", "--json", '"€"', "--port", port, env=latin
        )
    assert (code, out, err) == (0, '"\\u20ac"\n', "")


async def test_remote_error_is_printed_as_json() -> None:
    async with open_engine_with_worker() as (port, worker):

        @worker.function("test::fail")
        async def fail() -> None:
            await trio.lowlevel.checkpoint()
            raise FunctionFailedError("no luck", code="unlucky")

        code, out, err = await run_cli("trigger", "test::fail", "--port", port)
    assert (code, out) == (1, "")
    assert err.startswith("Error: {\n  ")
    error = json.loads(err.removeprefix("Error: "))
    assert set(error) == {"code", "message", "stacktrace"}
    assert (error["code"], error["message"]) == ("unlucky", "no luck")


async def test_unknown_function_is_a_remote_error() -> None:
    async with open_engine_with_worker() as (port, _):
        code, _, err = await run_cli("trigger", "math::add", "a=2", "--port", port)
    error = json.loads(err.removeprefix("Error: "))
    assert code == 1
    assert error["code"] == "function_not_found"
    assert "Function math::add not found" in error["message"]
    assert error["stacktrace"] is None


async def test_namespace_is_where_the_function_is_looked_for() -> None:
    async with open_engine_with_worker() as (port, _):
        code, _, err = await run_cli(
            "trigger", "test::echo", "-n", "other", "--port", port
        )
    assert code == 1
    assert json.loads(err.removeprefix("Error: "))["code"] == "function_not_found"


TIMED_OUT = (
    "Error: Timed out waiting for the engine (no response within the timeout). "
    "Is the engine running at the given address and port?\n"
)


async def test_stopped_engine_is_told_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = str(closed.getsockname()[1])
    code, out, err = await run_cli(
        "trigger", "test::echo", "--port", port, "--timeout-ms", "50"
    )
    assert (code, out) == (1, "")
    assert err.startswith(TIMED_OUT)


async def test_why_there_was_no_connection_is_told_after_the_timeout() -> None:
    rules = {"auth_function_id": "auth::no"}
    async with (
        open_pump() as pump,
        open_engine() as engine,
        open_worker(engine) as worker,
        open_listener(
            engine, pump, port=0, access=Access(rules=parse_rules(rules))
        ) as door,
        open_listener(engine, pump, port=0, tls=shared_config()) as secure,
    ):
        worker.register_function("auth::no", refuse)
        for port, options, cause in (
            (door, (), "refused by the engine: AUTH_ERROR: not[31m you"),
            (secure, (), "HTTP 400: This port speaks TLS: use https:// or wss://"),
            (secure, ("--tls",), "certificate verify failed"),
            (door, ("--tls",), "WRONG_VERSION_NUMBER"),
        ):
            code, out, err = await run_cli(
                *("trigger", "test::echo", "--address", "127.0.0.1"),
                *("--port", str(port.addresses[0][1]), "--timeout-ms", "10000"),
                *options,
            )
            assert (code, out) == (1, "")
            assert err.startswith(TIMED_OUT)
            assert cause in err


async def refuse(_: object) -> None:
    await trio.lowlevel.checkpoint()
    raise ValueError("not\x1b[31m you")


def test_a_result_that_nests_too_deep_is_shown_as_it_came() -> None:
    nested = b"[" * 100_000 + b"]" * 100_000
    assert _shown(nested) == nested.decode()


@contextmanager
def full_device() -> Iterator[IO[str]]:
    with FULL.open("w") as file:
        yield file


@pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")
async def test_a_result_that_cannot_be_written_is_an_error() -> None:
    async with open_engine_with_worker() as (port, _):
        with full_device() as full:
            done = await trio.run_process(
                [*COMMAND, "trigger", "test::echo", "a=1", "--port", port],
                env=environment(),
                stdout=full,
                capture_stderr=True,
                check=False,
            )
    assert done.returncode == 1
    assert done.stderr == (
        b"Error: the call is done, but its result cannot be written: "
        b"[Errno 28] No space left on device\n"
    )


async def test_silent_function_is_told_after_the_timeout_and_cancelled() -> None:
    async with open_engine_with_worker() as (port, worker):
        cancelled = trio.Event()

        @worker.function("test::stuck")
        async def stuck() -> None:
            try:
                await trio.sleep_forever()
            finally:
                cancelled.set()

        code, _, err = await run_cli(
            "trigger", "test::stuck", "--port", port, "--timeout-ms", "300"
        )
        await cancelled.wait()
    assert (code, err) == (1, TIMED_OUT)


async def test_ctrl_c_cancels_the_call() -> None:
    async with open_engine_with_worker() as (port, worker):
        started, cancelled = trio.Event(), trio.Event()

        @worker.function("test::stuck")
        async def stuck() -> None:
            started.set()
            try:
                await trio.sleep_forever()
            finally:
                cancelled.set()

        process = await trio.lowlevel.open_process(
            [*COMMAND, "trigger", "test::stuck", "--port", port],
            env=environment(),
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        await started.wait()
        process.send_signal(signal.SIGINT)
        await cancelled.wait()
        err = b"".join([piece async for piece in process.stderr])
        assert await process.wait() == 130
    assert err == b""


async def test_ctrl_c_while_it_still_connects_is_told_as_nothing_else() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, trio.socket.from_stdlib_socket(listener) as mute:
        process = await trio.lowlevel.open_process(
            [*COMMAND, "trigger", "test::stuck", "--port", str(mute.getsockname()[1])],
            env=environment(),
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        client, _ = await mute.accept()
        with client:  # it never gets an answer
            process.send_signal(signal.SIGINT)
            err = b"".join([piece async for piece in process.stderr])
            assert await process.wait() == 130
    assert err == b""


async def test_two_calls_at_once_from_a_workers_shell_do_not_collide() -> None:
    names = {"III_WORKER_NAME": "math-worker", "III_NAMESPACE": "elsewhere"}
    codes: list[int] = []
    async with open_engine_with_worker() as (port, _):

        async def call() -> None:
            code, out, err = await run_cli(
                "trigger", "test::echo", "a=1", "--port", port, env=names
            )
            assert json.loads(out) == {"a": 1}, err
            codes.append(code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            nursery.start_soon(call)
    assert codes == [0, 0]


# --- live help


@attrs.frozen
class Pair:
    a: int
    b: int = 0


async def test_help_of_a_function_shows_what_it_takes() -> None:
    async with open_engine_with_worker() as (port, worker):

        @worker.function("math::add", description="Adds \x1b[2Jtwo numbers.")
        async def add(pair: Pair) -> int:
            await trio.lowlevel.checkpoint()
            return pair.a + pair.b

        code, out, err = await run_cli("trigger", "math::add", "--help", "--port", port)
    assert (code, err) == (0, "")
    assert "Adds [2Jtwo numbers." in out
    rows = [line.split()[:3] for line in out.splitlines()]
    assert ["a", "integer", "yes"] in rows
    assert ["b", "integer", "no"] in rows


async def test_help_of_an_unknown_function_is_exit_1_with_a_hint() -> None:
    async with open_engine_with_worker() as (port, _):
        code, out, err = await run_cli("trigger", "math::add", "-h", "--port", port)
    assert (code, out) == (1, "")
    assert err.startswith("error: function 'math::add' not found in engine registry.")
    assert "engine::functions::list" in err


async def test_help_without_an_engine_is_a_warning_and_static_help() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = str(closed.getsockname()[1])
    code, out, err = await run_cli("trigger", "math::add", "--help", "--port", port)
    assert code == 0
    assert err.startswith("warning: no engine answers")
    assert "--timeout-ms" in out
