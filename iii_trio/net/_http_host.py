"""What an HTTP connection needs of its front door, and who answers its requests."""

from typing import Protocol

from iii_trio.net._door_counts import DoorCounts
from iii_trio.net._exchange import HTTPExchange
from iii_trio.net._limits import HTTPLimits
from iii_trio.net._pump import Pump

__all__ = ["HTTPHost", "RequestHandler"]


class RequestHandler(Protocol):
    """Who answers the requests of a front door."""

    def on_request(self, exchange: HTTPExchange) -> None:
        """A request head is complete. Sync, in the pump: decide and return.

        Answer at once, or keep the exchange and answer from a task.
        """


class HTTPHost(Protocol):
    """What all HTTP connections of a front door share."""

    handler: RequestHandler
    limits: HTTPLimits
    draining: bool
    counts: DoorCounts

    @property
    def pump(self) -> Pump:
        """What moves their bytes."""

    def date_line(self) -> bytes:
        """The Date header line."""

    def on_http_over(self) -> None:
        """One connection less that speaks HTTP: closed, or a WebSocket now."""
