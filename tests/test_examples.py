"""Every example runs, warnings being errors, and prints what it promises."""

import functools
import pathlib
import signal
import subprocess
import sys

import pytest
import trio

import iii_trio
from iii_trio.engine import open_listener
from iii_trio.net import open_pump
from iii_trio.protocol import FunctionRegistered
from iii_trio.testing import EventRecorder

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
OUTPUT = {
    "embedded.py": (
        "{'q': 2.0}",
        "division_by_zero: b is zero",
        "invalid_payload: $.a: expected float",
        "the handler was cancelled with its caller",
        "calls in flight: 0",
    ),
    "channels.py": (
        "stored {'bytes': 6400000}",
        "and now the weather",
        "nobody listens: the reader closed its end",
        "open channels: 0",
    ),
    "compose_by_hand.py": ('"BY HAND"', "calls in flight: 0, functions: 0"),
    "queue_worker.py": (
        "mail to ada",
        "order of ada, step 1",
        "order of ada, step 2",
        "welcome, Grace",
        "dead after 2 deliveries: bounced: no such address",
    ),
    "stream_worker.py": (
        "cellar {'type': 'unauthorized'}",
        "lobby {'type': 'sync', 'data': ['Hello']}",
        "2 {'type': 'create', 'data': 'Hello, Ada'}",
        "2 {'type': 'update', 'data': 'Hello, Ada!'}",
        "1 {'type': 'delete', 'data': 'Hello'}",
        "None {'type': 'event', 'event': {'type': 'typing', 'data': 'Ada'}}",
    ),
    "configuration_worker.py": (
        "Hello at volume 5",
        "from now on: Ahoy",
        (
            "SCHEMA_INVALID: schema validation failed: $.volume: 12 is greater than "
            "the maximum of 11"
        ),
        "kept: Ahoy",
    ),
    "exec_worker.py": (
        "command 1 begins: mkdir $PAGES",
        "command 1 has ended",
        (
            "command 2 begins: trap 'rmdir $PAGES; exit' TERM; echo serving; "
            "sleep 1000 & wait"
        ),
        "command 2: serving",
        "cleaned up: True",
    ),
    "cron_worker.py": (
        "30 2 * * * fires at 2026-03-29T01:00:00+00:00",
        "30 2 * * * fires at 2026-03-30T00:30:00+00:00",
        "two ticks: True",
        "none early: True",
    ),
    "http_functions_worker.py": (
        "{'with_tax': 12.0}",
        "bad_price: a price is positive",
        "URL not in allowlist",
        "requests: 2",
    ),
    "state_worker.py": (
        "state:created: None -> {'items': []}",
        "state:updated: {'items': []} -> {'items': ['tea'], 'total': 4}",
        "operation 2 was skipped: increment.not_number",
        (
            "state:updated: {'items': ['tea'], 'total': 4}"
            " -> {'items': ['tea'], 'total': 4, 'paid': True}"
        ),
        "shipping ['tea'] to ada",
        "first: {'swapped': True, 'value': 'first'}",
        "second: {'swapped': False, 'value': 'first'}",
        "{'groups': ['carts', 'locks']}",
    ),
    "http_worker.py": (
        '200 {"id":"7","page":"2"}',
        '401 "who?"',
        '201 {"ordered":"tea"}',
        "200 012",
        '405 {"error":{"code":"METHOD_NOT_ALLOWED","message":"Method Not Allowed"}}',
        "the handler was cancelled with its client",
    ),
    "bridge_worker.py": (
        "booked 30 of 100",
        "booked 70 of 100",
        "bridge_error - function_not_found",
    ),
    "observability_worker.py": (
        "it failed: no money",
        "shop needs help: order 7 was refused",
        "errors, newest first: ['help is on its way', 'order 7 was refused']",
        "trigger order::pay: error",
        "calls: {'order::pay': 1, 'on::error': 1}",
    ),
    "locked_engine.py": (
        "refused: the token is not good: it has expired",
        "catalogue::list",
        "orders::create",
        (
            "FORBIDDEN: function 'orders::delete' not allowed"
            " (add to rbac.expose_functions)"
        ),
    ),
    "pubsub_worker.py": ("counted 1", "counted 2", "celebrated 2"),
}
ELSEWHERE = {"worker_over_url.py", "test_with_harness.py", "quickstart"}


def test_every_example_is_run_by_a_test() -> None:
    names = {path.name for path in EXAMPLES.iterdir()} - {"__pycache__"}
    assert names == OUTPUT.keys() | ELSEWHERE


@pytest.mark.parametrize("name", OUTPUT)
async def test_an_example_prints_what_it_promises(name: str) -> None:
    finished = await trio.run_process(
        [sys.executable, "-W", "error", EXAMPLES / name],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (0, b"")
    assert tuple(finished.stdout.decode().splitlines()) == OUTPUT[name]


async def test_the_example_of_tests_passes() -> None:
    finished = await trio.run_process(
        [sys.executable, "-m", "pytest", "-q", EXAMPLES / "test_with_harness.py"],
        capture_stdout=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout.decode()


async def test_the_worker_over_url_serves_and_leaves_in_order() -> None:
    events = EventRecorder()
    async with (
        open_pump() as pump,
        iii_trio.open_engine(on_event=events) as engine,
        open_listener(engine, pump, port=0) as door,
        iii_trio.open_worker(engine) as caller,
        trio.open_nursery() as nursery,
    ):
        process = await nursery.start(
            functools.partial(
                trio.run_process,
                [sys.executable, "-W", "error", EXAMPLES / "worker_over_url.py"],
                env={"III_URL": f"ws://127.0.0.1:{door.addresses[0][1]}"},
                stdout=subprocess.PIPE,
            )
        )
        said = await process.stdout.receive_some()
        assert said.startswith(b"serving as ")
        await events.wait_for(FunctionRegistered, function_id="greet::hello")
        answer = await caller.invoke("greet::hello", {"name": "Ada"})
        assert answer == "Hello, Ada!"
        process.send_signal(signal.SIGTERM)
        assert await process.stdout.receive_some() == b"left in order\n"
        assert await process.wait() == 0
