"""Functions and their owners by (namespace, id): claim, take over, release.

Pure: no loop, no clock, no sockets. The rules (protocol, section 3.4):

- the first live owner keeps an id; the same owner may register again, which replaces;
- an owner that is gone or going is taken over;
- ``engine::`` ids belong to the engine and to local workers that were given them;
- the ids of a queue provider may be taken from the bundled one by a connected worker,
  and fall back to the bundled one when that worker leaves; a bundled one that starts
  meanwhile waits for that.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, Protocol, TypeVar, final

import attrs

from iii_trio.engine._tallies import Tally
from iii_trio.protocol import DEFAULT_NAMESPACE, function_field, invoke_field

PROVIDER_IDS: Final = frozenset(
    {
        "engine::queue::enqueue",
        "engine::queue::list_topics",
        "engine::queue::topic_stats",
        "engine::queue::dlq_topics",
        "engine::queue::dlq_messages",
        "iii::durable::publish",
        "iii::queue::redrive",
        "iii::queue::redrive_message",
        "iii::queue::discard_message",
        "queue::define",
    }
)
"""Ids that a standalone queue worker registers; it may take them from ours."""


class Owner(Protocol):
    """Whoever holds functions: an attached worker, or the engine itself."""

    @property
    def worker_id(self) -> str:
        """The owner's public id."""

    @property
    def is_live(self) -> bool:
        """False from the moment its teardown began."""

    @property
    def is_local(self) -> bool:
        """True for workers inside the engine's process."""


OwnerT = TypeVar("OwnerT", bound=Owner)


