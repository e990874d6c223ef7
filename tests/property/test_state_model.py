"""Random programs of state calls give what a plain dict would, on every store.

On SQLite a step of the program may be ``kill``: the files are copied as they are, and the
rest of the program runs on the copy.
"""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import hypothesis
import msgspec
import pytest
import trio
from hypothesis import strategies as st

from iii_trio.adapters import KeyValueStore
from iii_trio.adapters.memory import open_memory
from iii_trio.adapters.sqlite import open_sqlite, run_inline
from iii_trio.builtins._payloads import structure_input
from iii_trio.builtins._update_ops import apply_update
from iii_trio.builtins.state._inputs import UpdateInput, json_equal
from tests.component.state_rig import StateRig, open_state_rig

Model = dict[str, dict[str, Any]]
Step = tuple[str, dict[str, Any]]

NOTHING = object()
"""No result."""

names = st.sampled_from(["a", "b", "", "é\x00"])
places = st.fixed_dictionaries({"scope": names, "key": names})
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2)
    ),
    max_leaves=4,
)
small_values: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(0, 1) | st.just({})
)
ops = st.one_of(
    st.builds(lambda p, v: {"type": "set", "path": p, "value": v}, names, values),
    st.builds(lambda p, v: {"type": "append", "path": p, "value": v}, names, values),
    st.builds(
        lambda p, v: {"type": "merge", "path": [p], "value": {p: v}}, names, values
    ),
    st.builds(
        lambda p, n: {"type": "increment", "path": p, "by": n},
        names,
        st.integers(-3, 3),
    ),
    st.builds(lambda p: {"type": "remove", "path": p}, names),
)


def _with(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    return st.builds(lambda a, b: {**a, **b}, places, st.fixed_dictionaries(fields))


steps: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("set"), _with({"value": values | small_values})),
    st.tuples(st.just("get"), places),
    st.tuples(st.just("delete"), places),
    st.tuples(st.just("update"), _with({"ops": st.lists(ops, max_size=3)})),
    st.tuples(st.just("compare_and_set"), _with({"value": small_values})),
    st.tuples(
        st.just("compare_and_set"),
        _with({"value": small_values, "expected": small_values}),
    ),
    st.tuples(st.just("list"), st.fixed_dictionaries({"scope": names})),
    st.tuples(st.just("list_groups"), st.just({})),
)
programs = st.lists(steps, max_size=25)
kill: Step = ("kill", {})


def expected_answer(model: Model, name: str, given: dict[str, Any]) -> Any:
    """What a call must answer; changes the model as the call changes the state."""
    scope = model.setdefault(given.get("scope", ""), {})
    key = given.get("key", "")
    old = scope.get(key, NOTHING)
    match name:
        case "get":
            return old
        case "delete":
            return scope.pop(key, NOTHING)
        case "list":
            return list(scope.values())
        case "list_groups":
            return {"groups": sorted(name for name, held in model.items() if held)}
        case "set":
            scope[key] = given["value"]
            return {"old_value": _or_null(old), "new_value": given["value"]}
        case "compare_and_set":
            swapped = json_equal(old, given.get("expected", NOTHING))
            if swapped:
                scope[key] = given["value"]
            return {"swapped": swapped, "value": _or_null(scope.get(key, NOTHING))}
        case _:
            return _expected_update(scope, key, old, given)


def _expected_update(
    scope: dict[str, Any], key: str, old: Any, given: dict[str, Any]
) -> Any:
    operations = structure_input("state::update", given, UpdateInput).ops
    updated = apply_update(_or_null(old), operations, exists=old is not NOTHING)
    scope[key] = updated.value
    answer = {"old_value": _or_null(old), "new_value": updated.value}
    if updated.errors:
        answer["errors"] = [error.to_json() for error in updated.errors]
    return answer


def _or_null(value: Any) -> Any:
    return None if value is NOTHING else value


async def follow(rig: StateRig, model: Model, program: list[Step]) -> None:
    """Run a program and compare every answer with the model's."""
    await trio.lowlevel.checkpoint()
    for name, given in program:
        text = await rig.client.invoke_json(
            f"state::{name}", msgspec.json.encode(given)
        )
        answer = msgspec.json.decode(text) if text else NOTHING
        expected = expected_answer(model, name, given)
        assert json_equal(answer, expected), (name, given)
    for scope, held in model.items():
        listed = await rig.call("list", scope=scope)
        assert json_equal(listed, list(held.values()))


async def run_on(store: KeyValueStore, model: Model, program: list[Step]) -> None:
    async with open_state_rig(store=store) as rig:
        await follow(rig, model, program)


@hypothesis.given(programs)
def test_state_on_memory_is_a_dict(program: list[Step]) -> None:
    async def main() -> None:
        async with open_memory() as stores:
            await run_on(stores.key_value("state"), {}, program)

    trio.run(main)


@attrs.frozen
class Directories:
    """Gives a fresh directory to every example."""

    root: Path
    _count: Iterator[int] = attrs.field(factory=itertools.count)

    def fresh(self) -> Path:
        directory = self.root / str(next(self._count))
        directory.mkdir()
        return directory


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> Directories:
    return Directories(tmp_path_factory.mktemp("state"))


@hypothesis.given(st.lists(steps | st.just(kill), max_size=25))
def test_state_on_sqlite_is_a_dict_that_survives_kills(
    directories: Directories, program: list[Step]
) -> None:
    trio.run(run_with_kills, directories, program)


async def run_with_kills(directories: Directories, program: list[Step]) -> None:
    await trio.lowlevel.checkpoint()
    model: Model = {}
    path = directories.fresh() / "engine.db"
    for life in _lives(program):
        async with open_sqlite(path, run=run_inline) as stores:
            await run_on(stores.key_value("state"), model, life)
            path = copy_as_after_kill(path, directories.fresh())


def _lives(program: list[Step]) -> list[list[Step]]:
    """The program, cut at its kills."""
    lives: list[list[Step]] = [[]]
    for step in program:
        if step == kill:
            lives.append([])
        else:
            lives[-1].append(step)
    return lives


def copy_as_after_kill(path: Path, directory: Path) -> Path:
    """Copy the files of an open database, as a killed process would leave them."""
    for suffix in ("", "-wal"):
        source = Path(f"{path}{suffix}")
        if source.exists():
            shutil.copy(source, directory)
    return directory / path.name
