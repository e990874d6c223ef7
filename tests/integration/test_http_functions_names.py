"""Names of endpoints: resolved once, judged, connected to, and checked by TLS."""

import ipaddress
import ssl
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import httpcore2
import pytest
import trio
import trustme

from iii_trio.builtins.http_functions import (
    Address,
    HTTPFunctionsConfig,
    SecurityConfig,
)
from iii_trio.builtins.http_functions._network import (
    JudgingBackend,
    resolve_by_system,
)
from iii_trio.builtins.http_functions._policy import URLRefusedError
from tests.integration.endpoint_rig import open_endpoint, open_functions_rig, reply

pytestmark = pytest.mark.slow

LOOPBACK = SecurityConfig(block_private_ips=False)
PUBLIC, OTHER_PUBLIC, PRIVATE = "198.41.0.4", "2606:4700::1111", "127.0.0.1"


@attrs.define(eq=False)
class ChangingResolver:
    """Answers each question with the next of its answers, the last one for ever."""

    answers: list[Sequence[str]]
    asked: list[str] = attrs.field(factory=list)

    async def __call__(self, name: str) -> list[Address]:
        await trio.lowlevel.checkpoint()
        self.asked.append(name)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not answer:
            raise OSError("no such name")
        return [ipaddress.ip_address(text) for text in answer]


@attrs.define(eq=False)
class RecordingSockets(httpcore2.AsyncNetworkBackend):
    """Notes what is connected to; connects to nothing but to what is ``alive``."""

    alive: str = ""
    tried: list[str] = attrs.field(factory=list)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of httpcore2
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        await trio.lowlevel.checkpoint()
        self.tried.append(host)
        if host == self.alive:
            return httpcore2.AsyncMockStream([])
        if self.alive == "silent":
            await trio.sleep_forever()
        raise httpcore2.ConnectError("refused")


async def test_what_was_judged_is_connected_to_whatever_the_name_says_next() -> None:
    resolver = ChangingResolver([[PUBLIC], [PRIVATE]])
    sockets = RecordingSockets(alive=PUBLIC)
    backend = JudgingBackend(SecurityConfig(), resolver, sockets)
    await backend.connect_tcp("rebinding.example", 443)
    assert resolver.asked == ["rebinding.example"]
    assert sockets.tried == [PUBLIC]
    with pytest.raises(URLRefusedError, match="Private IP blocked"):
        await backend.connect_tcp("rebinding.example", 443)
    assert sockets.tried == [PUBLIC]


@pytest.mark.parametrize(
    "answer",
    [
        [PRIVATE],
        [PUBLIC, PRIVATE],
        [PUBLIC, "::1"],
        ["::ffff:10.0.0.1"],
        ["169.254.169.254"],
        ["64:ff9b::7f00:1"],
    ],
)
async def test_one_private_answer_refuses_the_name(answer: list[str]) -> None:
    sockets = RecordingSockets(alive=PUBLIC)
    backend = JudgingBackend(SecurityConfig(), ChangingResolver([answer]), sockets)
    with pytest.raises(URLRefusedError, match="Private IP blocked"):
        await backend.connect_tcp("example.com", 443)
    assert sockets.tried == []


@pytest.mark.parametrize("answer", [[], None])
async def test_a_name_without_addresses_is_refused(answer: list[str] | None) -> None:
    async def nothing(_name: str) -> list[Address]:
        await trio.lowlevel.checkpoint()
        return []

    resolve = nothing if answer is None else ChangingResolver([answer])
    backend = JudgingBackend(SecurityConfig(), resolve, RecordingSockets())
    with pytest.raises(URLRefusedError, match="DNS lookup failed"):
        await backend.connect_tcp("example.com", 443)


async def test_further_addresses_are_tried() -> None:
    sockets = RecordingSockets(alive=OTHER_PUBLIC)
    resolver = ChangingResolver([[PUBLIC, PUBLIC, OTHER_PUBLIC]])
    backend = JudgingBackend(SecurityConfig(), resolver, sockets)
    await backend.connect_tcp("example.com", 443)
    assert sockets.tried == [PUBLIC, OTHER_PUBLIC]
    sockets.alive = ""
    with pytest.raises(httpcore2.ConnectError):
        await backend.connect_tcp("example.com", 443)


async def test_a_silent_address_does_not_take_all_the_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sockets = RecordingSockets(alive="silent")
    resolver = ChangingResolver([[PUBLIC, OTHER_PUBLIC]])
    backend = JudgingBackend(SecurityConfig(), resolver, sockets)
    with trio.move_on_after(30) as scope:
        await backend.connect_tcp("example.com", 443)
    assert scope.cancelled_caught
    assert sockets.tried == [PUBLIC, OTHER_PUBLIC]


