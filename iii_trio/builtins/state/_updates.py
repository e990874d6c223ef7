"""Writes that depend on the old value: in a store of ours, as one step."""

from typing import Any, Final, Protocol, final

import attrs
import msgspec

from iii_trio.adapters import Change, KeyValueStore
from iii_trio.builtins._update_ops import UpdateError, apply_update
from iii_trio.builtins.state._inputs import (
    CompareAndSetInput,
    UpdateInput,
    json_equal,
)

JSON = Any

encode: Final = msgspec.json.encode
decode: Final = msgspec.json.decode


class Updates(Protocol):
    """Whoever can do them where the values are."""

    async def update(self, given: UpdateInput, ops: JSON) -> tuple[Change, list[JSON]]:
        """Apply operations; also the errors of those that were skipped.

        Args:
            given: where, and the operations.
            ops: the same as JSON.

        Raises:
            AdapterError: it failed.
        """

    async def compare_and_set(
        self, given: CompareAndSetInput, value: bytes
    ) -> tuple[bool, Change]:
        """Store a value if the old one is as expected; whether it was.

        Raises:
            AdapterError: it failed.
        """


@final
@attrs.define(eq=False)
class StoredUpdates:
    """In a key-value store."""

    _store: KeyValueStore

    async def update(self, given: UpdateInput, ops: JSON) -> tuple[Change, list[JSON]]:
        """Apply operations."""
        del ops
        errors: list[UpdateError] = []

        def apply(old: bytes | None) -> bytes:
            before = None if old is None else decode(old)
            updated = apply_update(before, given.ops, exists=old is not None)
            errors[:] = updated.errors
            return encode(updated.value)

        change = await self._store.update(given.scope, given.key, apply)
        return change, [error.to_json() for error in errors]

    async def compare_and_set(
        self, given: CompareAndSetInput, value: bytes
    ) -> tuple[bool, Change]:
        """Store a value if the old one is as expected."""
        swapped = False

        def swap(old: bytes | None) -> bytes | None:
            nonlocal swapped
            swapped = (
                given.expected is msgspec.UNSET
                if old is None
                else given.expected is not msgspec.UNSET
                and json_equal(decode(old), given.expected)
            )
            return value if swapped else None

        change = await self._store.update(given.scope, given.key, swap)
        return swapped, change
