"""Channels that have names, and are made when somebody asks for one of them.

Every call of an HTTP handler behind a link names two channels, and few handlers use them.
To name one costs a fraction of what it costs to make one.
"""

import hmac
from collections.abc import Callable, Iterable
from typing import Final, Generic, Protocol, TypeVar, final

ChannelT = TypeVar("ChannelT")
MadeT_co = TypeVar("MadeT_co", covariant=True)

_FIRST_NUMBER: Final = 10**11
"""Decimal digits are hexadecimal ones too: twelve of them end a UUID-shaped id."""


class Promise(Protocol[MadeT_co]):
    """Whoever can make the channels that it named.

    Attributes:
        access_key: of all of them; not guessable.
    """

    access_key: str

    def keep(self, channel_id: str) -> MadeT_co:
        """Make one; it is promised no longer."""


@final
class Promises(Generic[ChannelT]):
    """The channels that are promised, by id.

    Args:
        new_id: makes UUID text.
    """

    def __init__(self, new_id: Callable[[], str]) -> None:
        self.new_key = new_id
        self._prefix = new_id()[:24]
        self._number = _FIRST_NUMBER
        self._promised: dict[str, Promise[ChannelT]] = {}

    def __len__(self) -> int:
        return len(self._promised)

    def name(self, promise: Promise[ChannelT]) -> str:
        """Promise a channel; gives its id."""
        self._number += 1
        channel_id = f"{self._prefix}{self._number}"
        self._promised[channel_id] = promise
        return channel_id

    def withdraw(self, channel_ids: Iterable[str]) -> None:
        """Forget promises; ids that are not promised are ignored."""
        for channel_id in channel_ids:
            self._promised.pop(channel_id, None)

    def keep(self, channel_id: str, access_key: str) -> ChannelT | None:
        """Make the channel of this id, if it is promised and the key is right."""
        promise = self._promised.get(channel_id)
        if promise is None:
            return None
        known = hmac.compare_digest(promise.access_key.encode(), access_key.encode())
        if not known:
            return None
        del self._promised[channel_id]
        return promise.keep(channel_id)
