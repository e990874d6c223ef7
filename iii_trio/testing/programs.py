"""Generated worker programs: what a few workers do to each other, step by step.

A step names workers and calls by small numbers; whoever runs a program takes them modulo
what exists at that moment and skips a step that makes no sense then. So every list of
steps is a program, and Hypothesis can shrink it freely.
"""

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

HowToLeave = Literal["close", "cut", "half-close", "mid-frame"]


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
    """A new connection in a free place says that it was another one."""

    worker: int
    place: int
    right_token: bool


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
    | Disconnect
    | Sleep
    | Drain
)

_workers = st.integers(0, WORKERS - 1)
_functions = st.sampled_from(FUNCTIONS)
_names = st.sampled_from(NAMES)
_calls = st.integers(0, 5)
# Never a whole number, so that no deadline falls on the end of a `Sleep`.
_deadlines = st.sampled_from([None, None, 0.5, 2.5, 30.5])


def _lists(
    steps: st.SearchStrategy[Step], max_size: int
) -> st.SearchStrategy[list[Step]]:
    """Lists of any size up to ``max_size``, equally likely; plain lists stay short."""
    return st.integers(0, max_size).flatmap(
        lambda size: st.lists(steps, min_size=size, max_size=size)
    )


def simple_programs(*, max_steps: int = 40) -> st.SearchStrategy[list[Step]]:
    """Programs of link workers that connect, register, call, answer and vanish."""
    calls = st.builds(Call, _workers, _functions)
    kinds: list[st.SearchStrategy[Step]] = [
        st.builds(Connect, _workers),
        st.builds(Register, _workers, _functions),
        calls,
        calls,
        st.builds(Answer, _workers, _calls),
        st.builds(Disconnect, _workers),
    ]
    return _lists(_one_of_equally(kinds), max_steps)


def worker_programs(*, max_steps: int = 60) -> st.SearchStrategy[list[Step]]:
    """Programs of everything that workers can do; they begin with a few workers."""
    beginning = st.tuples(
        *(_connects(st.just(place)) for place in range(WORKERS)),
        *(st.builds(Register, _workers, st.just(name)) for name in FUNCTIONS),
    ).map(list)
    rare = st.one_of(_rare_steps())
    steps = _lists(_one_of_equally([*_common_steps(), rare]), max_steps - 7)
    return st.tuples(beginning, steps).map(lambda parts: [*parts[0], *parts[1]])


def _one_of_equally(
    kinds: list[st.SearchStrategy[Step]],
) -> st.SearchStrategy[Step]:
    """One of these; unlike ``st.one_of`` it keeps repeated ones, as weights."""
    return st.sampled_from(range(len(kinds))).flatmap(kinds.__getitem__)


def _connects(places: st.SearchStrategy[int]) -> st.SearchStrategy[Step]:
    return st.builds(
        Connect,
        places,
        kind=st.sampled_from(["link", "local"]),
        announces=st.sampled_from([True, True, True, False]),
        name=_names,
        cancels=st.booleans(),
    )


def _common_steps() -> list[st.SearchStrategy[Step]]:
    calls = st.builds(
        Call,
        _workers,
        _functions,
        inside=st.none() | _calls,
        deadline=_deadlines,
        void=st.sampled_from([False, False, False, True]),
    )
    answers = st.builds(
        Answer,
        _workers,
        _calls,
        st.sampled_from([None, None, "out_of_stock"]),
        st.booleans(),
    )
    return [calls, calls, answers]


def _rare_steps() -> list[st.SearchStrategy[Step]]:
    ways = st.sampled_from(["close", "cut", "half-close", "mid-frame"])
    drains = st.builds(Drain, st.integers(0, 3))
    sleeps = st.builds(Sleep, st.integers(1, 6))
    return [
        _connects(_workers),
        st.builds(Announce, _workers, _names),
        st.builds(Reattach, _workers, _workers, st.booleans()),
        st.builds(Register, _workers, _functions),
        st.builds(Unregister, _workers, _functions),
        st.builds(Lie, _workers, st.none() | _calls),
        st.builds(Cancel, _workers, _calls),
        st.builds(Disconnect, _workers, ways),
        st.integers(0, 5).flatmap(lambda one: sleeps if one else drains),
    ]
