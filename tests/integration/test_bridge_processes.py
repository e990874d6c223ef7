"""A bridge between two server processes, with SDK workers on both sides."""

import pathlib

import pytest
import trio

from iii_trio.errors import FunctionFailedError
from tests.integration.bridge_processes import (
    function_is_there,
    listener,
    open_client,
    open_engine_process,
    open_zoo,
)
from tests.live import PATIENCE

pytestmark = pytest.mark.slow


def bridged(url: str) -> str:
    """A configuration as one would write it for the reference engine."""
    return f"""
workers:
  - {listener()}
  - name: iii-bridge
    config:
      url: ${{REMOTE_III_URL:{url}}}
      expose:
        - local_function: py::echo
          remote_function: lent::echo
        - local_function: py::fail
      forward:
        - local_function: far::echo
          remote_function: ts::echo
          timeout_ms: 20000
        - local_function: far::fail
          remote_function: ts::fail
"""


@pytest.mark.needs_node
async def test_sdk_workers_of_two_servers_call_each_other(
    tmp_path: pathlib.Path,
) -> None:
    remote = f"workers: [{listener()}]"
    with trio.fail_after(3 * PATIENCE):
        async with (
            open_engine_process(tmp_path / "there", remote) as (_, there),
            open_engine_process(tmp_path / "here", bridged(there)) as (server, here),
            open_client(here) as at_here,
            open_client(there) as at_there,
            open_zoo("py", here, tmp_path / "py"),
            open_zoo("ts", there, tmp_path / "ts"),
        ):
            await function_is_there(at_here, "py::stream")
            await function_is_there(at_there, "ts::ring")
            await function_is_there(at_there, "lent::echo")

            # The SDKs themselves call across.
            asked = {"function_id": "far::echo", "payload": {"n": [1, None, "ü"]}}
            answer = await at_here.invoke("py::ask", asked)
            assert answer["result"]["n"] == [1, None, "ü"]
            asked = {"function_id": "lent::echo", "payload": {"n": 2}}
            answer = await at_there.invoke("ts::ask", asked)
            assert answer["result"]["n"] == 2

            with pytest.raises(FunctionFailedError, match="no luck") as caught:
                await at_there.invoke("py::fail")
            assert caught.value.code == "invocation_failed"
            asked = {"function_id": "far::fail", "payload": {}}
            answer = await at_here.invoke("py::ask", asked)
            assert answer["code"] == "bridge_error"
            assert "invocation_failed: no luck" in answer["message"]

            invoke = {"function_id": "ts::repeat", "data": {"megabytes": 3}}
            text = await at_here.invoke("bridge.invoke", invoke)
            assert len(text) == 3 << 20
            assert await server.stop() == 0


async def near() -> str:
    await trio.lowlevel.checkpoint()
    return "near"


async def test_a_bridge_lives_through_the_death_of_the_other_server(
    tmp_path: pathlib.Path,
) -> None:
    remote = f"workers: [{listener()}]"
    config = """
workers:
  - {listener}
  - name: bridge
    config:
      url: {url}/?token=s3cret
      expose: [{{local_function: mine}}]
      forward: [{{local_function: far, remote_function: near}}]
"""
    started = trio.Event()

    async def slow() -> None:
        started.set()
        await trio.sleep_forever()

    with trio.fail_after(3 * PATIENCE):
        async with open_engine_process(tmp_path / "there", remote) as (other, there):
            local = config.format(listener=listener(), url=there)
            async with (
                open_engine_process(tmp_path / "here", local) as (server, here),
                open_client(here) as at_here,
                open_client(there) as at_there,
            ):
                at_here.register_function("mine", near)
                at_there.register_function("near", near)
                at_there.register_function("slow", slow)
                await function_is_there(at_there, "mine")
                await function_is_there(at_there, "slow")
                assert await at_here.invoke("far") == "near"
                failures: list[FunctionFailedError] = []

                async def call() -> None:
                    with pytest.raises(FunctionFailedError) as caught:
                        await at_here.invoke("bridge.invoke", {"function_id": "slow"})
                    failures.append(caught.value)

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(call)
                    await started.wait()
                    other.process.kill()
                    await other.wait()
                assert failures[0].code == "bridge_error"
                assert "invocation_stopped" in failures[0].message

                again = f"workers: [{listener(int(there.rpartition(':')[2]))}]"
                async with open_engine_process(tmp_path / "again", again):
                    await function_is_there(at_there, "mine")
                    await function_is_there(at_there, "near")
                    assert await at_here.invoke("far") == "near"
                    assert await at_there.invoke("mine") == "near"
                assert await server.stop() == 0
            log = "\n".join(server.lines)
            assert "worker 'iii-bridge-client' disconnected" in log
            assert f"connected to {there} as iii-bridge-client" in log
            assert "s3cret" not in log
