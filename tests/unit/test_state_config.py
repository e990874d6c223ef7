"""Settings of the state worker."""

import pytest

from iii_trio.builtins.state import StateConfig


def test_defaults() -> None:
    config = StateConfig()
    assert config.triggers_enabled
    assert config.max_value_bytes is None


@pytest.mark.parametrize("interval", [100, 3_600_000])
def test_the_references_save_interval_is_accepted(interval: int) -> None:
    assert StateConfig(save_interval_ms=interval).save_interval_ms == interval


@pytest.mark.parametrize("interval", [0, 99, 3_600_001])
def test_a_save_interval_out_of_range_is_refused(interval: int) -> None:
    with pytest.raises(ValueError, match="save_interval_ms must be 100 to 3600000"):
        StateConfig(save_interval_ms=interval)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_byte_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match="max_value_bytes must be at least 1"):
        StateConfig(max_value_bytes=limit)
