"""What runs in virtual time is cancelled at each of its steps, and leaves nothing."""

import random

import pytest
from trio.testing import MockClock

from iii_trio.testing import cancel_at_every_step
from tests.cancel_scenarios import SCENARIOS, Scenario, cancel_at_some_steps

SHORT = {name: one for name, one in SCENARIOS.items() if not one.is_long}
LONG = {name: one for name, one in SCENARIOS.items() if one.is_long}


@pytest.mark.parametrize("scenario", SHORT.values(), ids=SHORT)
def test_a_scenario_cancelled_at_any_step_leaves_nothing(scenario: Scenario) -> None:
    steps = cancel_at_every_step(scenario.run, scenario.check, setup=scenario.setup)
    assert steps > 1


@pytest.mark.parametrize("scenario", LONG.values(), ids=LONG)
def test_a_long_scenario_cancelled_at_some_step_leaves_nothing(
    scenario: Scenario, pytestconfig: pytest.Config
) -> None:
    rng = random.Random(pytestconfig.option.shuffle)
    cancel_at_some_steps(scenario, 10, rng, lambda: MockClock(autojump_threshold=0))
