"""An app in this process: real front doors on free ports, everything else inline."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from iii_trio.app import App, RestartPolicy, load_config, open_app
from iii_trio.builtins import BUILTINS, BuiltinSpec, Resources
from iii_trio.errors import ConfigError, InvocationError, RegistrationError
from iii_trio.protocol import FunctionUnregistered
from iii_trio.worker import Worker, open_worker

LISTENER = {"name": "iii-worker-manager", "config": {"port": 0}}
HTTP = {"name": "iii-http", "config": {"port": 0}}
VOLATILE = {"name": "state", "config": {"adapter": {"name": "memory"}}}


def config(*entries: Mapping[str, Any]) -> dict[str, Any]:
    return {"workers": [LISTENER, *entries]}


def url_of(app: App, key: str = "iii-worker-manager") -> str:
    host, port = app.addresses[key][0]
    return f"ws://{host}:{port}"


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def request(port: int, target: str, body: bytes = b"") -> bytes:
    """One HTTP exchange; everything that comes until the server closes."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        head = f"POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        await stream.send_all(head.encode() + body)
        return b"".join([piece async for piece in stream])


async def upgrade(url: str, path: str) -> bytes:
    """What a worker that connects is answered first."""
    host, port = url.removeprefix("ws://").split(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        head = (
            f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await stream.send_all(head.encode())
        return bytes(await stream.receive_some())


# --- running


async def test_workers_by_url_and_in_process_meet_in_one_app() -> None:
    async with (
        open_app(config()) as app,
        open_worker(url_of(app)) as remote,
        open_worker(app.engine) as local,
    ):

        @local.function("math::double")
        async def double(value: int) -> int:
            await trio.lowlevel.checkpoint()
            return 2 * value

        assert await remote.invoke("math::double", 21) == 42


async def test_http_and_state_work_together() -> None:
    async with (
        open_app(config(HTTP, VOLATILE)) as app,
        open_worker(app.engine) as worker,
    ):

        @worker.function("visits::count")
        async def count(_request: Any) -> Any:
            ops = [{"type": "increment", "path": "n", "by": 1}]
            update = {"scope": "visits", "key": "all", "ops": ops}
            result = await worker.invoke("state::update", update)
            return {"status_code": 201, "body": result["new_value"]}

        await worker.bind(
            "http", "visits::count", {"api_path": "/visit", "http_method": "POST"}
        )
        port = app.addresses["iii-http"][0][1]
        first, second = [await request(port, "/visit") for _ in range(2)]
    assert first.startswith(b"HTTP/1.1 201")
    assert first.endswith(b'{"n":1}')
    assert second.endswith(b'{"n":2}')


async def test_durable_state_survives_the_app(tmp_path: Path) -> None:
    key = {"scope": "s", "key": "k"}
    for expected in (None, 1, 2):
        async with open_app(
            config({"name": "state"}), data_dir=tmp_path / "data"
        ) as app:
            async with open_worker(app.engine) as worker:
                assert await worker.invoke("state::get", key) == expected
                value = (expected or 0) + 1
                await worker.invoke("state::set", key | {"value": value})
    assert names_in(tmp_path) == ["data"]
    assert "iii-trio.db" in names_in(tmp_path / "data")


async def test_volatile_app_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_app(config(VOLATILE, HTTP)):
        pass
    assert names_in(tmp_path) == []


ABOUT = {"id": "mailer", "name": "Mailer", "description": "", "schema": True}


async def test_configurations_are_kept_and_make_no_file_before(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for run in range(2):
        async with (
            open_app(config(), data_dir=data) as app,
            open_worker(app.engine) as worker,
        ):
            listed = await worker.invoke("configuration::list", {})
            known = [entry["id"] for entry in listed["configurations"]]
            assert known == ["iii-observability", *["mailer"] * run]
            assert data.exists() == bool(run)
            await worker.invoke("configuration::register", {**ABOUT, "seed": 0})
            assert data.exists() == bool(run)
            new = await worker.invoke(
                "configuration::set", {"id": "mailer", "value": 1}
            )
            assert new == {"old_value": run, "new_value": 1}
    assert "iii-trio.db" in names_in(data)


async def test_a_configuration_that_cannot_be_stored_is_refused_until_it_can(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    data.write_text("a file where the directory should be")
    async with (
        open_app(config(), data_dir=data) as app,
        open_worker(app.engine) as worker,
    ):
        with pytest.raises(InvocationError, match="Could not make the directory") as no:
            await worker.invoke("configuration::register", ABOUT)
        assert no.value.code == "ADAPTER_ERROR"
        data.unlink()
        await worker.invoke("configuration::register", ABOUT)
    assert "iii-trio.db" in names_in(data)


async def test_several_listeners_serve_one_engine() -> None:
    async with (
        open_app(config(LISTENER)) as app,
        open_worker(url_of(app)) as one,
        open_worker(url_of(app, "iii-worker-manager#1")) as other,
    ):

        @one.function("hello::world")
        async def hello() -> str:
            await trio.lowlevel.checkpoint()
            return "hi"

        assert await other.invoke("hello::world") == "hi"


async def test_default_hosts_are_both_loopback_addresses_on_one_port() -> None:
    async with open_app(config()) as app:
        hosts = {host for host, _ in app.addresses["iii-worker-manager"]}
        ports = {port for _, port in app.addresses["iii-worker-manager"]}
    assert "127.0.0.1" in hosts
    assert hosts <= {"127.0.0.1", "::1"}
    assert len(ports) == 1


# --- files


async def test_load_config_reads_a_file_with_its_macros(tmp_path: Path) -> None:
    file = trio.Path(tmp_path / "config.yaml")
    await file.write_text("workers: [{name: http, config: {port: ${P:7}}}]")
    for environ, port in (({}, 7), ({"P": "8"}, 8)):
        entries = (await load_config(file, environ)).entries
        ports = [entry.config.port for entry in entries if entry.key == "iii-http"]
        assert ports == [port]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), (b"a: \xff", "not UTF-8"), (b"a: [", "line 2")],
)
async def test_file_that_cannot_be_used_is_a_config_error(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    file = trio.Path(tmp_path / "config.yaml")
    if content is not None:
        await file.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        await load_config(file)


# --- starting fails


async def test_bad_config_is_refused_before_anything_opens() -> None:
    with pytest.raises(ConfigError, match="did you mean 'port'"):
        async with open_app(config({"name": "http", "config": {"prot": 1}})):
            pytest.fail("opened")


@pytest.mark.parametrize("name", ["http", "iii-worker-manager"])
async def test_busy_port_at_start_is_an_os_error_and_frees_the_rest(name: str) -> None:
    async with open_app(config()) as first:
        port = first.addresses["iii-worker-manager"][0][1]
        busy = {"name": name, "config": {"port": port}}
        with pytest.raises(OSError, match=str(port)):
            async with open_app(config(VOLATILE, busy)):
                pytest.fail("opened")


async def test_body_exception_leaves_unwrapped() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_app(config(HTTP, VOLATILE)):
            raise ZeroDivisionError


# --- a bundled worker of a test's own


@attrs.frozen(kw_only=True)
class GreeterConfig:
    greeting: str = "hi"
    port: int = 0


@attrs.define(eq=False)
class Greeter:
    """A bundled worker whose crashes are ordered."""

    starts: list[GreeterConfig] = attrs.field(factory=list)
    crash: trio.Event = attrs.field(factory=trio.Event)
    ready: trio.Event = attrs.field(factory=trio.Event)

    async def serve(
        self,
        worker: Worker,
        config: GreeterConfig,
        _resources: Resources,
        *,
        task_status: trio.TaskStatus[Any],
    ) -> None:
        self.starts.append(config)
        self.crash = trio.Event()

        async def greet(name: str) -> str:
            await trio.lowlevel.checkpoint()
            return f"{config.greeting} {name}"

        worker.register_function("greeter::greet", greet)
        task_status.started()
        self.ready.set()
        await self.crash.wait()
        raise ValueError("ordered crash")

    @property
    def builtins(self) -> tuple[BuiltinSpec, ...]:
        spec = BuiltinSpec(
            name="greeter",
            description="Greets.",
            config_class=GreeterConfig,
            serve=self.serve,
        )
        return (*BUILTINS, spec)


async def test_crashed_worker_is_restarted() -> None:
    greeter = Greeter()
    restart = RestartPolicy(first_delay=0)
    async with (
        open_app(
            config({"name": "greeter"}), builtins=greeter.builtins, restart=restart
        ) as app,
        open_worker(app.engine) as worker,
    ):
        assert await worker.invoke("greeter::greet", "a") == "hi a"
        greeter.ready = trio.Event()
        greeter.crash.set()
        await greeter.ready.wait()
        assert await worker.invoke("greeter::greet", "b") == "hi b"
    assert len(greeter.starts) == 2


async def test_worker_that_crashes_once_too_often_takes_the_app_down() -> None:
    greeter = Greeter()
    restart = RestartPolicy(max_restarts=0)
    crash = pytest.RaisesExc(ValueError, match="ordered crash")
    with pytest.RaisesGroup(crash, flatten_subgroups=True):
        async with open_app(
            config({"name": "greeter"}), builtins=greeter.builtins, restart=restart
        ):
            greeter.crash.set()
            await trio.sleep_forever()


async def test_link_cannot_take_a_reserved_id_while_its_worker_is_away() -> None:
    greeter = Greeter()
    restart = RestartPolicy(first_delay=1000, max_delay=1000)
    async with (
        open_app(
            config({"name": "greeter"}), builtins=greeter.builtins, restart=restart
        ) as app,
        open_worker(url_of(app)) as remote,
    ):
        gone = trio.Event()

        def notice(event: object) -> None:
            if isinstance(event, FunctionUnregistered):
                gone.set()

        app.engine.subscribe(notice)
        greeter.crash.set()
        await gone.wait()
        remote.register_function("greeter::greet", lambda: "mine")
        await remote.invoke("engine::workers::list", {})
        refused = remote.rejections["greeter::greet"]
        assert isinstance(refused, RegistrationError)
        assert refused.code == "FUNCTION_NAMESPACE_CONFLICT"


# --- reload


async def test_reload_touches_nothing_that_did_not_change() -> None:
    greeter = Greeter()
    async with (
        open_app(config({"name": "greeter"}, HTTP), builtins=greeter.builtins) as app,
        open_worker(url_of(app)) as remote,
        open_worker(app.engine) as local,
    ):
        before, addresses = remote.worker_id, app.addresses
        started, release = trio.Event(), trio.Event()

        @local.function("slow::call")
        async def slow() -> str:
            started.set()
            await release.wait()
            return "done"

        async with trio.open_nursery() as nursery:
            results: list[str] = []

            async def call() -> None:
                results.append(await remote.invoke("slow::call"))

            nursery.start_soon(call)
            await started.wait()
            report = await app.reload(config({"name": "greeter"}, HTTP, VOLATILE))
            release.set()
        assert results == ["done"]
        assert remote.worker_id == before
        assert await remote.invoke("state::get", {"scope": "a", "key": "b"}) is None
        assert app.addresses == addresses
    assert report.added == ("iii-state",)
    kept = {"greeter", "iii-http", "iii-worker-manager"}
    assert kept < set(report.kept)
    assert not report.failed
    assert str(report) == "added iii-state"
    assert len(greeter.starts) == 1


async def test_reload_removes_a_worker_and_frees_its_ids() -> None:
    async with (
        open_app(config(VOLATILE)) as app,
        open_worker(url_of(app)) as remote,
    ):
        report = await app.reload(config())
        assert report.removed == ("iii-state",)
        remote.register_function("state::get", lambda _payload: "mine")
        async with open_worker(app.engine) as local:
            await remote.invoke("engine::workers::list", {})
            assert await local.invoke("state::get", {}) == "mine"


async def test_reload_that_takes_a_worker_away_cancels_its_handlers() -> None:
    running, begun, reasons = 0, trio.Event(), list[str]()

    async def serve(
        worker: Worker,
        _config: GreeterConfig,
        _resources: Resources,
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        @worker.function("greeter::wait")
        async def wait() -> None:
            await trio.lowlevel.checkpoint()
            nonlocal running
            running += 1
            if running == 2:
                begun.set()
            try:
                await trio.sleep_forever()
            except trio.Cancelled as exc:
                reasons.append(exc.reason or "")
                raise

        task_status.started()
        await trio.sleep_forever()

    spec = attrs.evolve(Greeter().builtins[-1], serve=serve)
    codes: list[str] = []

    async def call(caller: Worker) -> None:
        await trio.lowlevel.checkpoint()
        try:
            await caller.invoke("greeter::wait")
        except InvocationError as exc:
            codes.append(exc.code)

    async with (
        open_app(config({"name": "greeter"}), builtins=(*BUILTINS, spec)) as app,
        open_worker(url_of(app)) as remote,
        open_worker(app.engine) as local,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, local)
            nursery.start_soon(call, remote)
            await begun.wait()
            report = await app.reload(config())
        assert report.removed == ("greeter",)
        assert codes == ["invocation_stopped"] * 2
        # One ran in its caller's task, one in the worker's.
        assert sorted(reasons) == [
            "its worker is gone: the worker closed",
            "removed from the configuration",
        ]
        assert app.engine.statistics().invocations == 0


async def test_reload_restarts_a_changed_worker_with_its_new_settings() -> None:
    greeter = Greeter()
    entry = {"name": "greeter", "config": {"greeting": "hello"}}
    async with (
        open_app(config({"name": "greeter"}), builtins=greeter.builtins) as app,
        open_worker(app.engine) as worker,
    ):
        report = await app.reload(config(entry))
        assert report.changed == ("greeter",)
        assert await worker.invoke("greeter::greet", "x") == "hello x"


async def test_changed_worker_that_cannot_start_runs_on_as_it_was() -> None:
    greeter = Greeter()

    def start_old_only() -> Callable[..., Awaitable[None]]:
        serve = greeter.serve

        async def picky(
            worker: Worker, config: GreeterConfig, resources: Resources, **rest: Any
        ) -> None:
            if config.port:
                raise OSError(f"port {config.port} is busy")
            await serve(worker, config, resources, **rest)

        return picky

    spec = attrs.evolve(greeter.builtins[-1], serve=start_old_only())
    entry = {"name": "greeter", "config": {"port": 7, "greeting": "new"}}
    async with (
        open_app(config({"name": "greeter"}), builtins=(spec,)) as app,
        open_worker(app.engine) as worker,
    ):
        report = await app.reload(config(entry))
        assert report.failed == {"greeter": "port 7 is busy"}
        assert report.changed == ()
        assert await worker.invoke("greeter::greet", "x") == "hi x"


async def test_changed_worker_that_runs_neither_way_is_told_and_can_come_back() -> None:
    fails = False

    async def moody(
        worker: Worker, config: GreeterConfig, resources: Resources, **rest: Any
    ) -> None:
        if fails:
            raise OSError("no luck")
        await Greeter().serve(worker, config, resources, **rest)

    spec = attrs.evolve(Greeter().builtins[-1], serve=moody)
    entry = {"name": "greeter", "config": {"greeting": "new"}}
    async with (
        open_app(config({"name": "greeter"}), builtins=(spec,)) as app,
        open_worker(app.engine) as worker,
    ):
        fails = True
        report = await app.reload(config(entry))
        assert report.failed == {
            "greeter": "no luck; nor does it run as it was: no luck"
        }
        assert str(report).startswith("failed greeter")
        fails = False
        report = await app.reload(config(entry))
        assert report.added == ("greeter",)
        assert await worker.invoke("greeter::greet", "x") == "new x"


async def test_crashed_worker_can_be_changed_before_its_restart() -> None:
    greeter = Greeter()
    restart = RestartPolicy(first_delay=1000, max_delay=1000)
    entry = {"name": "greeter", "config": {"greeting": "new"}}
    async with (
        open_app(
            config({"name": "greeter"}), builtins=greeter.builtins, restart=restart
        ) as app,
        open_worker(app.engine) as worker,
    ):
        greeter.crash.set()
        report = await app.reload(config(entry))
        assert report.changed == ("greeter",)
        assert await worker.invoke("greeter::greet", "x") == "new x"


async def test_http_takes_new_settings_without_losing_its_door() -> None:
    async with open_app(config(HTTP)) as app:
        addresses = app.addresses["iii-http"]
        changed = {"name": "http", "config": {"port": 0, "default_timeout": 5}}
        report = await app.reload(config(changed))
        assert report.changed == ("iii-http",)
        assert app.addresses["iii-http"] == addresses


async def test_busy_port_at_reload_keeps_the_old_door() -> None:
    async with open_app(config(HTTP)) as app:
        taken = app.addresses["iii-worker-manager"][0][1]
        before = app.addresses
        moved = {"name": "http", "config": {"port": taken}}
        report = await app.reload(config(moved))
        assert str(taken) in report.failed["iii-http"]
        assert app.addresses == before
        assert (await request(before["iii-http"][0][1], "/")).startswith(
            b"HTTP/1.1 404"
        )


@pytest.mark.parametrize(
    "typo", [{"host": "192.168..7"}, {"tls": {"certificate": "no\ud800path"}}]
)
@pytest.mark.parametrize("name", ["iii-http", "iii-worker-manager"])
async def test_typo_in_a_reload_keeps_the_old_door(
    name: str, typo: dict[str, Any]
) -> None:
    entries: dict[str, dict[str, Any]] = {
        "iii-worker-manager": LISTENER,
        "iii-http": HTTP,
    }
    async with open_app({"workers": [*entries.values()]}) as app:
        before = app.addresses
        entry = entries[name]
        entries[name] = {**entry, "config": {**entry["config"], **typo}}
        report = await app.reload({"workers": [*entries.values()]})
        assert list(report.failed) == [name]
        assert app.addresses == before
        async with open_worker(url_of(app)) as worker:
            assert worker.worker_id


async def test_moved_listener_binds_the_new_port_and_leaves_the_old() -> None:
    async with open_app(config()) as app:
        old = app.addresses["iii-worker-manager"][0]
        listener = {
            "name": "iii-worker-manager",
            "config": {"host": "127.0.0.1", "port": 0},
        }
        report = await app.reload({"workers": [listener]})
        assert report.changed == ("iii-worker-manager",)
        assert app.addresses["iii-worker-manager"][0] != old
        async with open_worker(url_of(app)) as worker:
            assert worker.worker_id
        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream(*old)


async def test_listener_that_cannot_move_keeps_its_port_and_its_workers() -> None:
    async with open_app(config(HTTP)) as app, open_worker(url_of(app)) as remote:
        before, worker_id = app.addresses, remote.worker_id
        taken = before["iii-http"][0][1]
        listener = {"name": "iii-worker-manager", "config": {"port": taken}}
        report = await app.reload({"workers": [HTTP, listener]})
        assert str(taken) in report.failed["iii-worker-manager"]
        assert app.addresses == before
        assert await remote.invoke("engine::workers::list", {})
        assert remote.worker_id == worker_id


async def test_reload_with_a_bad_config_changes_nothing() -> None:
    async with open_app(config(HTTP)) as app:
        before = app.entries
        with pytest.raises(ConfigError):
            await app.reload({"wokers": []})
        assert app.entries == before


async def test_two_reloads_at_once_are_refused() -> None:
    begun, go_on = trio.Event(), trio.Event()

    async def slow_start(
        _worker: Worker,
        _config: GreeterConfig,
        _resources: Resources,
        *,
        task_status: trio.TaskStatus[Any],
    ) -> None:
        begun.set()
        await go_on.wait()
        task_status.started()
        await trio.sleep_forever()

    spec = attrs.evolve(Greeter().builtins[-1], serve=slow_start)
    async with open_app(config(), builtins=(spec,)) as app:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app.reload, config({"name": "greeter"}))
            await begun.wait()
            with pytest.raises(trio.BusyResourceError):
                await app.reload(config())
            go_on.set()
        assert [entry.key for entry in app.entries][-1] == "greeter"


# --- drain


async def test_drain_lets_calls_finish_and_refuses_new_ones() -> None:
    async with (
        open_app(config(HTTP)) as app,
        open_worker(app.engine) as worker,
        open_worker(url_of(app)) as remote,
    ):
        started, release = trio.Event(), trio.Event()

        @worker.function("slow::call")
        async def slow() -> str:
            started.set()
            await release.wait()
            return "done"

        results: list[str] = []

        async def call() -> None:
            results.append(await remote.invoke("slow::call"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await started.wait()
            nursery.start_soon(app.drain, 30.0)
            await trio.testing.wait_all_tasks_blocked()
            release.set()
        assert results == ["done"]


async def test_a_call_may_still_open_its_channel_while_the_app_drains() -> None:
    async with open_app(config(HTTP)) as app, open_worker(url_of(app)) as remote:
        started, release = trio.Event(), trio.Event()

        @remote.function("slow::stream")
        async def stream(payload: Any) -> None:
            started.set()
            await release.wait()
            async with remote.open_writer(payload["response"]) as writer:
                await writer.send('{"type":"set_status","status_code":201}')
                await writer.send(b"all of it")

        await remote.bind(
            "http", "slow::stream", {"http_method": "POST", "api_path": "/s"}
        )
        await remote.invoke("engine::workers::list", {})
        answers: list[bytes] = []

        async def ask() -> None:
            answers.append(await request(app.addresses["iii-http"][0][1], "/s"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await started.wait()
            nursery.start_soon(app.drain, 30.0)
            await trio.testing.wait_all_tasks_blocked()
            for path in ("/", "/otel"):
                assert b"HTTP/1.1 503" in await upgrade(url_of(app), path)
            release.set()
        assert answers[0].startswith(b"HTTP/1.1 201")
        assert b"all of it" in answers[0]


@pytest.mark.parametrize("grace", [-1.0, float("nan")])
async def test_a_grace_that_is_none_drains_nothing(grace: float) -> None:
    async with open_app(config(HTTP)) as app, open_worker(url_of(app)) as remote:
        with pytest.raises(ValueError, match="must be 0 or more"):
            await app.drain(grace)
        assert await remote.invoke("engine::workers::list", {})
        assert (await app.reload(config())).removed == ("iii-http",)


async def test_drain_is_bounded() -> None:
    greeter = Greeter()
    async with (
        open_app(config({"name": "greeter"}), builtins=greeter.builtins) as app,
        open_worker(app.engine) as worker,
    ):

        @worker.function("slow::call")
        async def slow() -> None:
            await trio.sleep_forever()

        worker.fire("slow::call")
        await app.drain(0.0)
        assert app.engine.statistics().invocations == 0
