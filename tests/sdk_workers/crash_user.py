"""Writes through the newest Python SDK while the engine is killed again and again.

Run as a program. On stdout it says what it tries, what was acknowledged and what is
delivered to it, a line each, at once. On stdin it is told to ``look`` (write no more, wait
for what is under way, say what the engine holds), to ``check`` (look, and go on) or to
``mark`` (say so at once). Each order has a number, which the answer repeats.
"""

import functools
import itertools
import json
import os
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

from iii import InitOptions, InvocationError, TriggerAction, register_worker
from iii.iii_constants import ReconnectionConfig

warnings.simplefilter("ignore", DeprecationWarning)  # the SDK warns of its own future

PAD = "x" * 500
TIMEOUT_MS = 1000
"""A call that a kill cut off is given up after that; nobody knows if it was done."""

RECONNECTION = ReconnectionConfig(initial_delay_ms=30, max_delay_ms=200, max_retries=-1)
OPTIONS = InitOptions(worker_name="py-crash", reconnection_config=RECONNECTION)
worker = register_worker(os.environ["III_URL"], OPTIONS)
failed_once: set[tuple[str, int]] = set()
going = threading.Event()
looking = threading.Lock()


def say(*words: object) -> None:
    """Say a line; whole, whatever other threads say."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def take(queue: str, data: dict[str, Any]) -> None:
    """Take a message of a queue: every eleventh fails always, every seventh once."""
    number = data["n"]
    say("run", queue, number)
    first = (queue, number) not in failed_once
    failed_once.add((queue, number))
    if number % 11 == 0 or (number % 7 == 0 and first):
        raise ValueError(number)


def news(data: dict[str, Any]) -> None:
    """Take a message of the topic."""
    say("run", "news", data["n"])


def call(function_id: str, payload: Any, action: Any = None) -> Any:
    """Call a function."""
    request = {"function_id": function_id, "payload": payload, "action": action}
    return worker.trigger({**request, "timeout_ms": TIMEOUT_MS})


def value(number: int) -> dict[str, Any]:
    """What is written."""
    return {"n": number, "pad": PAD}


def declare() -> None:
    """Declare the configuration: its owner's task at every start of an engine."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    texts = {"id": "py", "name": "Crash", "description": "A number."}
    call("configuration::register", {**texts, "schema": schema})


def configure(number: int) -> None:
    """Set the configuration, which a new engine refuses until it is declared."""
    try:
        call("configuration::set", {"id": "py", "value": {"n": number}})
    except InvocationError as error:
        if error.code in {"NOT_REGISTERED", "SCHEMA_UNAVAILABLE"}:
            declare()
        raise


def enqueue(queue: str, number: int) -> Any:
    """Enqueue a message."""
    action = TriggerAction.Enqueue(queue=f"py-{queue}")
    return call(f"py::{queue}", {"n": number, "group": number % 3}, action)


ITEM = {"stream_name": "py", "group_id": "g", "item_id": "i"}
KEY = {"scope": "py", "key": "k"}
COUNT = {"scope": "py", "key": "count"}
INCREMENT = [{"type": "increment", "path": "", "by": 1}]
WRITES: dict[str, Callable[[int], Any]] = {
    "state": lambda n: call("state::set", {**KEY, "value": value(n)}),
    "count": lambda n: call("state::update", {**COUNT, "ops": INCREMENT}),
    "stream": lambda n: call("stream::set", {**ITEM, "data": value(n)}),
    "config": configure,
    "line": lambda n: enqueue("line", n),
    "jobs": lambda n: enqueue("jobs", n),
    "news": lambda n: call(
        "iii::durable::publish", {"topic": "py-news", "data": {"n": n}}
    ),
}
busy = {kind: threading.Lock() for kind in WRITES}


def write(kind: str) -> None:
    """Write one number after another."""
    for number in itertools.count(1):
        going.wait()
        with busy[kind]:
            say("try", kind, number)
            try:
                WRITES[kind](number)
            except Exception as error:  # noqa: BLE001 - whatever the SDK raises
                text = " ".join(str(error).split())
                say("failed", kind, number, text)
            else:
                say("ack", kind, number)


def found() -> dict[str, Any]:
    """What the engine holds."""
    return {
        "state": call("state::get", KEY),
        "count": call("state::get", COUNT),
        "stream": call("stream::get", ITEM),
        "config": call("configuration::get", {"id": "py"}),
        "line": call("engine::queue::topic_stats", {"topic": "py-line"}),
        "jobs": call("engine::queue::topic_stats", {"topic": "py-jobs"}),
        "news": call("engine::queue::topic_stats", {"topic": "py-news"}),
    }


def patiently(action: Callable[[], Any]) -> Any:
    """Do it, again and again while the engine is away."""
    while True:
        try:
            return action()
        except Exception as error:  # noqa: BLE001 - whatever the SDK raises
            say("again", " ".join(str(error).split()))


def prepare() -> None:
    """Offer the functions, subscribe, wait for an engine."""
    for queue in ("line", "jobs"):
        worker.register_function(f"py::{queue}", functools.partial(take, queue))
    worker.register_function("py::news", news)
    worker.register_trigger(
        {
            "type": "durable:subscriber",
            "function_id": "py::news",
            "config": {"topic": "py-news"},
        }
    )
    patiently(declare)


def look(number: str, *, go_on: bool) -> None:
    """Say what the engine holds while nothing is written."""
    with looking:
        going.clear()
        for lock in busy.values():
            lock.acquire()
        say("found", number, json.dumps(patiently(found)))
        for lock in busy.values():
            lock.release()
        if go_on:
            going.set()


def main() -> None:
    """Write, and do what is ordered."""
    prepare()
    for kind in WRITES:
        threading.Thread(target=write, args=(kind,), daemon=True).start()
    going.set()
    for text in sys.stdin:
        order, number = text.split()
        if order == "mark":
            say("mark", number)
        else:
            options = {"go_on": order == "check"}
            threading.Thread(
                target=look, args=(number,), kwargs=options, daemon=True
            ).start()
    os._exit(0)  # whoever ordered is gone


main()
