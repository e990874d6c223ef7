"""Random programs of stream calls give what a plain dict would, and tell each change once.

The functions run over a store in this process, without the port for subscribers.
"""

from contextlib import ExitStack
from typing import Any

import attrs
import hypothesis
import msgspec
import trio
import trio.testing
from hypothesis import strategies as st

from iii_trio.adapters.memory import open_memory
from iii_trio.builtins._payloads import structure_input
from iii_trio.builtins._update_ops import apply_update
from iii_trio.builtins.state._inputs import json_equal
from iii_trio.builtins.stream._inputs import UpdateInput
from iii_trio.builtins.stream._triggers import StreamTriggers
from iii_trio.builtins.stream._worker import _compose, _register
from iii_trio.testing import open_test_engine, run
from iii_trio.worker import Worker
from tests.property.test_state_model import NOTHING, ops, small_values, values

Step = tuple[str, dict[str, Any]]

names = st.sampled_from(["a", "b", "a:b"])
groups = st.fixed_dictionaries({"stream_name": names, "group_id": names})


def places(**more: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    fields = {"stream_name": names, "group_id": names, "item_id": names}
    return st.fixed_dictionaries(fields | more)


steps: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("set"), places(data=values | small_values)),
    st.tuples(st.just("get"), places()),
    st.tuples(st.just("delete"), places()),
    st.tuples(st.just("update"), places(ops=st.lists(ops, max_size=3))),
    st.tuples(st.just("list"), groups),
    st.tuples(st.just("list_groups"), st.fixed_dictionaries({"stream_name": names})),
    st.tuples(st.just("list_all"), st.just({})),
    st.tuples(
        st.just("send"),
        st.fixed_dictionaries(
            {"stream_name": names, "group_id": names, "type": names, "data": values}
        ),
    ),
)


@attrs.define
class Model:
    """Items by stream and group, and the events that must have been told."""

    held: dict[tuple[str, str], dict[str, Any]] = attrs.field(factory=dict)
    told: list[tuple[str, str, str | None, str, Any]] = attrs.field(factory=list)

    def answer(self, name: str, given: dict[str, Any]) -> Any:
        """What a call must answer; changes the model as the call changes the store."""
        match name:
            case "list":
                return list(self._group(given).values())
            case "list_groups":
                return self._groups(given["stream_name"])
            case "list_all":
                streams = sorted({stream for (stream, _), held in self._full()})
                rows = [{"id": one, "groups": self._groups(one)} for one in streams]
                return {"stream": rows, "count": len(rows)}
            case "send":
                self._tell(given, "event", {k: given[k] for k in ("type", "data")})
                return None
            case _:
                return self._of_item(name, given)

    def _of_item(self, name: str, given: dict[str, Any]) -> Any:
        group = self._group(given)
        old = group.get(given["item_id"], NOTHING)
        shown = None if old is NOTHING else old
        match name:
            case "get":
                return old
            case "delete":
                group.pop(given["item_id"], None)
                if old is not NOTHING:
                    self._tell(given, "delete", old)
                return {"old_value": shown}
            case "set":
                new, more = given["data"], {}
            case _:
                operations = structure_input("stream::update", given, UpdateInput).ops
                updated = apply_update(shown, operations, exists=old is not NOTHING)
                errors = [error.to_json() for error in updated.errors]
                new, more = updated.value, {"errors": errors} if errors else {}
        group[given["item_id"]] = new
        self._tell(given, "create" if old is NOTHING else "update", new)
        return {"old_value": shown, "new_value": new, **more}

    def _tell(self, given: dict[str, Any], kind: str, data: Any) -> None:
        item = given.get("item_id")
        self.told.append((given["stream_name"], given["group_id"], item, kind, data))

    def _group(self, given: dict[str, Any]) -> dict[str, Any]:
        return self.held.setdefault((given["stream_name"], given["group_id"]), {})

    def _full(self) -> list[tuple[tuple[str, str], dict[str, Any]]]:
        return [(where, held) for where, held in self.held.items() if held]

    def _groups(self, stream: str) -> list[str]:
        return sorted(group for (name, group), _ in self._full() if name == stream)


@attrs.define
class Told:
    """The events that triggers got, as the model writes them."""

    events: list[tuple[str, str, str | None, str, Any]] = attrs.field(factory=list)

    async def take(self, event: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        inner = event["event"]
        data = inner["event"] if inner["type"] == "event" else inner["data"]
        where = event["streamName"], event["groupId"], event["id"]
        self.events.append((*where, inner["type"], data))


async def follow(client: Worker, model: Model, told: Told, program: list[Step]) -> None:
    for stream in ("a", "b", "a:b"):
        await client.bind("stream", "on::event", {"stream_name": stream})
    for name, given in program:
        text = await client.invoke_json(f"stream::{name}", msgspec.json.encode(given))
        answer = msgspec.json.decode(text) if text else NOTHING
        expected = model.answer(name, given)
        if name != "send":
            assert json_equal(answer, expected), (name, given)
        await trio.testing.wait_all_tasks_blocked()
        assert len(told.events) == len(model.told)
    for mine, expected in zip(told.events, model.told, strict=True):
        assert json_equal(list(mine), list(expected))


@hypothesis.given(st.lists(steps, max_size=25))
def test_streams_are_a_dict_and_tell_each_change_once(program: list[Step]) -> None:
    async def main() -> None:
        model, told = Model(), Told()
        async with (
            open_memory() as stores,
            open_test_engine() as under_test,
            under_test.open_worker("iii-stream") as server,
            under_test.open_worker("client") as client,
        ):
            triggers = StreamTriggers(server)
            store = stores.key_value("stream")
            hub, functions = _compose(server, store, triggers, under_test.clock)
            client.register_function("on::event", told.take)
            with ExitStack() as registered:
                _register(server, hub, triggers, functions, registered)
                await follow(client, model, told, program)

    run(main)
