"""Whatever workers do and however they vanish, every call settles once, nothing stays.

Hypothesis generates a program, which runs in one Trio run under virtual time against the
plain model of ``model.py``. After each step everything comes to rest, and each worker
must have seen exactly what the model says; what else must hold is in ``invariants.py``.
"""

import logging
from collections.abc import Iterator
from typing import Final

import pytest
import trio
from hypothesis import given, settings

from iii_trio.testing import open_test_engine, run
from iii_trio.testing import programs as p
from tests.property.runner import Runner

MANY: Final = 34 * settings().max_examples
"""Examples: 2,040; in the deep profile 204,000, in parts to keep memory small."""

PARTS: Final = max(1, MANY // 10_000)


@pytest.fixture(scope="module", autouse=True)
def quiet_engine() -> Iterator[None]:
    """Refusals are part of the programs: their log lines are no news, and many."""
    logger = logging.getLogger("iii_trio.engine")
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(logging.NOTSET)


async def run_program(program: list[p.Step]) -> None:
    async with open_test_engine() as harness, trio.open_nursery() as nursery:
        await Runner(harness, nursery).run(program)


@given(p.simple_programs())
def test_link_workers_that_vanish_leave_nothing_and_disturb_nobody(
    program: list[p.Step],
) -> None:
    run(run_program, program)


@pytest.mark.parametrize("part", range(PARTS))
@given(p.worker_programs())
@settings(max_examples=MANY // PARTS)
def test_every_program_goes_as_the_model_says(part: int, program: list[p.Step]) -> None:
    del part
    run(run_program, program)