async def test_an_address_is_never_resolved() -> None:
    resolver = ChangingResolver([[PUBLIC]])
    sockets = RecordingSockets(alive=OTHER_PUBLIC)
    backend = JudgingBackend(SecurityConfig(), resolver, sockets)
    await backend.connect_tcp(OTHER_PUBLIC, 443)
    with pytest.raises(URLRefusedError):
        await backend.connect_tcp(PRIVATE, 443)
    assert resolver.asked == []


async def test_the_system_resolves_names_and_its_old_spellings() -> None:
    for name in ("localhost", "0x7f.1", "2130706433"):
        addresses = await resolve_by_system(name)
        assert {str(one) for one in addresses} <= {"127.0.0.1", "::1"}
        assert addresses
    with pytest.raises(OSError, match=r"."):
        await resolve_by_system("a" * 70 + ".invalid")


async def test_name_servers_that_do_not_answer_hold_no_threads_of_others() -> None:
    """Each holds a thread until it gives up, also when its call has ended."""
    everybodys = trio.to_thread.current_default_thread_limiter()
    for thread in range(int(everybodys.total_tokens)):
        everybodys.acquire_on_behalf_of_nowait(thread)
    assert await resolve_by_system("localhost")
    for thread in range(int(everybodys.total_tokens)):
        everybodys.release_on_behalf_of(thread)


async def test_a_rebinding_name_reaches_only_what_was_judged() -> None:
    """The same with real sockets: two endpoints, and a name that moves between them."""
    resolver = ChangingResolver([["127.0.0.1"], ["127.0.0.2"]])
    config = HTTPFunctionsConfig(
        security=SecurityConfig(block_private_ips=False, require_https=False)
    )
    async with (
        open_endpoint("127.0.0.1") as first,
        open_endpoint("127.0.0.2", port=first.port) as second,
        open_functions_rig(config, resolve=resolver) as rig,
    ):
        first.answer, second.answer = reply("first"), reply("second")
        await rig.register(f"http://moving.example:{first.port}/")
        assert await rig.call() == "first"
        assert await rig.call() == "first", "the connection is kept"
        assert resolver.asked == ["moving.example"]
        assert second.connections == 0
        assert first.requests[0].header("Host") == f"moving.example:{first.port}"


async def test_a_name_that_becomes_private_is_refused_at_the_call() -> None:
    resolver = ChangingResolver([["127.0.0.1"]])
    config = HTTPFunctionsConfig(security=SecurityConfig(require_https=False))
    async with (
        open_endpoint() as endpoint,
        open_functions_rig(config, resolve=resolver) as rig,
    ):
        await rig.register(f"http://moving.example:{endpoint.port}/")
        failure = await rig.failure()
        assert endpoint.connections == 0
    assert failure == ("url_validation_failed", "Private IP blocked")


async def test_a_name_that_nobody_knows_is_refused_at_the_call() -> None:
    async with open_functions_rig(
        HTTPFunctionsConfig(), resolve=ChangingResolver([[]])
    ) as rig:
        await rig.register("https://unknown.example/")
        failure = await rig.failure()
    assert failure == ("url_validation_failed", "DNS lookup failed")


def contexts_for(*names: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of an endpoint with a certificate for names, and of a client that trusts it."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_tls_checks_the_name_while_the_judged_address_is_connected_to(
    address: str,
) -> None:
    names: list[str | None] = []
    server, client = contexts_for("hooks.example")
    server.sni_callback = lambda _socket, name, _context: names.append(name)
    async with (
        open_endpoint(address, tls=server) as endpoint,
        open_functions_rig(
            HTTPFunctionsConfig(security=LOOPBACK),
            resolve=ChangingResolver([[address]]),
            ssl_context=client,
        ) as rig,
    ):
        endpoint.answer = reply("secure")
        await rig.register(f"https://hooks.example:{endpoint.port}/")
        assert await rig.call() == "secure"
        assert await rig.call() == "secure"
        assert names == ["hooks.example"]
        assert endpoint.connections == 1
        assert endpoint.requests[0].header("Host") == f"hooks.example:{endpoint.port}"
        assert len(endpoint.requests[0].pieces) == 1


async def test_a_certificate_for_another_name_is_refused() -> None:
    server, client = contexts_for("other.example")
    async with (
        open_endpoint(tls=server) as endpoint,
        open_functions_rig(
            HTTPFunctionsConfig(security=LOOPBACK),
            resolve=ChangingResolver([["127.0.0.1"]]),
            ssl_context=client,
        ) as rig,
    ):
        await rig.register(f"https://hooks.example:{endpoint.port}/")
        code, message = await rig.failure()
        assert endpoint.requests == []
    assert code == "http_request_failed"
    assert "certificate" in message
