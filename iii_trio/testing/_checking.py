"""How conformance checks of stores ask, cancel, and say which rule was broken.

They raise by themselves instead of asserting, so that ``python -O`` checks the same.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
import trio

from iii_trio.testing._steps import CancelAtStep

T = TypeVar("T")

SHOWN: Final = 300
"""Characters of a value that the text of a failure may show."""

MAX_STEPS: Final = 1000
"""A write is cancelled before each of so many steps; whatever takes more of them is busy
with something else as well."""


def expect(rule: str, what: str, seen: object, wanted: object) -> None:
    """Raise an ``AssertionError`` that names the rule, unless both are the same."""
    if not is_same(seen, wanted):
        msg = f"{rule}: {what} gave {shown(seen)} instead of {shown(wanted)}"
        raise AssertionError(msg)


def require(holds: bool, text: str) -> None:
    """Raise an ``AssertionError`` with that text, unless something holds."""
    if not holds:
        raise AssertionError(text)


@contextmanager
def noting(text: str) -> Iterator[None]:
    """Add a note to whatever is raised in the block."""
    try:
        yield
    except BaseException as exc:
        exc.add_note(text)
        raise


async def expect_from(
    rule: str,
    wanted: object,
    method: Callable[..., Awaitable[T]],
    *args: Any,  # noqa: ANN401
    **kwargs: Any,  # noqa: ANN401
) -> T:
    """Call a method and `expect` its result."""
    seen = await method(*args, **kwargs)
    if not is_same(seen, wanted):
        expect(rule, called(method, *args, **kwargs), seen, wanted)
    return seen


def is_same(seen: object, wanted: object) -> bool:
    """Tell whether they are equal and of the same types: a bytearray is no bytes."""
    if isinstance(wanted, float):
        return seen == wanted
    if not isinstance(seen, type(wanted)):
        return False
    if isinstance(wanted, msgspec.Struct):
        return is_same(msgspec.structs.astuple(seen), msgspec.structs.astuple(wanted))  # type: ignore[arg-type]
    if isinstance(wanted, list | tuple):
        return len(seen) == len(wanted) and all(map(is_same, seen, wanted))  # type: ignore[arg-type,call-overload]
    return seen == wanted


def called(method: Callable[..., object], *args: object, **kwargs: object) -> str:
    """How a call looks in the text of a failure."""
    name = getattr(method, "__name__", repr(method))
    given = [shown(one) for one in args]
    given += [f"{key}={shown(one)}" for key, one in kwargs.items()]
    return f"{name}({', '.join(given)})"


def shown(value: object) -> str:
    """How a value looks in the text of a failure, shortened in its middle."""
    value = value.func if isinstance(value, partial) else value
    text: str = getattr(value, "__name__", None) or repr(value)
    if len(text) > SHOWN:
        half = SHOWN // 2
        text = f"{text[:half]}...({len(text)} characters)...{text[-half:]}"
    return text


CHECKPOINT: Final = "every method is a checkpoint, where a cancelled scope ends it"
UNDONE: Final = "a write that raises Cancelled did not happen, not even in part"
DONE: Final = "a write that returns happened completely, cancelled or not"


def refuse_full(held: object) -> None:
    """Refuse to check a store that holds something: it would be removed."""
    if held:
        msg = (
            f"the store holds {shown(held)}: give the check an empty one, because it "
            "removes what it finds"
        )
        raise ValueError(msg)


async def check_cancelled_read(
    method: Callable[..., Awaitable[object]],
    *args: Any,  # noqa: ANN401
) -> None:
    """Check that a method is a checkpoint."""
    with trio.CancelScope() as scope:
        scope.cancel(reason="checking that it is a checkpoint")
        await method(*args)
    require(scope.cancelled_caught, f"{CHECKPOINT}: {called(method, *args)} went on")


async def check_cancelled_write(
    method: Callable[..., Awaitable[object]],
    *args: Any,  # noqa: ANN401
    prepare: Callable[[], Awaitable[object]],
    look: Callable[[], Awaitable[object]],
    after: object,
    **kwargs: Any,  # noqa: ANN401
) -> None:
    """Cancel a write before it begins, and before each step until it is done.

    Args:
        method: the write.
        args: its arguments.
        prepare: makes the store as it is to be before the write, each time.
        look: gives what the store holds.
        after: what it gives when the write happened.
        kwargs: its arguments by name.
    """
    await trio.lowlevel.checkpoint()
    call = called(method, *args, **kwargs)
    for step in range(MAX_STEPS):
        await prepare()
        before = await look()
        instrument = CancelAtStep(step + 1)
        with instrument.scope as scope:
            trio.lowlevel.add_instrument(instrument)
            instrument.begin()
            try:
                await method(*args, **kwargs)
            finally:
                trio.lowlevel.remove_instrument(instrument)
        rule, wanted = (UNDONE, before) if scope.cancelled_caught else (DONE, after)
        what = f"looking after {call}, cancelled before its step {step},"
        expect(rule, what, await look(), wanted)
        require(scope.cancelled_caught or step > 0, f"{CHECKPOINT}: {call} went on")
        if not scope.cancel_called:
            break
