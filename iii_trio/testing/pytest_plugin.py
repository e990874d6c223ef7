"""The pytest plugin: fixtures for tests of programs that use iii_trio.

The only module of the package that imports pytest. It loads with every pytest run of an
environment in which iii_trio is installed, so it imports nothing else until a fixture is
used. It runs no tests itself: async tests belong to pytest-trio or anyio. Its fixtures
give functions and keep nothing, so they live as long as the session, and Hypothesis lets
them stand beside ``@given``.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

__all__ = ["iii_engine", "iii_run"]


@pytest.fixture(scope="session")
def iii_engine() -> Callable[..., AbstractAsyncContextManager[Any]]:
    """`iii_trio.testing.open_test_engine`, to be opened in the body of an async test.

    Together with ``autojump_clock`` of pytest-trio all timeouts pass at once.
    """
    from iii_trio.testing import open_test_engine  # noqa: PLC0415 - see above

    return open_test_engine


@pytest.fixture(scope="session")
def iii_run() -> Callable[..., Any]:
    """`iii_trio.testing.run`: a Trio run with virtual time, for plain ``def`` tests."""
    from iii_trio.testing import run  # noqa: PLC0415 - see above

    return run