@final
@attrs.define(eq=False, kw_only=True)
class Function(Generic[OwnerT]):
    """One registered function.

    Attributes:
        request_format: JSON text of its schema, ``b""`` if none; so ``response_format``.
        invocation: how it is performed, JSON value with secrets; ``None``: its owner
            runs it.
        callee: the port that its calls go to: its owner's, if that runs it.
        run: what performs its calls, if its owner does not.
        brief: see `FunctionSpec`.
        weight: what it counts as among those of its owner.
        known_as: what its owner calls it, where that is another id.
        field: its id as a member of results, made once for the hot path.
        serial: a number that no other registration has or had.
        invoke_field: the same for calls, with the id that its owner knows.
    """

    function_id: str
    namespace: str
    owner: OwnerT
    description: str | None = None
    request_format: bytes = b""
    response_format: bytes = b""
    metadata: Any = None
    invocation: Any = attrs.field(default=None, repr=False)
    brief: bool = False
    weight: int = 1
    callee: Any = attrs.field(init=False)
    run: Any = attrs.field(default=None, init=False)
    tally: Tally | None = attrs.field(default=None, init=False, repr=False)
    serial: int = attrs.field(default=0, init=False, repr=False)
    known_as: str | None = None
    field: bytes = attrs.field(init=False)
    invoke_field: bytes = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.callee = self.owner
        self.field = function_field(self.function_id)
        self.invoke_field = invoke_field(self.known_as or self.function_id)

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and id."""
        return self.namespace, self.function_id


@final
@attrs.frozen
class Conflict:
    """A claim was refused; ``owner_worker_id`` is ``""`` for ids of the engine."""

    owner_worker_id: str


@final
class Registry(Generic[OwnerT]):
    """Every function that can be called now.

    Attributes:
        find_default: `find` in the namespace ``default``, by id alone.
    """

    def __init__(self) -> None:
        self._namespaces: dict[str, dict[str, Function[OwnerT]]] = {
            DEFAULT_NAMESPACE: {}
        }
        # The dict of this namespace lives as long as the registry.
        self.find_default: Callable[[str], Function[OwnerT] | None] = self._namespaces[
            DEFAULT_NAMESPACE
        ].get
        self._owned: dict[OwnerT, dict[tuple[str, str], Function[OwnerT]]] = {}
        self._weights: dict[OwnerT, int] = {}
        self._shadowed: dict[tuple[str, str], Function[OwnerT]] = {}
        self._reserved: dict[str, str] = {}
        self._serial = 0

    def __len__(self) -> int:
        return sum(map(len, self._namespaces.values()))

    def __iter__(self) -> Iterator[Function[OwnerT]]:
        for functions in self._namespaces.values():
            yield from functions.values()

    def find(self, namespace: str, function_id: str) -> Function[OwnerT] | None:
        """The function, or ``None``."""
        functions = self._namespaces.get(namespace)
        return None if functions is None else functions.get(function_id)

    def namespaces_of(self, function_id: str) -> list[str]:
        """Every namespace that has this id, sorted."""
        return sorted(function.namespace for function in self.all_of(function_id))

    def all_of(self, function_id: str) -> list[Function[OwnerT]]:
        """The functions of this id, in every namespace that has it."""
        return [
            ids[function_id] for ids in self._namespaces.values() if function_id in ids
        ]

    def weight_of(self, owner: OwnerT) -> int:
        """What the functions of one owner count as together."""
        return self._weights.get(owner, 0)

    def owned_by(self, owner: OwnerT) -> list[Function[OwnerT]]:
        """The functions of one owner, in the order of registration."""
        return list(self._owned.get(owner, {}).values())

    def reserve(self, function_ids: dict[str, str]) -> None:
        """Keep ids of ``default`` for local workers, even while nobody serves them.

        Args:
            function_ids: id to the label of who will serve it, for people.
        """
        self._reserved.update(function_ids)

    def unreserve(self, function_ids: list[str]) -> None:
        """Give reserved ids free."""
        for function_id in function_ids:
            self._reserved.pop(function_id, None)

    def claim(self, function: Function[OwnerT]) -> Conflict | None:
        """Register a function for its owner, by the rules above.

        Returns:
            ``None`` when it is registered, else why not.
        """
        held_by_engine = self._refuse_reserved(function)
        if held_by_engine is not None:
            return held_by_engine
        current = self.find(function.namespace, function.function_id)
        if current is not None and current.owner is not function.owner:
            if current.owner.is_live and self._may_shadow(current, function):
                return self._claim_below(function)
            if current.owner.is_live and not self._may_shadow(function, current):
                return Conflict(current.owner.worker_id)
            if current.owner.is_live:
                self._shadowed[function.key] = current
            self._disown(current)
        self._put(function)
        return None

    def release(
        self, namespace: str, function_id: str, owner: OwnerT
    ) -> Function[OwnerT] | None:
        """Remove a function if it is still this owner's.

        Returns:
            What was removed, ``None`` if there was nothing of this owner to remove.
        """
        key = namespace, function_id
        shadowed = self._shadowed.get(key)
        if shadowed is not None and shadowed.owner is owner:
            del self._shadowed[key]
            return shadowed
        function = self.find(namespace, function_id)
        if function is None or function.owner is not owner:
            return None
        del self._namespaces[namespace][function_id]
        if not self._namespaces[namespace] and namespace != DEFAULT_NAMESPACE:
            del self._namespaces[namespace]
        self._disown(function)
        if key in self._shadowed:
            self._put(self._shadowed.pop(key))
        return function

    def release_all(self, owner: OwnerT) -> list[Function[OwnerT]]:
        """Remove everything that is still this owner's."""
        shadowed = [f for f in self._shadowed.values() if f.owner is owner]
        mine = [*self.owned_by(owner), *shadowed]
        for function in mine:
            self.release(*function.key, owner)
        return mine

    def _claim_below(self, function: Function[OwnerT]) -> Conflict | None:
        """Register a function that another one hides for the time being."""
        hidden = self._shadowed.get(function.key, function)
        if hidden.owner is not function.owner and hidden.owner.is_live:
            return Conflict(hidden.owner.worker_id)
        self._shadowed[function.key] = function
        return None

    def _put(self, function: Function[OwnerT]) -> None:
        self._serial += 1
        function.serial = self._serial
        functions = self._namespaces.setdefault(function.namespace, {})
        functions[function.function_id] = function
        owner = function.owner
        owned = self._owned.setdefault(owner, {})
        replaced = owned.get(function.key)
        owned[function.key] = function
        grown = function.weight - (0 if replaced is None else replaced.weight)
        self._weights[owner] = self._weights.get(owner, 0) + grown

    def _disown(self, function: Function[OwnerT]) -> None:
        owner = function.owner
        owned = self._owned[owner]
        del owned[function.key]
        self._weights[owner] -= function.weight
        if not owned:
            del self._owned[owner], self._weights[owner]

    def _refuse_reserved(self, function: Function[OwnerT]) -> Conflict | None:
        function_id = function.function_id
        if function_id.startswith("engine::") and (
            function.namespace != DEFAULT_NAMESPACE
            or (not function.owner.is_local and function_id not in PROVIDER_IDS)
        ):
            return Conflict("")
        if (
            function.namespace == DEFAULT_NAMESPACE
            and function_id in self._reserved
            and function_id not in PROVIDER_IDS
            and not function.owner.is_local
        ):
            return Conflict("")
        return None

    @staticmethod
    def _may_shadow(new: Function[OwnerT], current: Function[OwnerT]) -> bool:
        return (
            new.function_id in PROVIDER_IDS
            and not new.owner.is_local
            and current.owner.is_local
        )
