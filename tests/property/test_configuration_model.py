"""Random programs of configuration calls give what a plain dict would, on every store.

On SQLite a step may be ``kill``: the files are copied as they are, and the rest of the
program runs on the copy, where nobody has registered a schema yet.
"""

from typing import Any, Final

import attrs
import hypothesis
import msgspec
import pytest
import trio
from hypothesis import strategies as st

from iii_trio.adapters import KeyValueStore
from iii_trio.adapters.memory import open_memory
from iii_trio.adapters.sqlite import open_sqlite, run_inline
from iii_trio.errors import InvocationError
from tests.component.configuration_rig import ConfigurationRig, open_configuration_rig
from tests.property.test_state_model import Directories, copy_as_after_kill

Step = tuple[str, dict[str, Any]]
KILL: Final[Step] = ("kill", {})
NONE: Final = "nothing was set"

SCHEMAS: Final[dict[str, Any]] = {
    "any": True,
    "integer": {"type": "integer"},
    "text": {"type": "string"},
}
TYPES: Final[dict[str, tuple[type, ...]]] = {
    "any": (object,),
    "integer": (int,),
    "text": (str,),
}
ENVIRON: Final = {"N": "1"}
EXPANDED: Final = {"${N}": 1, "${M:x}": "x"}

ids = st.sampled_from(["a", "b"])
values: st.SearchStrategy[Any] = st.sampled_from([0, 1, "x", "${N}", "${M:x}", None])
registrations = st.fixed_dictionaries(
    {"id": ids, "schema": st.sampled_from(["any", "any", "integer", "text"])},
    optional={
        "initial_value": values,
        "seed": st.sampled_from([0, "x"]),
        "metadata": st.just("m"),
    },
)
seedings = st.fixed_dictionaries(
    {"id": ids, "schema": st.just("any"), "seed": st.sampled_from([0, "x"])}
)
steps: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("register"), registrations),
    st.tuples(st.just("register"), seedings),
    st.tuples(st.just("set"), st.fixed_dictionaries({"id": ids, "value": values})),
    st.tuples(st.just("get"), st.fixed_dictionaries({"id": ids, "raw": st.booleans()})),
    st.tuples(st.just("schema"), st.fixed_dictionaries({"id": ids})),
    st.tuples(st.just("list"), st.just({})),
)


@attrs.define(eq=False)
class Row:
    """What the model knows of one configuration."""

    value: Any = NONE
    chosen: bool = False
    seed: Any = NONE
    metadata: Any = None
    schema: str | None = None
    """``None`` until somebody registers in this life."""


@attrs.define(eq=False)
class Model:
    """Configurations in a dict; answers are values, failures are codes."""

    rows: dict[str, Row] = attrs.field(factory=dict)

    def kill(self) -> None:
        for row in self.rows.values():
            row.schema = None
        # A seed is brought by its owner again, nothing else keeps it.
        self.rows = {
            key: row for key, row in self.rows.items() if row.chosen or row.seed == NONE
        }

    def answer(self, name: str, given: dict[str, Any]) -> Any:
        match name:
            case "register":
                return self.register(given)
            case "set":
                return self.set(given["id"], given["value"])
            case "list":
                shown = [self.about(key) for key in sorted(self.rows)]
                return {"configurations": shown}
            case _ if given["id"] not in self.rows:
                return "NOT_FOUND"
            case "schema":
                return self.about(given["id"])
            case _:
                return self.get(given["id"], raw=given["raw"])

    def about(self, key: str) -> dict[str, Any]:
        row = self.rows[key]
        schema = None if row.schema is None else SCHEMAS[row.schema]
        shown = {"id": key, "name": "A name", "description": "For tests."}
        return (
            shown
            | {"schema": schema}
            | ({} if row.metadata is None else {"metadata": row.metadata})
        )

    def register(self, given: dict[str, Any]) -> Any:
        schema, seed = given["schema"], given.get("seed", NONE)
        initial = given.get("initial_value")
        for value in (initial, seed):
            if value not in (None, NONE) and not fits(value, schema):
                return "SCHEMA_INVALID"
        row = self.rows.setdefault(given["id"], Row())
        edited = NONE not in (seed, row.seed) and seed != row.seed
        if initial is not None:
            row.value, row.chosen, row.seed = initial, True, seed
        elif seed != NONE:
            if edited or not row.chosen:
                row.value, row.chosen = seed, False
            row.seed = seed
        row.schema, row.metadata = schema, given.get("metadata")
        return self.about(given["id"]) | {"value": or_null(row.value)}

    def set(self, key: str, value: Any) -> Any:
        row = self.rows.get(key)
        if row is None:
            return "NOT_REGISTERED"
        if row.schema is None:
            return "SCHEMA_UNAVAILABLE"
        if not fits(value, row.schema):
            return "SCHEMA_INVALID"
        old, row.value, row.chosen = or_null(row.value), value, True
        return {"old_value": old, "new_value": value}

    def get(self, key: str, *, raw: bool) -> Any:
        row = self.rows[key]
        if raw or row.value == NONE:
            return {"id": key, "value": or_null(row.value)}
        if row.schema is not None and not fits(row.value, row.schema):
            return "SCHEMA_INVALID"
        return {"id": key, "value": EXPANDED.get(row.value, row.value)}


