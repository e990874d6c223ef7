"""Changes of entries that are cancelled, that move listeners, that meet a crash."""

from functools import partial
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from iii_trio.app import RestartPolicy, open_app
from iii_trio.builtins import BUILTINS, BuiltinSpec, Resources
from iii_trio.errors import FunctionNotFoundError
from iii_trio.worker import Worker, open_worker
from tests.component.test_app import GreeterConfig, config


@attrs.define(eq=False)
class Changeable:
    """A handle that takes other settings."""

    config: GreeterConfig

    def reconfigure(self, config: GreeterConfig) -> None:
        self.config = config


@attrs.define(eq=False)
class Drainable:
    """A handle that takes as long as a test likes to drain."""

    config: GreeterConfig
    draining: trio.Event
    drained: trio.Event

    async def drain(self, _grace: float) -> None:
        self.draining.set()
        await self.drained.wait()


@attrs.define(eq=False)
class Greeter:
    """A bundled worker that crashes when told to, once.

    Attributes:
        handle: makes what it gives to the app.
    """

    handle: Any = Changeable
    crash: trio.Event = attrs.field(factory=trio.Event)
    began: trio.Event = attrs.field(factory=trio.Event)
    began_again: trio.Event = attrs.field(factory=trio.Event)

    async def serve(
        self,
        worker: Worker,
        config: GreeterConfig,
        _resources: Resources,
        *,
        task_status: trio.TaskStatus[Any],
    ) -> None:
        handle = self.handle(config)

        async def greet(name: str) -> str:
            await trio.lowlevel.checkpoint()
            return f"{handle.config.greeting} {name}"

        worker.register_function("greeter::greet", greet)
        task_status.started(handle)
        if self.began.is_set():
            self.began_again.set()
        self.began.set()
        if not self.crash.is_set():
            await self.crash.wait()
            raise ValueError("ordered crash")
        await trio.sleep_forever()

    @property
    def spec(self) -> BuiltinSpec:
        return BuiltinSpec(
            name="greeter",
            description="Greets.",
            config_class=GreeterConfig,
            serve=self.serve,
            has_settings=True,
        )


WANTED = {
    "as before": config({"name": "greeter"}),
    "changed": config({"name": "greeter", "config": {"greeting": "new"}}),
    "removed": config(),
}


@pytest.mark.parametrize("then", ["as before", "changed", "removed"])
@pytest.mark.parametrize("cancelled", ["changed", "removed"])
async def test_a_reload_that_is_cancelled_leaves_no_entry_that_nobody_knows(
    cancelled: str, then: str
) -> None:
    draining, drained = trio.Event(), trio.Event()
    greeter = Greeter(partial(Drainable, draining=draining, drained=drained))
    async with (
        open_app(WANTED["as before"], builtins=(greeter.spec,)) as app,
        open_worker(app.engine) as worker,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app.reload, WANTED[cancelled])
            await draining.wait()
            nursery.cancel_scope.cancel()
        drained.set()
        report = await app.reload(WANTED[then])
        assert not report.failed
        if then == "removed":
            assert report.removed == ("greeter",)
            with pytest.raises(FunctionNotFoundError):
                await worker.invoke("greeter::greet", "x")
        else:
            # It drained, so it starts anew even if it is to be as before.
            assert report.changed == ("greeter",)
            greeting = {"as before": "hi x", "changed": "new x"}[then]
            assert await worker.invoke("greeter::greet", "x") == greeting


@pytest.mark.parametrize("by", ["set", "reload"])
async def test_a_worker_that_crashes_while_it_is_changed_ends_nobody_else(
    by: str,
) -> None:
    volatile = {"name": "configuration", "config": {"adapter": {"name": "memory"}}}
    for steps in range(20):
        greeter = Greeter()
        async with (
            open_app(
                config({"name": "greeter"}, volatile),
                builtins=(*BUILTINS, greeter.spec),
                restart=RestartPolicy(first_delay=0),
            ) as app,
            open_worker(app.engine) as worker,
            trio.open_nursery() as nursery,
        ):
            if by == "set":
                new = {"id": "greeter", "value": {"greeting": "new"}}
                nursery.start_soon(worker.invoke, "configuration::set", new)
            else:
                entry = {"name": "greeter", "config": {"greeting": "new"}}
                nursery.start_soon(app.reload, config(entry, volatile))
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            greeter.crash.set()
            await greeter.began_again.wait()
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert await worker.invoke("greeter::greet", "x") == "new x"


async def free_ports() -> list[int]:
    """Two that nobody listens on."""
    first, second = trio.socket.socket(), trio.socket.socket()
    with first, second:
        await first.bind(("127.0.0.1", 0))
        await second.bind(("127.0.0.1", 0))
        return [first.getsockname()[1], second.getsockname()[1]]


