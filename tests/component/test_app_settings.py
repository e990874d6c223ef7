"""Settings of bundled workers: seeded by the config file, owned by who sets them."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from iii_trio.app import App, RestartPolicy, open_app
from iii_trio.builtins import BUILTINS, BuiltinSpec, Resources
from iii_trio.errors import InvocationError
from iii_trio.worker import Worker, open_worker
from tests.component.test_app import config


@attrs.frozen(kw_only=True)
class LampConfig:
    color: str = "white"
    level: int = attrs.field(default=1)
    auth_function: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.level > 10:
            raise ValueError("level must be at most 10")


@attrs.define(eq=False)
class Lamp:
    """A bundled worker that notes which settings it got."""

    can_reconfigure: bool = True
    ran_with: list[LampConfig] = attrs.field(factory=list)
    noted: trio.Condition = attrs.field(factory=trio.Condition)
    crash: trio.Event = attrs.field(factory=trio.Event)

    async def note(self, settings: LampConfig) -> None:
        async with self.noted:
            self.ran_with.append(settings)
            self.noted.notify_all()

    async def runs_with(self, **settings: Any) -> None:
        """Wait until it runs with these settings."""
        with trio.fail_after(20):
            async with self.noted:
                while not self.ran_with or self.ran_with[-1] != LampConfig(**settings):
                    await self.noted.wait()

    async def reconfigure(self, settings: LampConfig) -> None:
        await trio.lowlevel.checkpoint()
        if settings.color == "busy":
            raise OSError("the color is busy")
        await self.note(settings)

    async def serve(
        self,
        _worker: Worker,
        settings: LampConfig,
        _resources: Resources,
        *,
        task_status: trio.TaskStatus[Any],
    ) -> None:
        if settings.color == "busy":
            raise OSError("the color is busy")
        self.crash = trio.Event()
        await self.note(settings)
        task_status.started(self if self.can_reconfigure else None)
        await self.crash.wait()
        raise ValueError("ordered crash")

    def spec(self, **more: Any) -> BuiltinSpec:
        return BuiltinSpec(
            name="iii-lamp",
            aliases=("lamp",),
            description="Shines.",
            config_class=LampConfig,
            serve=self.serve,
            **{"has_settings": True, **more},
        )


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody tells of."""
    with trio.fail_after(20):
        await trio.lowlevel.checkpoint()
        while not condition():
            await trio.testing.wait_all_tasks_blocked()


@attrs.define(eq=False)
class Scene:
    """An app with a lamp in it."""

    app: App
    client: Worker
    lamp: Lamp

    async def call(self, name: str, /, **payload: Any) -> Any:
        return await self.client.invoke(f"configuration::{name}", payload)

    async def value(self, configuration_id: str = "lamp") -> Any:
        return (await self.call("get", id=configuration_id))["value"]

    async def set(self, value: Any, configuration_id: str = "lamp") -> None:
        await self.call("set", id=configuration_id, value=value)

    async def reload(self, block: Mapping[str, Any], name: str = "lamp") -> Any:
        return await self.app.reload(config({"name": name, "config": dict(block)}))


@asynccontextmanager
async def open_scene(
    data: Path,
    block: Mapping[str, Any] | None = None,
    *,
    lamp: Lamp | None = None,
    spec: Mapping[str, Any] | None = None,
    name: str = "lamp",
) -> AsyncIterator[Scene]:
    lamp = lamp or Lamp()
    builtins = (*BUILTINS, lamp.spec(**(spec or {})))
    entry = {"name": name} if block is None else {"name": name, "config": dict(block)}
    restart = RestartPolicy(first_delay=0)
    async with (
        open_app(
            config(entry), data_dir=data, builtins=builtins, restart=restart
        ) as app,
        open_worker(app.engine) as client,
    ):
        yield Scene(app, client, lamp)


# --- seed and own


