"""State that another engine keeps: its ``state::*`` functions are asked.

Its own triggers fire over there, ours fire here: for the writes that went through here.
"""

from typing import Any, Final, final

import attrs
import msgspec

from iii_trio.adapters import Change
from iii_trio.builtins._payloads import read_answer
from iii_trio.builtins._remote_engine import RemoteEngine
from iii_trio.builtins.state._inputs import CompareAndSetInput, UpdateInput

JSON = Any

_NULL: Final = b"null"


class _Written(msgspec.Struct):
    old_value: msgspec.Raw = msgspec.Raw(_NULL)
    new_value: msgspec.Raw = msgspec.Raw(_NULL)
    errors: list[Any] = msgspec.field(default_factory=list)


class _Compared(msgspec.Struct):
    swapped: bool
    value: msgspec.Raw = msgspec.Raw(_NULL)


class _Groups(msgspec.Struct):
    groups: list[str]


@final
@attrs.define(eq=False)
class RemoteState:
    """Reads and writes as a store of ours has them, and `Updates`.

    A write that was sent is waited for though its caller is cancelled, as by a store; but
    whether one that failed happened is not known. A key that does not exist, and one that
    holds a null, look the same from here where an old value is told.
    """

    _remote: RemoteEngine

    async def get(self, scope: str, key: str) -> bytes | None:
        """The value, or ``None``."""
        fields = {"scope": scope, "key": key}
        return await self._remote.request("state::get", fields) or None

    async def set(self, scope: str, key: str, value: bytes) -> Change:
        """Store a value."""
        fields = {"scope": scope, "key": key, "value": msgspec.Raw(value)}
        answer = await self._remote.request("state::set", fields, writes=True)
        return Change(_present(read_answer(answer, _Written).old_value), value)

    async def delete(self, scope: str, key: str) -> Change:
        """Remove a key."""
        fields = {"scope": scope, "key": key}
        old = await self._remote.request("state::delete", fields, writes=True)
        return Change(old or None, None)

    async def items(self, scope: str) -> list[tuple[str, bytes]]:
        """The values of a scope; their keys are not told, and ``""`` here."""
        answer = await self._remote.request("state::list", {"scope": scope})
        return [("", bytes(one)) for one in read_answer(answer, list[msgspec.Raw])]

    async def spaces(self) -> list[str]:
        """The scopes."""
        answer = await self._remote.request("state::list_groups", {})
        return read_answer(answer, _Groups).groups

    async def update(self, given: UpdateInput, ops: JSON) -> tuple[Change, list[JSON]]:
        """Apply operations over there, in one step."""
        fields = {"scope": given.scope, "key": given.key, "ops": ops}
        answer = await self._remote.request("state::update", fields, writes=True)
        written = read_answer(answer, _Written)
        change = Change(_present(written.old_value), bytes(written.new_value))
        return change, written.errors

    async def compare_and_set(
        self, given: CompareAndSetInput, value: bytes
    ) -> tuple[bool, Change]:
        """Store a value over there if the old one is as expected."""
        fields: dict[str, JSON] = {
            "scope": given.scope,
            "key": given.key,
            "value": msgspec.Raw(value),
        }
        old = None
        if given.expected is not msgspec.UNSET:
            fields["expected"] = given.expected
            old = msgspec.json.encode(given.expected)
        answer = await self._remote.request(
            "state::compare_and_set", fields, writes=True
        )
        compared = read_answer(answer, _Compared)
        return compared.swapped, Change(old, _present(compared.value))


def _present(value: msgspec.Raw) -> bytes | None:
    text = bytes(value)
    return None if text == _NULL else text
