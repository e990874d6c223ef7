"""What tests of calls share: workers of both kinds, and a handler that never answers."""

from contextlib import AbstractAsyncContextManager

import attrs
import pytest
import trio

from iii_trio.testing import EngineUnderTest
from iii_trio.worker import Worker

KINDS = pytest.mark.parametrize("kind", ["link", "local"])


def opening(
    t: EngineUnderTest, kind: str, name: str
) -> AbstractAsyncContextManager[Worker]:
    return t.open_link_worker(name) if kind == "link" else t.open_worker(name)


@attrs.define(eq=False)
class Hanging:
    """A handler that never answers.

    Attributes:
        reasons: why it was cancelled, each time.
    """

    reasons: list[str | None] = attrs.field(factory=list)

    async def __call__(self, _payload: object) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as exc:
            self.reasons.append(exc.reason)
            raise