async def test_the_block_is_the_value_until_one_is_set(tmp_path: Path) -> None:
    async with open_scene(tmp_path / "data", {"color": "red"}) as scene:
        assert await scene.value() == {"color": "red"}
        assert not (tmp_path / "data").exists()
        await scene.set({"color": "blue", "level": 2})
        await scene.lamp.runs_with(color="blue", level=2)
    for block in ({"color": "red"}, {"color": "red"}):
        async with open_scene(tmp_path / "data", block) as scene:
            await scene.lamp.runs_with(color="blue", level=2)
            assert len(scene.lamp.ran_with) == 1
            assert await scene.value() == {"color": "blue", "level": 2}


async def test_a_block_that_was_edited_holds_again(tmp_path: Path) -> None:
    async with open_scene(tmp_path, {"color": "red"}) as scene:
        await scene.set({"color": "blue"})
    async with open_scene(tmp_path, {"color": "green"}) as scene:
        assert scene.lamp.ran_with == [LampConfig(color="green")]
        assert await scene.value() == {"color": "green"}
    async with open_scene(tmp_path, {"color": "green"}) as scene:
        assert scene.lamp.ran_with == [LampConfig(color="green")]


async def test_an_edit_while_it_runs_holds_too_and_is_told(tmp_path: Path) -> None:
    async with open_scene(tmp_path, {"color": "red"}) as scene:
        await scene.set({"color": "blue"})
        await scene.lamp.runs_with(color="blue")
        events: list[Any] = []

        @scene.client.function("test::on_change")
        async def on_change(event: Any) -> None:
            await trio.lowlevel.checkpoint()
            events.append((event["old_value"], event["new_value"]))

        this_one = {"configuration_id": "lamp"}
        await scene.client.bind("configuration", "test::on_change", this_one)
        report = await scene.reload({"color": "red"})
        assert report.changed == ()  # the block is stale, not edited
        report = await scene.reload({"color": "green"})
        assert report.changed == ("iii-lamp",)
        await scene.lamp.runs_with(color="green")
        assert await scene.value() == {"color": "green"}
        await trio.testing.wait_all_tasks_blocked()
        assert events == [({"color": "blue"}, {"color": "green"})]
    async with open_scene(tmp_path, {"color": "green"}) as scene:
        assert scene.lamp.ran_with == [LampConfig(color="green")]


async def test_settings_are_found_under_the_name_in_the_file(tmp_path: Path) -> None:
    async with open_scene(tmp_path, {"color": "red"}, name="iii-lamp") as scene:
        assert await scene.value("iii-lamp") == {"color": "red"}
        await scene.reload({"color": "green"}, "lamp")
        assert await scene.value() == {"color": "green"}
        await scene.set({"color": "blue"})
        await scene.lamp.runs_with(color="blue")
        await scene.call("set", id="iii-lamp", value={"level": 99})  # nobody's now
        await trio.testing.wait_all_tasks_blocked()
        assert scene.lamp.ran_with[-1] == LampConfig(color="blue")


async def test_a_value_that_was_set_holds_again_under_its_name(tmp_path: Path) -> None:
    async with open_scene(tmp_path, {"color": "red"}, name="lamp") as scene:
        await scene.set({"color": "blue"})
        await scene.lamp.runs_with(color="blue")
        await scene.reload({"color": "red"}, "iii-lamp")
        await scene.lamp.runs_with(color="red")
        await scene.reload({"color": "red"}, "lamp")
        await scene.lamp.runs_with(color="blue")
        assert await scene.value() == {"color": "blue"}


# --- what may be set


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"level": "high"}, '$.level: "high" is not of type "integer"'),
        ({"colour": "red"}, "'colour' was unexpected"),
        ({"level": 11}, "lamp: level must be at most 10"),
        ({"adapter": {"name": "memory"}}, "'adapter' was unexpected"),
    ],
)
async def test_settings_it_could_not_run_with_are_refused(
    value: Any, problem: str, tmp_path: Path
) -> None:
    async with open_scene(tmp_path) as scene:
        with pytest.raises(InvocationError) as caught:
            await scene.set(value)
        assert caught.value.code == "SCHEMA_INVALID"
        assert problem in str(caught.value)
        assert await scene.value() == {}
        assert len(scene.lamp.ran_with) == 1


