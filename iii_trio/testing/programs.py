"""Generated worker programs: what a few workers do to each other, step by step.

A step names workers and calls by small numbers; whoever runs a program takes them modulo
what exists at that moment and skips a step that makes no sense then. So every list of
steps is a program, and Hypothesis can shrink it freely.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import attrs
from hypothesis import strategies as st

__all__ = [
    "Announce",
    "Answer",
    "Call",
    "Cancel",
    "Connect",
    "Disconnect",
    "Drain",
    "HalfFrame",
    "Lie",
    "Reattach",
    "Register",
    "Sleep",
    "Step",
    "Unregister",
    "simple_programs",
    "worker_programs",
]

WORKERS = 4
"""Places for workers; one connection each."""

FUNCTIONS = ("math::add", "shop::buy", "mail::send")
"""What they may offer: few, so that they meet."""

NAMES = (None, None, None, "alpha", "beta")
"""What they may be called: seldom anything, as the second of a name must leave."""

HowToLeave = Literal["close", "cut", "half-close"]

Token = Literal["right", "wrong", "old"]


@attrs.frozen
class Connect:
    """A worker connects; a link worker announces itself, or leaves that for later."""

    worker: int
    kind: Literal["link", "local"] = "link"
    announces: bool = True
    name: str | None = None
    cancels: bool = False


@attrs.frozen
class Announce:
    """A link worker tells its name."""

    worker: int
    name: str | None


@attrs.frozen
class Reattach:
    """A new connection in a free place says that it was another one.

    Attributes:
        worker: who it says it was: one that is connected, with its token or a wrong
            one, or one that has left, with the token that it once had.
    """

    worker: int
    place: int
    token: Token = "right"  # noqa: S105 - a kind of token


@attrs.frozen
class Register:
    """A worker offers a function."""

    worker: int
    function: str


@attrs.frozen
class Unregister:
    """A worker stops offering a function."""

    worker: int
    function: str


@attrs.frozen
class Call:
    """A worker calls a function.

    Attributes:
        inside: which of the calls it runs makes this one, ``None`` for neither.
        deadline: seconds, ``None`` for none.
        void: nobody waits for the outcome.
    """

    worker: int
    function: str
    inside: int | None = None
    deadline: float | None = None
    void: bool = False


@attrs.frozen
class Answer:
    """A worker ends one of the calls that it runs.

    Attributes:
        code: of an error, ``None`` for a result.
        twice: a link worker says it twice.
    """

    worker: int
    call: int
    code: str | None = None
    twice: bool = False


@attrs.frozen
class Lie:
    """A link worker answers what it was never asked.

    Attributes:
        call: which call of others; ``None`` for an id that does not exist.
    """

    worker: int
    call: int | None


@attrs.frozen
class Cancel:
    """A worker gives up one of the calls that it made."""

    worker: int
    call: int


@attrs.frozen
class HalfFrame:
    """A link worker sends the beginning of a frame, and from then on nothing more."""

    worker: int


@attrs.frozen
class Disconnect:
    """A worker goes away."""

    worker: int
    how: HowToLeave = "cut"


@attrs.frozen
class Sleep:
    """Time passes."""

    seconds: int


@attrs.frozen
class Drain:
    """The engine refuses new calls, and ends what is left after some seconds."""

    seconds: int


Step: TypeAlias = (
    Connect
    | Announce
    | Reattach
    | Register
    | Unregister
    | Call
    | Answer
    | Lie
    | Cancel
    | HalfFrame
    | Disconnect
    | Sleep
    | Drain
)

# Steps are few enough to be listed: drawing one of a list is far cheaper than drawing
# each of its fields, and programs are made by the hundred thousand.

_WORKERS = range(WORKERS)
_CALLS = range(6)
# Never a whole number, so that no deadline falls on the end of a `Sleep`.
_DEADLINES = (None, None, 0.5, 2.5, 30.5)


def simple_programs(*, max_steps: int = 40) -> st.SearchStrategy[list[Step]]:
    """Programs of link workers that connect, register, call, answer and vanish."""
    calls = _each(Call, _WORKERS, FUNCTIONS)
    steps = _mixed(
        _each(Connect, _WORKERS),
        _each(Register, _WORKERS, FUNCTIONS),
        calls,
        calls,
        _each(Answer, _WORKERS, _CALLS),
        _each(Disconnect, _WORKERS),
    )
    return _programs([], steps, max_steps)


def worker_programs(*, max_steps: int = 60) -> st.SearchStrategy[list[Step]]:
    """Programs of everything that workers can do; they begin with a few workers.

    Args:
        max_steps: at least 7, as many as the beginning has.
    """
    beginning = [
        *(st.sampled_from(_connects([place])) for place in _WORKERS),
        *(st.sampled_from(_each(Register, _WORKERS, [name])) for name in FUNCTIONS),
    ]
    calls = _each(
        Call,
        _WORKERS,
        FUNCTIONS,
        (None, *_CALLS),
        _DEADLINES,
        (False, False, False, True),
    )
    answers = _each(
        Answer, _WORKERS, _CALLS, (None, None, "out_of_stock"), (False, True)
    )
    steps = _mixed(calls, calls, answers, _mixed(*_rare_steps()))
    return _programs(beginning, steps, max_steps)


def _programs(
    beginning: list[st.SearchStrategy[Step]], steps: list[Step], max_steps: int
) -> st.SearchStrategy[list[Step]]:
    if max_steps < len(beginning):
        msg = (
            f"max_steps is {max_steps}, less than the {len(beginning)} of the beginning"
        )
        raise ValueError(msg)
    return _of_any_length(beginning, steps, max_steps - len(beginning))


@st.composite
def _of_any_length(
    draw: st.DrawFn,
    beginning: list[st.SearchStrategy[Step]],
    steps: list[Step],
    max_further: int,
) -> list[Step]:
    """Programs of any length, equally likely: plain lists stay short."""
    further = draw(st.integers(0, max_further))
    kinds = [*beginning, *itertools.repeat(st.sampled_from(steps), further)]
    return [draw(kind) for kind in kinds]


def _each(step: Callable[..., Step], *values: Sequence[object]) -> list[Step]:
    """Every step that these values of its fields make; repeated values are weights."""
    return list(itertools.starmap(step, itertools.product(*values)))


def _mixed(*kinds: list[Step]) -> list[Step]:
    """Steps of all kinds, of each kind equally many."""
    share = max(map(len, kinds))
    return [
        step
        for kind in kinds
        for step in itertools.islice(itertools.cycle(kind), share)
    ]


def _connects(places: Sequence[int]) -> list[Step]:
    return _each(
        Connect,
        places,
        ("link", "local"),
        (True, True, True, False),
        NAMES,
        (False, True),
    )


def _rare_steps() -> list[list[Step]]:
    sleeps, drains = _each(Sleep, range(1, 7)), _each(Drain, range(4))
    return [
        _connects(_WORKERS),
        _each(Announce, _WORKERS, NAMES),
        _each(Reattach, _WORKERS, _WORKERS, ("right", "right", "wrong", "old")),
        _each(Register, _WORKERS, FUNCTIONS),
        _each(Unregister, _WORKERS, FUNCTIONS),
        _each(Lie, _WORKERS, (None, *_CALLS)),
        _each(Cancel, _WORKERS, _CALLS),
        _each(HalfFrame, _WORKERS),
        _each(Disconnect, _WORKERS, ("close", "cut", "half-close")),
        [*sleeps * 5, *drains],
    ]