def fits(value: Any, schema: str) -> bool:
    return isinstance(EXPANDED.get(value, value), TYPES[schema])


def or_null(value: Any) -> Any:
    return None if value == NONE else value


async def answer_of(rig: ConfigurationRig, name: str, given: dict[str, Any]) -> Any:
    await trio.lowlevel.checkpoint()
    try:
        if name == "register":
            schema = SCHEMAS[given["schema"]]
            more = {k: v for k, v in given.items() if k not in {"id", "schema"}}
            return await rig.declare(given["id"], schema, **more)
        return await rig.call(name, **given)
    except InvocationError as exc:
        return exc.code


async def follow(
    store: KeyValueStore, model: Model, program: list[Step], heard: list[Any]
) -> None:
    """Run a program and compare every answer, and every event, with the model's."""
    async with open_configuration_rig(store, environ=ENVIRON) as rig:
        events = await rig.record("configuration", "test::all", {})
        expected_events = []
        for name, given in program:
            new = given.get("id") not in model.rows
            expected = model.answer(name, given)
            answer = await answer_of(rig, name, given)
            assert msgspec.json.encode(answer) == msgspec.json.encode(expected), name
            if name in {"register", "set"} and not isinstance(expected, str):
                kind = "registered" if new else "updated"
                value = or_null(model.rows[given["id"]].value)
                expected_events.append(
                    (f"configuration:{kind}", EXPANDED.get(value, value))
                )
        await rig.settle()
        told = [(event["event_type"], event["new_value"]) for event in events]
        assert told == expected_events
        heard.extend(told)


@hypothesis.settings(max_examples=150)
@hypothesis.given(st.lists(steps, max_size=25))
def test_configurations_in_memory_are_a_dict(program: list[Step]) -> None:
    async def main() -> None:
        async with open_memory() as stores:
            await follow(stores.key_value("configuration"), Model(), program, [])

    trio.run(main)


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> Directories:
    return Directories(tmp_path_factory.mktemp("configuration"))


@hypothesis.given(st.lists(steps | st.just(KILL), max_size=25))
def test_configurations_on_sqlite_are_a_dict_that_survives_kills(
    directories: Directories, program: list[Step]
) -> None:
    trio.run(run_with_kills, directories, program)


async def run_with_kills(directories: Directories, program: list[Step]) -> None:
    await trio.lowlevel.checkpoint()
    model = Model()
    path = directories.fresh() / "engine.db"
    lives: list[list[Step]] = [[]]
    for step in program:
        if step == KILL:
            lives.append([])
        else:
            lives[-1].append(step)
    for life in lives:
        async with open_sqlite(path, run=run_inline) as stores:
            await follow(stores.key_value("configuration"), model, life, [])
            path = copy_as_after_kill(path, directories.fresh())
        model.kill()
