"""A minimal worker in plain Python, for setting scenes and timing first answers."""

import json
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from websockets.sync.client import ClientConnection, connect

FIRST_ID = "00000001-0000-4000-8000-000000000000"


class Client:
    """One worker link. Frames go out as given; `sync` waits until they had effect."""

    def __init__(self, port: int) -> None:
        self._socket: ClientConnection = connect(
            f"ws://127.0.0.1:{port}/", compression=None, max_size=None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def send(self, frame: dict[str, Any]) -> None:
        """Send one frame."""
        self._socket.send(json.dumps(frame))

    def announce(self, name: str) -> None:
        """Say who this worker is."""
        self.send(
            {
                "type": "invokefunction",
                "function_id": "engine::workers::register",
                "action": {"type": "void"},
                "data": {"name": name, "runtime": "python"},
            }
        )

    def sync(self, provides: str = "") -> None:
        """Wait for the answer to a ping; bindings of ``provides`` are accepted."""
        self.send({"type": "ping"})
        while True:
            frame = json.loads(self._socket.recv())
            if frame["type"] == "pong":
                return
            if provides and frame.get("trigger_type") == provides:
                self._accept(frame)

    def _accept(self, frame: dict[str, Any]) -> None:
        keys = ("id", "trigger_type", "function_id")
        self.send(
            {"type": "triggerregistrationresult"} | {key: frame[key] for key in keys}
        )

    def first_answer(self, function_id: str) -> None:
        """Call a function and wait for its answer."""
        self.send(
            {
                "type": "invokefunction",
                "invocation_id": FIRST_ID,
                "function_id": function_id,
                "data": {},
            }
        )
        while True:
            frame = json.loads(self._socket.recv())
            if frame["type"] == "invocationresult":
                assert "error" not in frame, frame
                return

    def register_many(self, functions: int, triggers: int) -> None:
        """Register functions, and triggers of the type ``bench-event``."""
        for batch in _batches(range(functions), 1000):
            for number in batch:
                self.send(
                    {
                        "type": "registerfunction",
                        "id": f"crowd::function-{number}",
                        "description": "One of many.",
                    }
                )
            self.sync()
        for batch in _batches(range(triggers), 1000):
            for number in batch:
                self.send(
                    {
                        "type": "registertrigger",
                        "id": f"crowd-{number}",
                        "trigger_type": "bench-event",
                        "function_id": f"crowd::function-{number}",
                        "config": {"number": number},
                    }
                )
            self.sync(provides="bench-event")
        time.sleep(0.2)
        self.sync(provides="bench-event")


def _batches(numbers: range, size: int) -> Iterable[range]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
