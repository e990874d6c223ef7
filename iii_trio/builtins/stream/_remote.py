"""Streams that another engine keeps: its ``stream::*`` functions are asked.

Events go through a topic of that engine, and come from there, so that the subscribers
of all engines that share it hear the same.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final, TypeVar, final

import attrs
import msgspec
import trio

from iii_trio.builtins._payloads import InputError, read_answer, structure
from iii_trio.builtins._remote_engine import TIMEOUT, RemoteEngine
from iii_trio.builtins.stream._inputs import Place
from iii_trio.builtins.stream._providers import Providers
from iii_trio.builtins.stream._subscriptions import Subscriptions
from iii_trio.builtins.stream._triggers import StreamTriggers
from iii_trio.errors import AdapterError, InvocationError

JSON = Any
T = TypeVar("T")

logger = logging.getLogger("iii_trio.builtins.stream")

TOPIC: Final = "stream.events"
"""Of pub/sub, over there; that of the reference engine."""


class _Stream(msgspec.Struct):
    id: str
    groups: list[str]


class _Streams(msgspec.Struct):
    stream: list[_Stream]


class _Envelope(msgspec.Struct):
    streamName: str  # noqa: N815 - on the wire
    groupId: str  # noqa: N815 - on the wire
    id: str | None = None


@final
@attrs.define(eq=False)
class RemoteStreams:
    """Takes the place of the store for every stream, behind custom providers here."""

    _remote: RemoteEngine
    _local: Providers

    def has(self, operation: str, stream_name: str) -> bool:
        """Always: the store is never asked."""
        del operation, stream_name
        return True

    async def read(
        self,
        operation: str,
        fields: Mapping[str, JSON],
        *,
        deadline: float | None = None,
    ) -> bytes | None:
        """Ask a provider here, else the other engine.

        Raises:
            AdapterError: the other engine failed.
            FunctionFailedError: the provider failed.
        """
        answer = await self._local.read(operation, fields, deadline=deadline)
        if answer is not None:
            return answer
        text, seconds = msgspec.json.encode(fields), min(deadline or TIMEOUT, TIMEOUT)
        try:
            return await self._remote.invoke_json(
                f"stream::{operation}", text, seconds=seconds
            )
        except InvocationError as exc:
            raise AdapterError(f"{self._remote.url}: {exc}") from exc

    async def write(
        self, operation: str, fields: Mapping[str, JSON], kind: type[T]
    ) -> T | None:
        """Let a provider here write, else the other engine.

        Raises:
            AdapterError: the other engine failed.
            ProviderError: the provider failed.
        """
        written = await self._local.write(operation, fields, kind)
        if written is not None:
            return written
        answer = await self._remote.request(f"stream::{operation}", fields, writes=True)
        try:
            return structure(msgspec.json.decode(answer or b"null"), kind)
        except InputError as exc:
            msg = f"the other engine's answer does not fit: {exc}"
            raise AdapterError(msg) from exc

    async def streams(self) -> dict[str, list[str]] | None:
        """The groups of every stream over there, both sorted."""
        answer = await self._remote.request("stream::list_all", {})
        listed = read_answer(answer, _Streams).stream
        return {one.id: sorted(one.groups) for one in sorted(listed, key=_id_of)}


def _id_of(stream: _Stream) -> str:
    return stream.id


@final
@attrs.define(eq=False)
class RemoteEvents:
    """Events on their way there and back."""

    _remote: RemoteEngine
    _triggers: StreamTriggers
    _subscriptions: Subscriptions

    def announce(self, place: Place, message: JSON) -> None:
        """Fire the triggers here, and send the event on its way. Sync."""
        self._triggers.fire(place, message)
        try:
            self._remote.fire("publish", {"topic": TOPIC, "data": message})
        except InvocationError as exc:
            logger.warning(
                "an event of %s/%s reaches no subscriber: %s",
                place.stream_name,
                place.group_id,
                exc,
            )

    def hear(self, message: msgspec.Raw) -> None:
        """Give an event that came to the subscribers here; others are ignored."""
        try:
            told = msgspec.json.decode(message, type=_Envelope)
        except (msgspec.DecodeError, RecursionError):
            return
        frame = bytes(message)
        place = Place(told.streamName, told.groupId, told.id)
        for subscription in self._subscriptions.matching(place):
            subscription.deliver(frame)

    async def listen(self, relay: str) -> None:
        """Hear events from now on.

        Args:
            relay: id of the function over there that hands them on; unique.
        """

        async def hear(message: msgspec.Raw) -> None:
            self.hear(message)
            await trio.lowlevel.checkpoint()

        self._remote.serve(relay, hear)
        await self._remote.bind(relay, "subscribe", relay, {"topic": TOPIC})