async def test_every_bundled_worker_has_a_schema_that_its_own_block_fits(
    tmp_path: Path,
) -> None:
    names = [spec.name for spec in BUILTINS if spec.has_settings]
    blocks: dict[str, Any] = {
        "iii-http": {"port": 0, "cors": {"allowed_origins": ["a"]}},
        "iii-stream": {"port": 0, "adapter": {"name": "memory"}},
        "iii-state": {
            "adapter": {"name": "kv", "config": {"store_method": "in_memory"}}
        },
        "iii-queue": {
            "adapter": None,
            "queue_configs": {"a": {"type": "fifo", "message_group_field": "g"}},
        },
    }
    entries = [{"name": name, "config": blocks.get(name, {})} for name in names]
    async with (
        open_app(config(*entries), data_dir=tmp_path) as app,
        open_worker(app.engine) as client,
    ):
        listed = await client.invoke("configuration::list", {})
        found = {entry["id"]: entry for entry in listed["configurations"]}
        assert set(found) == set(names)
        for name in names:
            value = (await client.invoke("configuration::get", {"id": name}))["value"]
            assert value == blocks.get(name, {})
            change = {"id": name, "value": {"nonsense": 1}}
            with pytest.raises(InvocationError, match="'nonsense' was unexpected"):
                await client.invoke("configuration::set", change)
        bad = {"queue_configs": {"a": {"type": "fifo"}}}
        with pytest.raises(InvocationError, match="'message_group_field' is not set"):
            await client.invoke("configuration::set", {"id": "iii-queue", "value": bad})


# --- applying


async def test_a_worker_that_cannot_reconfigure_is_started_anew(tmp_path: Path) -> None:
    lamp = Lamp(can_reconfigure=False)
    async with open_scene(tmp_path, lamp=lamp) as scene:
        await scene.set({"color": "blue"})
        await lamp.runs_with(color="blue")
        await scene.set({"color": "${LAMP_COLOR:red}"})
        await lamp.runs_with(color="red")
        assert len(lamp.ran_with) == 3


