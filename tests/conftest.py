"""What all tests share: Hypothesis profiles and the ``slow`` mark.

``autojump_clock`` comes from pytest-trio. Choose a profile with
``--hypothesis-profile deep``; the default one is derandomised, so that the same tree
always gives the same verdict.
"""

import pathlib

import hypothesis
import pytest

hypothesis.settings.register_profile(
    "default",
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
)
hypothesis.settings.register_profile(
    "deep",
    max_examples=6000,
    deadline=None,
    derandomize=False,  # also where CI is set
    database=None,
    print_blob=True,
)
hypothesis.settings.register_profile(
    "unshrunk",  # for tests that are bound to fail
    parent=hypothesis.settings.get_profile("default"),
    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
)
hypothesis.settings.load_profile("default")

_INTEGRATION = pathlib.Path(__file__).parent / "integration"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything below ``tests/integration`` as slow."""
    for item in items:
        if _INTEGRATION in item.path.parents:
            item.add_marker(pytest.mark.slow)
