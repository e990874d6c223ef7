"""Trigger types that a worker provides, and the triggers bound to them."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, final

import attrs
import trio

from iii_trio.errors import RegistrationError
from iii_trio.protocol import CONDITION_KEY, condition_of
from iii_trio.transport import TriggerSpec
from iii_trio.worker._json import JSON, InvalidPayloadError
from iii_trio.worker._serve import logging_failures, refusing


@attrs.frozen(kw_only=True)
class Trigger:
    """One binding, as its provider sees it.

    Attributes:
        trigger_id: unique in the engine.
        trigger_type: the type that the provider registered.
        function_id: the function to call when the event happens.
        config: an instance of the type's ``config`` class, else a JSON value.
        metadata: JSON value for the handler, or ``None``.
        namespace: where the function resolves.
        condition: function that decides about each event, or ``None``.
        owner_worker_id: who bound it, if the engine told.
        lost: only in the unbind callback: nobody ended the binding; its worker was lost,
            or the connection to the engine, or the trigger type is no longer provided.
    """

    trigger_id: str
    trigger_type: str
    function_id: str
    config: Any = None
    metadata: JSON = None
    namespace: str = "default"
    condition: str | None = None
    owner_worker_id: str | None = None
    lost: bool = False


@final
class _NotDelivered:
    def __repr__(self) -> str:
        return "NOT_DELIVERED"

    def __bool__(self) -> bool:
        return False


NOT_DELIVERED: Final = _NotDelivered()
"""What `Worker.emit` gives when the trigger's condition said no, or failed."""

BindCallback = Callable[[Trigger], Awaitable[None] | None]
UnbindCallback = Callable[[Trigger], None]


def with_condition(config: JSON, condition: JSON) -> JSON:
    """Put a condition into a trigger's config.

    Raises:
        TypeError: there is a condition that is no function id, or whose config is no
            object.
    """
    if condition is None:
        return config
    if not isinstance(condition, str):
        msg = f"a condition is the id of a function, not {condition!r}"
        raise TypeError(msg)
    if config is None:
        return {CONDITION_KEY: condition}
    if not isinstance(config, dict):
        msg = f"a condition needs a config that is an object, not {config!r}"
        raise TypeError(msg)
    return {**config, CONDITION_KEY: condition}


@final
@attrs.define(eq=False)
class Provider:
    """A trigger type of this worker and what to call for its triggers."""

    trigger_type: str
    bind: BindCallback
    unbind: UnbindCallback | None = None
    structure: Callable[[JSON], Any] | None = None

    def trigger_from(self, spec: TriggerSpec) -> Trigger:
        """Make the trigger that the callbacks get.

        Raises:
            RegistrationError: the config does not fit.
        """
        config = spec.config
        condition = condition_of(config)
        if self.structure is not None:
            try:
                config = self.structure({} if config is None else config)
            except InvalidPayloadError as exc:
                msg = f"config of trigger type {self.trigger_type!r}: {exc}"
                raise RegistrationError(msg) from exc
        return Trigger(
            trigger_id=spec.trigger_id,
            trigger_type=spec.trigger_type,
            function_id=spec.function_id,
            config=config,
            metadata=spec.metadata,
            namespace=spec.namespace,
            condition=condition,
            owner_worker_id=spec.owner_worker_id,
        )


@final
@attrs.define(eq=False)
class _Bound:
    provider: Provider
    trigger: Trigger
    ready: bool = False  # False while an async bind is at it
    asked: set[trio.CancelScope] = attrs.field(factory=set)  # around its condition
    done: trio.Event = attrs.field(factory=trio.Event)  # or is no longer


