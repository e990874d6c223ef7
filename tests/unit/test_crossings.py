"""Loops of forwarded calls, told by the baggage that travels with calls."""

from contextlib import ExitStack

import pytest

from iii_trio.builtins._crossings import KEY, MAX_IDS, MAX_NESTED, Crossings, LoopError


def test_the_baggage_of_others_stays_as_it_is() -> None:
    here = Crossings("here")
    given = "a=1;p=2, b=%20 ,,c"
    with here.crossing(given) as baggage:
        assert baggage == f"a=1;p=2, b=%20 ,c,{KEY}=here-1"
        assert len(here) == 1
    assert len(here) == 0
    with here.crossing(None) as baggage:
        assert baggage == f"{KEY}=here-2"


def test_nesting_is_seen_through_other_engines() -> None:
    here, there = Crossings("here"), Crossings("there")
    with ExitStack() as calls:
        baggage: str | None = None
        for _ in range(MAX_NESTED):
            baggage = calls.enter_context(here.crossing(baggage))
            baggage = calls.enter_context(there.crossing(f"x=1,{baggage}"))
        with pytest.raises(LoopError, match="form a loop"), here.crossing(baggage):
            pass
    # All of these calls have ended.
    with here.crossing(baggage) as later:
        assert "here-1." not in later


def test_calls_side_by_side_are_no_loop() -> None:
    here = Crossings("here")
    with ExitStack() as calls:
        outer = calls.enter_context(here.crossing(None))
        for _ in range(1000):
            calls.enter_context(here.crossing(outer))
        assert len(here) == 1001
    assert len(here) == 0


def test_a_chain_of_calls_that_end_never_grows() -> None:
    here, there = Crossings("here"), Crossings("there")
    baggage: str | None = None
    for _ in range(1000):
        with here.crossing(baggage) as baggage:
            pass
        with there.crossing(baggage) as baggage:
            pass
    assert baggage is not None
    assert len(baggage) < 40


def test_the_ids_of_others_are_bounded() -> None:
    here = Crossings("here")
    ids = ".".join(f"x{n}-1" for n in range(1000))
    with here.crossing(f" {KEY} = {ids} ;property") as baggage:
        assert len(baggage.split(".")) == MAX_IDS + 1  # the key has a dot, too
        assert baggage.endswith("x999-1.here-1")


@pytest.mark.parametrize(
    "value", ["", ".", "...", "=", ";", "here-1", "here-99.here-x"]
)
def test_odd_values_of_others_do_no_harm(value: str) -> None:
    here = Crossings("here")
    with here.crossing(f"{KEY}={value}") as baggage:
        assert baggage.endswith("here-1")
