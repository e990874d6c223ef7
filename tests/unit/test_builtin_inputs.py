"""Inputs of bundled workers whose rules are their own: update ops, queues, cron, state."""

from typing import Any

import pytest

from iii_trio.builtins._payloads import InputError, structure
from iii_trio.builtins.cron._grammar import CronError
from iii_trio.builtins.cron._schedule import Schedule
from iii_trio.builtins.queue._inputs import SubscriberConfig
from iii_trio.builtins.state._inputs import StateTriggerConfig, UpdateInput


def update(*ops: object) -> dict[str, object]:
    return {"scope": "s", "key": "k", "ops": list(ops)}


@pytest.mark.parametrize(
    "op",
    [
        {"type": "append", "path": None, "value": 1},
        {"type": "append", "path": ["a", "b"], "value": 1},
        {"type": "increment", "path": "n", "by": 2},
        {"type": "increment", "path": "n", "by": 2.5},
    ],
)
def test_update_operations_are_told_apart_by_their_type(op: dict[str, Any]) -> None:
    [made] = structure(update(op), UpdateInput).ops
    assert op["type"] in type(made).__name__.lower()


@pytest.mark.parametrize(
    ("op", "text"),
    [
        (5, "an update operation"),
        ({}, "missing field `type`"),
        ({"type": 5}, "a string"),
        ({"type": "explode"}, "unknown variant `explode`"),
        ({"type": "append", "path": 5, "value": 1}, "a string or an array of strings"),
        ({"type": "append", "path": [5], "value": 1}, "a string"),
        ({"type": "increment", "path": "n", "by": 2**63}, "expected i64"),
        ({"type": "increment", "path": "n", "by": "2"}, "a number"),
    ],
)
def test_a_malformed_update_operation_is_refused(op: object, text: str) -> None:
    with pytest.raises(InputError, match=text):
        structure(update(op), UpdateInput)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"topic": ""}, "topic must not be empty"),
        ({"topic": "t", "queue_config": {"concurrency": 0}}, "at least 1, not 0"),
    ],
)
def test_a_subscription_that_could_never_work_is_refused(
    config: dict[str, object], text: str
) -> None:
    with pytest.raises(InputError, match=text):
        structure(config, SubscriberConfig)
    assert structure({"topic": "t"}, SubscriberConfig).topic == "t"


def test_an_expression_that_does_not_parse_is_named_in_its_error() -> None:
    with pytest.raises(CronError, match="Invalid cron expression 'x y': "):
        Schedule("x y")


def test_a_numeric_weekday_says_which_day_it_means() -> None:
    assert "Monday" in Schedule("0 0 9 * * 2").note
    assert Schedule("0 0 9 * * mon").note == ""


@pytest.mark.parametrize(
    ("config", "matches"),
    [
        ({}, True),
        ({"scope": "a"}, True),
        ({"scope": "b"}, False),
        ({"key": "x"}, False),
    ],
)
def test_a_state_trigger_matches_what_it_names(
    config: dict[str, object], matches: bool
) -> None:
    assert structure(config, StateTriggerConfig).matches("a", "k") is matches
