"""What the state functions take and what a `state` trigger is configured with. Pure."""

from typing import Any

import attrs
import msgspec

from iii_trio.builtins._payloads import ALIAS
from iii_trio.builtins._update_ops import UpdateOp

JSON = Any


@attrs.frozen
class SetInput:
    """Input of ``state::set``. ``data`` is a second name of ``value``."""

    scope: str
    key: str
    value: JSON = attrs.field(metadata={ALIAS: "data"})


@attrs.frozen
class KeyInput:
    """Input of ``state::get`` and ``state::delete``."""

    scope: str
    key: str


@attrs.frozen
class UpdateInput:
    """Input of ``state::update``."""

    scope: str
    key: str
    ops: list[UpdateOp]


@attrs.frozen
class CompareAndSetInput:
    """Input of ``state::compare_and_set``; no ``expected``: the key must not exist."""

    scope: str
    key: str
    value: JSON
    expected: JSON = msgspec.UNSET


@attrs.frozen
class ListInput:
    """Input of ``state::list``."""

    scope: str


@attrs.frozen
class ListGroupsInput:
    """Input of ``state::list_groups``: any object."""


@attrs.frozen
class StateTriggerConfig:
    """Which writes a trigger is about; ``None`` matches all.

    The condition is run by the worker library; it is here for its type to be checked.
    """

    scope: str | None = None
    key: str | None = None
    condition_function_id: str | None = None

    def matches(self, scope: str, key: str) -> bool:
        """Whether a write to that key is one of them."""
        return self.scope in (None, scope) and self.key in (None, key)


def json_equal(left: JSON, right: JSON) -> bool:
    """Whether two decoded JSON values are the same.

    Numbers compare by value, so 1 is 1.0, as for clients that have one number type;
    Python's ``True == 1`` does not hold in JSON.
    """
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(json_equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(
            json_equal(item, right[key]) for key, item in left.items()
        )
    return bool(left == right)