async def test_a_listener_that_comes_or_goes_before_another_leaves_that_alone() -> None:
    def listener(port: int) -> dict[str, Any]:
        settings = {"host": "127.0.0.1", "port": port}
        return {"name": "iii-worker-manager", "config": settings}

    ports = await free_ports()
    both = {"workers": [listener(port) for port in ports]}
    alone = {"workers": [listener(ports[1])]}
    async with (
        open_app(both) as app,
        open_worker(f"ws://127.0.0.1:{ports[1]}") as worker,
    ):
        before = worker.worker_id
        report = await app.reload(alone)
        assert str(report) == "removed iii-worker-manager#1"
        assert app.addresses["iii-worker-manager"] == (("127.0.0.1", ports[1]),)
        assert list(app.addresses) == ["iii-worker-manager"]
        assert [entry.key for entry in app.entries][-1] == "iii-worker-manager"
        report = await app.reload(both)
        assert str(report) == "added iii-worker-manager"
        assert app.addresses["iii-worker-manager#1"] == (("127.0.0.1", ports[1]),)
        await worker.invoke("engine::workers::list", {})
        assert worker.worker_id == before


@pytest.mark.parametrize("goes", ["away", "elsewhere"])
async def test_one_reload_hands_a_port_on(goes: str) -> None:
    def entries(http: int, stream: int | None) -> dict[str, Any]:
        memory = {"name": "memory"}
        listed = [{"name": "iii-http", "config": {"port": http}}]
        if stream is not None:
            settings = {"port": stream, "adapter": memory}
            listed.append({"name": "iii-stream", "config": settings})
        return config(*listed)

    port = (await free_ports())[0]
    async with open_app(entries(0, port)) as app:
        report = await app.reload(entries(port, None if goes == "away" else 0))
        assert not report.failed
        assert "iii-http" in report.changed
        assert app.addresses["iii-http"][0][1] == port


async def test_what_waits_for_another_change_of_the_reload_is_tried_again() -> None:
    """Here for a listener, whose rules take an id from a stranger."""
    listener = {"name": "iii-worker-manager", "config": {"port": 0, "rbac": {}}}
    ours = {"port": 0, "rbac": {"auth_function_id": "auth::check"}}
    token = {"name": "ops", "token": "0123456789abcdef0123"}
    async with open_app({"workers": [listener]}) as app:
        host, port = app.addresses["iii-worker-manager"][0]
        async with open_worker(f"ws://{host}:{port}") as stranger:
            stranger.register_function("auth::check", lambda: None)
            while app.engine.registry.find("default", "auth::check") is None:
                await trio.testing.wait_all_tasks_blocked()
            report = await app.reload(
                {
                    "workers": [
                        listener,
                        {"name": "iii-worker-manager", "config": ours},
                        {"name": "iii-auth", "config": {"tokens": [token]}},
                    ]
                }
            )
            assert report.added == ("iii-auth", "iii-worker-manager#1")


async def test_what_a_changed_worker_offers_no_more_is_free_for_others() -> None:
    async def serve(
        worker: Worker,
        config: GreeterConfig,
        _resources: Resources,
        *,
        task_status: trio.TaskStatus[Any],
    ) -> None:
        worker.register_function(f"{config.greeting}::greet", lambda: "bundled")
        task_status.started()
        await trio.sleep_forever()

    spec = attrs.evolve(Greeter().spec, serve=serve)
    async with open_app(WANTED["as before"], builtins=(spec,)) as app:
        port = app.addresses["iii-worker-manager"][0][1]
        async with open_worker(f"ws://127.0.0.1:{port}") as worker:
            await app.reload(WANTED["changed"])
            for function_id in ("hi::greet", "new::greet"):
                worker.register_function(function_id, lambda: "mine")
            assert await worker.invoke("hi::greet") == "mine"
            assert await worker.invoke("new::greet") == "bundled"
            assert set(worker.rejections) == {"new::greet"}


async def test_nothing_is_changed_while_the_app_drains() -> None:
    draining, drained = trio.Event(), trio.Event()
    greeter = Greeter(partial(Drainable, draining=draining, drained=drained))
    volatile = {"name": "configuration", "config": {"adapter": {"name": "memory"}}}
    async with (
        open_app(
            config({"name": "greeter"}, volatile), builtins=(*BUILTINS, greeter.spec)
        ) as app,
        open_worker(app.engine) as worker,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(app.drain, 30)
        await draining.wait()
        new = {"id": "greeter", "value": {"greeting": "new"}}
        await worker.invoke("configuration::set", new)
        with pytest.raises(trio.ClosedResourceError, match="drains"):
            await app.reload(config(volatile))
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert await worker.invoke("greeter::greet", "x") == "hi x"
        drained.set()


async def test_a_change_that_a_drain_overtakes_starts_nothing() -> None:
    draining, drained = trio.Event(), trio.Event()
    greeter = Greeter(partial(Drainable, draining=draining, drained=drained))
    async with open_app(WANTED["as before"], builtins=(greeter.spec,)) as app:
        reports = []

        async def change() -> None:
            reports.append(await app.reload(WANTED["changed"]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(change)
            await draining.wait()
            nursery.start_soon(app.drain, 30)
            await trio.testing.wait_all_tasks_blocked()
            drained.set()
        assert "the app drains" in reports[0].failed["greeter"]
        assert not greeter.began_again.is_set()
