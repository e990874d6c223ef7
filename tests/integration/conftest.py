"""What all integration tests share: a tap on the links of every engine."""

from collections.abc import Iterator

import pytest

from tests.frame_tap import FrameTap


@pytest.fixture(autouse=True)
def frame_tap() -> Iterator[FrameTap]:
    """Fail a test whose engine sent a frame that its peer cannot know."""
    news: list[str] = []
    tap = FrameTap(news.append)
    remove = tap.install()
    yield tap
    remove()
    assert not news, "frames that no public SDK knows:\n" + "\n".join(news)
