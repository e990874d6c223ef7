"""What all tests share: Hypothesis profiles and the ``slow`` mark.

``autojump_clock`` comes from pytest-trio. Choose a profile with
``--hypothesis-profile deep``; the default one is derandomised, so that the same tree
always gives the same verdict.
"""

import gc
import pathlib

import hypothesis
import pytest

from tests import shuffling

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
hypothesis.settings.register_profile(
    "shuffled",  # other examples each time
    parent=hypothesis.settings.get_profile("default"),
    derandomize=False,
)
hypothesis.settings.load_profile("default")

_INTEGRATION = pathlib.Path(__file__).parent / "integration"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what `tests/flakes.py` uses."""
    group = parser.getgroup("shuffling")
    group.addoption("--shuffle", type=int, metavar="SEED", help="order and seeds")
    group.addoption("--passes", type=int, default=1, help="all tests so many times")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say how to repeat a shuffled run."""
    seed, passes = config.option.shuffle, config.option.passes
    return [] if seed is None else [f"shuffled: --shuffle {seed} --passes {passes}"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything below ``tests/integration`` as slow."""
    for item in items:
        if _INTEGRATION in item.path.parents:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Shuffle what was selected; look at what collection made no more."""
    gc.collect()
    gc.freeze()  # else each full collection goes through it: a sixth of all time
    option = session.config.option
    if option.shuffle is not None:
        session.items = shuffling.in_passes(
            session.items, option.shuffle, option.passes
        )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let chance order what happens on several links, where tests are shuffled."""
    if (seed := item.config.option.shuffle) is not None:
        shuffling.seed_engines(item, seed)
