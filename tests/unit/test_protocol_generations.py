"""What each generation of each SDK can take."""

import pytest

from iii_trio.protocol import (
    LARGE_MESSAGES_FEATURE,
    MAX_MESSAGE_BYTES,
    SMALL_MESSAGE_BYTES,
    ends_at_close,
    payload_too_large,
    receive_limit,
)

MIB = 2**20


@pytest.mark.parametrize(
    ("runtime", "version", "mebibytes"),
    [
        ("python", "0.11.6", 1),
        ("python", "0.22.1", 1),
        ("python", "0.24.4", 1),
        ("python", "0.24.5a3", 1),
        ("python", "0.24.5", 64),
        ("python", "0.24.6", 64),
        ("python", "0.25.0", 64),
        ("python", "1.0.0", 64),
        ("python", "unreleased", 1),
        ("python", None, 1),
        ("node", "0.11.2", 64),
        ("node", None, 64),
        ("rust", "0.23.0", 64),
        ("go", "0.23.0", 64),
        ("browser", "0.25.0", 16),
        ("unknown", "9.9.9", 1),
        (None, None, 1),
    ],
)
def test_the_limit_follows_the_generation_of_the_sdk(
    runtime: str | None, version: str | None, mebibytes: int
) -> None:
    assert receive_limit(runtime, version, []) == mebibytes * MIB


@pytest.mark.parametrize("runtime", ["python", "browser", "unknown", None])
def test_whoever_says_so_takes_the_largest_message(runtime: str | None) -> None:
    assert receive_limit(runtime, None, [LARGE_MESSAGES_FEATURE]) == MAX_MESSAGE_BYTES


def test_the_refusal_names_both_sizes_and_the_way_out() -> None:
    body = payload_too_large(2 * MIB, SMALL_MESSAGE_BYTES, "worker 'w' (python 0.22.1)")
    assert body.code == "payload_too_large"
    for part in ("2097152", "1048576", "worker 'w' (python 0.22.1)", "channel"):
        assert part in body.message


@pytest.mark.parametrize(
    ("runtime", "version", "ends"),
    [
        ("python", "0.11.6", True),
        ("python", "0.22.1", True),
        ("python", None, True),
        ("python", "0.23.0", False),
        ("python", "0.25.0", False),
        ("node", "0.11.2", False),
        (None, None, False),
    ],
)
def test_an_old_python_sdk_is_silent_after_a_close(
    runtime: str | None, version: str | None, ends: bool
) -> None:
    assert ends_at_close(runtime, version) is ends