@final
class ProviderTable:
    """The trigger types of one worker, and which triggers are bound to them now."""

    def __init__(self) -> None:
        self._providers: dict[str, Provider] = {}
        self._bound: dict[str, _Bound] = {}
        # By trigger id the latest whose async bind is not over, also of those unbound.
        self._under_way: dict[str, _Bound] = {}

    def add(self, provider: Provider) -> Provider | None:
        """Add or replace a type; gives the one replaced."""
        previous = self._providers.get(provider.trigger_type)
        self._providers[provider.trigger_type] = provider
        return previous

    def remove(self, trigger_type: str) -> None:
        """Drop a type and unbind what is bound to it. Unknown ones are ignored."""
        self._providers.pop(trigger_type, None)
        for trigger_id, bound in list(self._bound.items()):
            if bound.trigger.trigger_type == trigger_type:
                self.unbind(trigger_id, lost=True)

    def bind(self, spec: TriggerSpec) -> Awaitable[None] | None:
        """Bind a trigger; one with the same id is unbound first.

        Where an async bind of that id is still at it, though it was unbound meanwhile,
        it is left to end and unbound before the new one begins: providers know triggers
        by their ids.

        Raises:
            RegistrationError: no such type here, or the provider refused.
        """
        self.unbind(spec.trigger_id)
        provider = self._providers.get(spec.trigger_type)
        if provider is None:
            raise RegistrationError(
                f"Trigger type not found: {spec.trigger_type}",
                code="trigger_type_not_found",
            )
        bound = _Bound(provider, provider.trigger_from(spec))
        # Kept before the callback runs: an event may come from inside of it.
        self._bound[spec.trigger_id] = bound
        previous = self._under_way.get(spec.trigger_id)
        if previous is None:
            return self._begin(bound)
        self._under_way[spec.trigger_id] = bound
        return self._begin_after(previous, bound)

    async def _begin_after(self, previous: _Bound, bound: _Bound) -> None:
        try:
            await previous.done.wait()
            if self._bound.get(bound.trigger.trigger_id) is bound:
                waiting = self._begin(bound)
                if waiting is not None:
                    await waiting
        finally:
            self._end(bound)

    def _begin(self, bound: _Bound) -> Awaitable[None] | None:
        kind = bound.trigger.trigger_type
        with self._kept_if_fine(bound), refusing(f"bind of {kind!r}"):
            waiting = bound.provider.bind(bound.trigger)
            if waiting is None:
                bound.ready = True
                return None
        self._under_way[bound.trigger.trigger_id] = bound
        return self._finish(bound, waiting)

    async def _finish(self, bound: _Bound, waiting: Awaitable[None]) -> None:
        try:
            with (
                self._kept_if_fine(bound),
                refusing(f"bind of {bound.trigger.trigger_type!r}"),
            ):
                await waiting
            bound.ready = True
            if self._bound.get(bound.trigger.trigger_id) is not bound:
                # Unbound or replaced while the provider was at it.
                _run_unbind(bound)
        finally:
            self._end(bound)

    def _end(self, bound: _Bound) -> None:
        """Its bind is over, whatever came of it. Idempotent."""
        bound.done.set()
        if self._under_way.get(bound.trigger.trigger_id) is bound:
            del self._under_way[bound.trigger.trigger_id]

    @contextmanager
    def _kept_if_fine(self, bound: _Bound) -> Iterator[None]:
        fine = False
        try:
            yield
            fine = True
        finally:
            trigger_id = bound.trigger.trigger_id
            if not fine and self._bound.get(trigger_id) is bound:
                del self._bound[trigger_id]

    @contextmanager
    def while_bound(self, trigger: Trigger) -> Iterator[trio.CancelScope]:
        """Cancel what is in the block when a trigger is unbound or replaced."""
        bound = self._bound.get(trigger.trigger_id)
        asked = set() if bound is None else bound.asked
        with trio.CancelScope() as scope:
            asked.add(scope)
            try:
                yield scope
            finally:
                asked.remove(scope)

    def unbind(self, trigger_id: str, *, lost: bool = False) -> None:
        """Unbind a trigger. Unknown ids are ignored."""
        bound = self._bound.pop(trigger_id, None)
        if bound is None:
            return
        for scope in bound.asked:
            scope.cancel(reason=f"trigger {trigger_id} is gone")
        if lost:
            bound.trigger = attrs.evolve(bound.trigger, lost=True)
        if bound.ready:
            _run_unbind(bound)


def _run_unbind(bound: _Bound) -> None:
    if bound.provider.unbind is not None:
        with logging_failures(f"unbind of {bound.trigger.trigger_type!r}"):
            bound.provider.unbind(bound.trigger)
