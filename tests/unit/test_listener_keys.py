"""Listeners of one configuration found again in another."""

import pytest

from iii_trio.app._config import LISTENER, ListenerConfig, WorkerEntry
from iii_trio.app._listener_keys import new_keys


def entries(*places: str) -> list[WorkerEntry]:
    """Listeners, each as a port and perhaps a letter for its other settings."""
    listeners = [
        WorkerEntry(
            key=f"{LISTENER}#{number}" if number else LISTENER,
            kind=LISTENER,
            config=ListenerConfig(
                port=int(place.rstrip("ab")),
                handshake_timeout_ms=2 if place.endswith("b") else 1,
            ),
        )
        for number, place in enumerate(places)
    ]
    return [WorkerEntry(key="iii-http", kind="iii-http", config=None), *listeners]


@pytest.mark.parametrize(
    ("running", "wanted", "found"),
    [
        ("1 2", "1 2", "0 1"),
        ("1 2", "2", "1 0"),  # the first one is gone
        ("2", "1 2", "1"),  # one came before it
        ("1 2 3", "3 1 2", "1 2 0"),
        ("1 2", "2b 1", "1 0"),  # other settings at the same address
        ("1 2", "3 2", "0 1"),  # moved
        ("1 2", "2 3", "2 0"),  # the first one is gone, a third one new
        ("0 0", "0", "0 1"),
        ("0 0b", "0b", "1 0"),
        ("1 2 3", "4", "0 1 2"),
        ("1 2 3", "3", "1 2 0"),
    ],
)
def test_listeners_are_found_by_settings_then_address_then_number(
    running: str, wanted: str, found: str
) -> None:
    before = {entry.key: entry for entry in entries(*running.split())}
    after = entries(*wanted.split())
    keys = [f"{LISTENER}#{number}" if number != "0" else LISTENER for number in "0123"]
    expected = [keys[int(number)] for number in found.split()]
    assert new_keys(before, after) == dict(zip(keys, expected, strict=False))
