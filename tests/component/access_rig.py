"""An engine with an auth function that answers what a test wants, and peers behind it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import msgspec
import trio
import trio.testing

from iii_trio.access import Access, ConnectRequest, parse_rules
from iii_trio.protocol import AccessDenied, InvocationResult
from iii_trio.testing import EngineUnderTest, RawPeer, open_test_engine
from iii_trio.worker import Worker

AUTH = "auth::check"


def error_of(outcome: InvocationResult) -> tuple[str, str]:
    """Code and message of a failed call."""
    body = msgspec.json.decode(outcome.error)
    return body["code"], body["message"]


def result_of(outcome: InvocationResult) -> Any:
    """The result of a call that succeeded."""
    assert not bytes(outcome.error), outcome
    return msgspec.json.decode(outcome.result)


@attrs.define(eq=False)
class AccessRig:
    """What `open_access_rig` yields.

    Attributes:
        t: the engine.
        operator: a worker that nothing restricts; it serves the auth function.
        answer: what the auth function answers next; an exception is raised.
        asked: what it was asked.
        rules: the listener's, as in a configuration file.
        options: of `Access`, besides the rules.
    """

    t: EngineUnderTest
    operator: Worker
    answer: Any = attrs.field(factory=dict)
    asked: list[Any] = attrs.field(factory=list)
    rules: dict[str, Any] = attrs.field(factory=lambda: {"auth_function_id": AUTH})
    options: dict[str, Any] = attrs.field(factory=dict)

    async def auth(self, request: Any) -> Any:
        """Serve the auth function."""
        await trio.lowlevel.checkpoint()
        self.asked.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    @property
    def access(self) -> Access:
        """The rules for connections that come now."""
        return Access(rules=parse_rules(self.rules), **self.options)

    def connect(self, request: ConnectRequest | None = None) -> RawPeer:
        """Connect a peer that the rules restrict."""
        return self.t.connect_raw_peer(access=self.access, request=request)

    async def enter(self, name: str | None = None, **answer: Any) -> RawPeer:
        """Connect a peer whose session is ``answer``, wait until it is let in."""
        self.answer = answer
        peer = self.connect()
        await peer.accepted()
        peer.announce(name)
        await self.settle()
        return peer

    async def call(
        self, peer: RawPeer, function_id: str, data: Any = None, **fields: Any
    ) -> InvocationResult:
        """Let a peer call."""
        return await peer.outcome(peer.call(function_id, data or {}, **fields))

    async def serve(self, function_id: str, value: Any = None) -> list[Any]:
        """Let the operator serve a function; give the list of what it is called with."""
        got: list[Any] = []

        async def handler(payload: Any) -> Any:
            await trio.lowlevel.checkpoint()
            got.append(payload)
            if isinstance(value, Exception):
                raise value
            return value

        self.operator.register_function(function_id, handler)
        await trio.lowlevel.checkpoint()
        return got

    @property
    def denied(self) -> list[tuple[str, str]]:
        """What was refused so far: action and subject."""
        return [
            (event.action, event.subject)
            for event in self.t.events.events
            if isinstance(event, AccessDenied)
        ]

    def has(self, function_id: str, namespace: str = "default") -> bool:
        """Tell whether a function is registered."""
        return self.t.engine.registry.find(namespace, function_id) is not None

    async def settle(self) -> None:
        """Wait until all that was started is done."""
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def open_access_rig() -> AsyncIterator[AccessRig]:
    """Open an engine whose auth function answers ``rig.answer``."""
    async with open_test_engine() as t, t.open_worker("operator") as operator:
        rig = AccessRig(t, operator)
        operator.register_function(AUTH, rig.auth)
        yield rig
