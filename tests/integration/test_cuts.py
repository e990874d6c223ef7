"""Real workers come back whole from cuts at random bytes; `make cuts` makes many more."""

import pathlib

import pytest

from tests.cuts import Kind, run_lanes


@pytest.mark.parametrize(
    ("kind", "lanes", "cuts"),
    [
        ("python", 1, 8),
        pytest.param("node", 1, 8, marks=pytest.mark.needs_node),
        ("trio", 4, 8),
    ],
)
async def test_a_worker_comes_back_whole_from_every_cut(
    kind: Kind, lanes: int, cuts: int, tmp_path: pathlib.Path
) -> None:
    tallies = await run_lanes({kind: lanes}, {kind: cuts}, 20, tmp_path)
    assert tallies[kind].cuts >= cuts
    assert all(tally.is_clean for tally in tallies.values()), tallies
