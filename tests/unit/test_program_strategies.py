"""Strategies of programs say how many steps they need."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_trio.testing import programs as p


def test_too_few_steps_are_refused_before_anything_is_drawn() -> None:
    with pytest.raises(ValueError, match="max_steps is 5, less than the 7 of the begi"):
        p.worker_programs(max_steps=5)
    with pytest.raises(ValueError, match="max_steps is -1, less than the 0"):
        p.simple_programs(max_steps=-1)


@given(st.data())
def test_the_fewest_steps_are_the_beginning(data: st.DataObject) -> None:
    assert len(data.draw(p.worker_programs(max_steps=7))) == 7
    assert data.draw(p.simple_programs(max_steps=0)) == []