@pytest.mark.parametrize("can_reconfigure", [True, False])
async def test_settings_that_fail_leave_it_as_it_was(
    can_reconfigure: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lamp = Lamp(can_reconfigure=can_reconfigure)
    async with open_scene(tmp_path, {"color": "red"}, lamp=lamp) as scene:
        await scene.set({"color": "busy"})
        line = "could not be applied to iii-lamp: the color is busy"
        await eventually(lambda: line in caplog.text)
        await trio.testing.wait_all_tasks_blocked()
        assert lamp.ran_with[-1] == LampConfig(color="red")
        await scene.set({"color": "blue"})
        await lamp.runs_with(color="blue")


async def test_where_data_rests_can_be_set(tmp_path: Path) -> None:
    volatile = {"adapter": {"name": "memory"}}
    async with open_scene(tmp_path, volatile, spec={"stores": ("lamp",)}) as scene:
        assert [e.backend for e in scene.app.entries if e.kind == "iii-lamp"] == [
            "memory"
        ]
        await scene.set({"adapter": {"name": "sqlite"}, "color": "blue"})
        await scene.lamp.runs_with(color="blue")
        await trio.testing.wait_all_tasks_blocked()
        assert [e.backend for e in scene.app.entries if e.kind == "iii-lamp"] == [
            "sqlite"
        ]


async def test_http_moves_to_another_port_when_its_settings_say_so(
    tmp_path: Path,
) -> None:
    entry = {"name": "http", "config": {"port": 0}}
    async with (
        open_app(config(entry), data_dir=tmp_path) as app,
        open_worker(app.engine) as client,
    ):
        before = app.addresses["iii-http"]
        change = {"id": "http", "value": {"port": 0, "host": "127.0.0.1"}}
        await client.invoke("configuration::set", change)
        await eventually(lambda: app.addresses["iii-http"] != before)
        assert [host for host, _ in app.addresses["iii-http"]] == ["127.0.0.1"]


# --- restarts


async def test_a_crashed_worker_comes_back_with_what_was_set_meanwhile(
    tmp_path: Path,
) -> None:
    async with open_scene(tmp_path) as scene:
        scene.lamp.crash.set()
        await scene.set({"color": "blue"})
        await scene.lamp.runs_with(color="blue")


async def test_settings_can_be_set_after_the_configuration_worker_was_changed(
    tmp_path: Path,
) -> None:
    async with open_scene(tmp_path, {"color": "red"}) as scene:
        moved = {"name": "configuration", "config": {"adapter": {"name": "memory"}}}
        lamp = {"name": "lamp", "config": {"color": "red"}}
        report = await scene.app.reload(config(moved, lamp))
        assert report.changed == ("configuration",)
        known: list[str] = []
        while "lamp" not in known:
            listed = await scene.call("list")
            known = [entry["id"] for entry in listed["configurations"]]
        await scene.set({"color": "blue"})
        await scene.lamp.runs_with(color="blue")


async def test_a_stored_value_that_cannot_be_used_any_more_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_scene(tmp_path, {"color": "red"}) as scene:
        await scene.set({"color": "${LAMP_COLOR_THAT_NOBODY_SETS}"})
        await eventually(lambda: "cannot be used" in caplog.text)
        assert scene.lamp.ran_with == [LampConfig(color="red")]
    async with open_scene(tmp_path, {"color": "red"}) as scene:
        assert scene.lamp.ran_with == [LampConfig(color="red")]
        assert "references unset environment variable(s)" in caplog.text


async def test_the_block_holds_where_a_stored_value_cannot_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_scene(tmp_path, {"color": "red"}) as scene:
        await scene.set({"color": "busy"})
        await eventually(lambda: "could not be applied" in caplog.text)
    async with open_scene(tmp_path, {"color": "red"}) as scene:
        assert scene.lamp.ran_with == [LampConfig(color="red")]
        told = "iii-lamp cannot start with the stored value of configuration 'lamp'"
        assert f"{told}: the color is busy" in caplog.text
        assert await scene.value() == {"color": "busy"}
        await scene.set({"color": "blue"})
        await scene.lamp.runs_with(color="blue")
        scene.lamp.crash.set()
        await eventually(lambda: len(scene.lamp.ran_with) > 2)
        assert scene.lamp.ran_with[-1] == LampConfig(color="blue")


async def test_a_stored_guard_is_not_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_scene(tmp_path, {"color": "red"}) as scene:
        await scene.set({"color": "busy", "auth_function": "auth::f"})
        await eventually(lambda: "could not be applied" in caplog.text)
    with pytest.raises(OSError, match="the color is busy"):
        async with open_scene(tmp_path, {"color": "red"}):
            pass
    assert "does not start without its tls or auth_function" in caplog.text
    assert "iii-lamp cannot start with the stored value of" in caplog.text


async def test_a_block_that_cannot_start_is_no_fault_of_a_stored_value(
    tmp_path: Path,
) -> None:
    async with open_scene(tmp_path, {"color": "red"}) as scene:
        await scene.set({"color": "busy", "level": 2})
    for block in ({"color": "busy"}, {"color": "busy", "level": 2}):
        with pytest.raises(OSError, match="the color is busy"):
            async with open_scene(tmp_path, block):
                pass


async def test_a_worker_without_settings_is_not_declared(tmp_path: Path) -> None:
    async with open_scene(tmp_path, spec={"has_settings": False}) as scene:
        known = (await scene.call("list"))["configurations"]
        assert "lamp" not in [entry["id"] for entry in known]


async def test_the_id_of_a_worker_that_was_removed_is_free_for_others(
    tmp_path: Path,
) -> None:
    async with open_scene(tmp_path) as scene:
        await scene.app.reload(config())
        about = {"id": "lamp", "name": "Their lamp", "description": "", "schema": True}
        await scene.call("register", **about)
        await scene.set({"level": 11})
        assert await scene.value() == {"level": 11}
