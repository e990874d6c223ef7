"""Keeps a stream of its own through the newest Python SDK, and uses it; run as a program.

It prints one JSON object: what each call answered, and what a trigger told.
"""

import json
import os
import queue
import sys
import time
import warnings
from typing import Any

from iii import InitOptions, InvocationError, IStream, register_worker
from iii.helpers import create_stream
from iii_helpers.stream import StreamDeleteResult, StreamSetResult

warnings.simplefilter("ignore", FutureWarning)  # the SDK warns of its own future
warnings.simplefilter("ignore", DeprecationWarning)

worker = register_worker(os.environ["III_URL"], InitOptions(worker_name="py-stream"))
held: dict[str, dict[str, Any]] = {}
told: queue.Queue[Any] = queue.Queue()


class Own(IStream[Any]):  # type: ignore[misc]  # untyped
    """Keeps items in a dict."""

    async def get(self, given: Any) -> Any:
        """Give an item."""
        return held.get(given.group_id, {}).get(given.item_id)

    async def set(self, given: Any) -> Any:
        """Keep an item."""
        group = held.setdefault(given.group_id, {})
        old = group.get(given.item_id)
        group[given.item_id] = given.data
        return StreamSetResult(old_value=old, new_value=given.data)

    async def delete(self, given: Any) -> Any:
        """Drop an item."""
        old = held.get(given.group_id, {}).pop(given.item_id, None)
        return StreamDeleteResult(old_value=old)

    async def list(self, given: Any) -> Any:
        """Give the items of a group."""
        return list(held.get(given.group_id, {}).values())

    async def list_groups(self, _given: Any) -> Any:
        """Give the groups."""
        return sorted(held)

    async def update(self, _given: Any) -> Any:
        """Never asked: the SDK does not register it."""
        raise NotImplementedError


def call(name: str, **more: Any) -> Any:
    """Call a function of streams about the own stream."""
    payload = {"stream_name": "own", **more}
    try:
        return worker.trigger({"function_id": f"stream::{name}", "payload": payload})
    except InvocationError as error:
        return error.code


def until_registered() -> None:
    """A call may overtake the registrations that were made before it."""
    request = {"function_id": "engine::registered-triggers::list", "payload": {}}
    while not worker.trigger(request)["registered_triggers"]:
        time.sleep(0.01)


def main() -> None:
    """Use every function, then say what happened."""
    create_stream(worker, "own", Own())
    worker.register_function("py::on-change", told.put)
    worker.register_trigger(
        {
            "type": "stream",
            "function_id": "py::on-change",
            "config": {"stream_name": "own"},
        }
    )
    until_registered()
    item = {"group_id": "g", "item_id": "i"}
    add = [{"type": "increment", "path": "n", "by": 2}]
    report = {
        "missing": call("get", **item),
        "set": call("set", **item, data={"n": 1}),
        "updated": call("update", **item, ops=add),
        "got": call("get", **item),
        "listed": call("list", group_id="g"),
        "groups": call("list_groups"),
        "held": json.loads(json.dumps(held)),
        "deleted": call("delete", **item),
        "again": call("delete", **item),
    }
    events = [told.get(timeout=30)["event"] for _ in range(3)]
    report["events"] = [[event["type"], event["data"]] for event in events]
    worker.shutdown()
    sys.stdout.write(json.dumps(report))


main()
