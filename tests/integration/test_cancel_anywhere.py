"""What has sockets and threads is cancelled at random instants; and nothing is forgotten.

Every public async operation must be used by some scenario, of these or of those that are
cancelled at every step: what a scenario uses is watched, not declared.
"""

import importlib
import inspect
import pkgutil
import random
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import CodeType, FrameType
from typing import Any

import pytest
from trio.testing import MockClock

import iii_trio
from tests.cancel_scenarios import SCENARIOS, Scenario, cancel_at_some_steps, run_once
from tests.socket_scenarios import SOCKET_SCENARIOS

RUNS = 8
"""Cancels of each scenario."""

ELSEWHERE = {
    "iii_trio.builtins.bridge.serve_bridge": "tests/component/test_bridge.py",
    "iii_trio.builtins.exec.serve_exec": "tests/integration/test_exec.py",
    "iii_trio.builtins.state.serve_bridged_state": "tests/component/test_bridge.py",
    "iii_trio.builtins.stream.serve_bridged_stream": "tests/component/bridge_rig.py",
}
"""What needs a second engine or processes, and the tests that cancel it."""


@pytest.mark.parametrize("scenario", SOCKET_SCENARIOS.values(), ids=SOCKET_SCENARIOS)
def test_a_scenario_cancelled_at_a_random_instant_ends_and_leaves_nothing(
    scenario: Scenario, pytestconfig: pytest.Config
) -> None:
    rng = random.Random(pytestconfig.option.shuffle or 0)
    cancel_at_some_steps(scenario, RUNS, rng)


# Completeness


def public_modules() -> Iterator[Any]:
    yield iii_trio
    for module in pkgutil.walk_packages(iii_trio.__path__, "iii_trio."):
        if not module.name.rpartition(".")[2].startswith("_"):
            yield importlib.import_module(module.name)


def code_of(thing: object) -> CodeType | None:
    """The code of an async function or async context manager."""
    if not callable(thing):
        return None
    function = inspect.unwrap(thing)
    is_async = inspect.iscoroutinefunction(function)
    if not is_async and not inspect.isasyncgenfunction(function):
        return None
    code: CodeType = function.__code__
    return code


def members_of(name: str, thing: object) -> Iterator[tuple[str, object]]:
    """The thing itself; of a class that is no protocol, its public methods."""
    if not inspect.isclass(thing):
        yield name, thing
    elif not getattr(thing, "_is_protocol", False):
        for member, value in inspect.getmembers(thing):
            if not member.startswith("_"):
                yield f"{name}.{member}", value


def public_operations() -> dict[CodeType, str]:
    """Everything async in an ``__all__``: code, and a name of it."""
    found: dict[CodeType, str] = {}
    for module in public_modules():
        for name in getattr(module, "__all__", ()):
            full = f"{module.__name__}.{name}"
            for operation, thing in members_of(full, getattr(module, name)):
                code = code_of(thing)
                if code is not None:
                    found[code] = operation
    return found


def watched(run: Callable[[], object]) -> set[CodeType]:
    """The code of all functions that were called meanwhile, in threads too."""
    seen: set[CodeType] = set()

    def watch(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            seen.add(frame.f_code)

    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        run()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return seen


def test_every_public_async_operation_is_in_some_scenario() -> None:
    used: set[CodeType] = set()
    for scenario in SCENARIOS.values():
        clock = MockClock(autojump_threshold=0)
        used |= watched(partial(run_once, scenario, sys.maxsize, clock))
    for scenario in SOCKET_SCENARIOS.values():
        used |= watched(partial(run_once, scenario, sys.maxsize))
    operations = public_operations()
    unused = {name for code, name in operations.items() if code not in used}
    missing = "\n".join(sorted(unused - ELSEWHERE.keys()))
    assert not missing, (
        "use in a scenario of tests/cancel_scenarios.py (virtual time) or of "
        f"tests/socket_scenarios.py:\n{missing}"
    )
    assert ELSEWHERE.keys() <= unused
