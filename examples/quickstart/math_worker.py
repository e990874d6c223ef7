"""The Quickstart's Python worker: adds two numbers and, when asked, keeps a total.

Run it beside a server: ``python math_worker.py``. It is an ordinary worker on the public
SDK (``pip install iii-sdk iii-helpers``) and knows nothing about iii_trio.
"""

import os
import threading
from typing import Any

from iii import InitOptions, register_worker
from iii_helpers.observability import Logger

# Step 8 of the Quickstart: once the engine has a state worker, set this to True, save
# the file and start the worker again.
KEEP_TOTAL = False

worker = register_worker(
    os.environ.get("III_URL", "ws://localhost:49134"),
    InitOptions(worker_name="math-worker"),
)
journal = Logger()


def add_to_total(amount: float) -> float:
    """Add to the total in the state worker: two calls from inside a call."""
    place = {"scope": "math", "key": "running_total"}
    before = worker.trigger({"function_id": "state::get", "payload": place})
    total: float = (before or 0) + amount
    worker.trigger({"function_id": "state::set", "payload": {**place, "value": total}})
    return total


def add(payload: dict[str, Any]) -> dict[str, Any]:
    """Add ``a`` and ``b``; what is missing counts as zero."""
    total = payload.get("a", 0) + payload.get("b", 0)
    journal.info("added", {"c": total})
    if KEEP_TOTAL:
        return {"c": total, "running_total": add_to_total(total)}
    return {"c": total}


worker.register_function("math::add", add, description="Adds two numbers.")

# The SDK runs in threads of its own, but once the main thread is over Python starts no
# new ones, and a lost connection could not be made again.
threading.Event().wait()
