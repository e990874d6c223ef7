"""Generated hostile traffic, in the size for every day; ``make hostile`` is the full form."""

import pathlib

import pytest
import trio

from tests.hostile.attack import Attack
from tests.hostile.run import hostile
from tests.integration.net_rig import Ear, Host, open_rig


async def test_a_server_under_load_holds_against_hostile_traffic(
    tmp_path: pathlib.Path,
) -> None:
    report = await hostile(tmp_path, 3000)
    assert report.violations == ()
    assert report.bugs == ()
    assert (report.wrong, report.smuggled) == (0, 0)
    assert report.frames >= 3000
    assert report.requests >= 300
    assert report.held


async def yes_man(stream: trio.SocketStream) -> None:
    """A server that finds every request good."""
    await stream.receive_some()
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


async def test_a_server_that_takes_bad_requests_is_noticed() -> None:
    async with trio.open_nursery() as nursery:
        (listener, *_) = await nursery.start(trio.serve_tcp, yes_man, 0)
        port = listener.socket.getsockname()[1]
        attack = Attack(port, port, seed=0)
        await attack.run(0, 100)
        nursery.cancel_scope.cancel(reason="enough")
    assert len(attack.violations) > 30
    assert any("was answered b'HTTP/1.1 200 OK'" in one for one in attack.violations)


@pytest.mark.parametrize("rude", [True, False])
async def test_an_engine_that_drops_links_or_answers_nonsense_is_noticed(
    *, rude: bool
) -> None:
    host = Host()

    def answer(ear: Ear) -> None:
        def reply(text: bytes) -> None:
            if rude:
                ear.websocket.drop("I do not like this")
            elif b'"invocation_id"' in text:
                ear.websocket.send_text_nowait(text.replace(b"invokefunction", RESULT))

        ear.reply = reply

    host.prepare = answer
    async with open_rig(host=host) as rig:
        attack = Attack(rig.door.addresses[0][1], 0, seed=0)
        while not attack.violations:  # the rig has a time limit
            await attack.run(200, 0, tasks=1)
    assert ("lost" if rude else "was answered") in attack.violations[0]


RESULT = b"invocationresult"
