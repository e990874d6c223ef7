"""How a worker reaches an engine elsewhere: its link, and the ends of channels."""

import ssl
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, final
from urllib.parse import urlsplit

import trio

from iii_trio._util import url_without_secrets
from iii_trio.protocol import ChannelRef
from iii_trio.transport import ChannelEnd, Link, open_trio_websocket_link
from iii_trio.worker._remote_channel import channel_url, serve_channel_end


class Dialler(Protocol):
    """Opens what a worker needs of an engine elsewhere."""

    def dial(self) -> AbstractAsyncContextManager[Link]:
        """Open a link for the length of a block.

        Raises:
            trio.BrokenResourceError: nobody answers.
        """

    async def serve_channel_end(
        self, ref: ChannelRef, *, task_status: trio.TaskStatus[ChannelEnd]
    ) -> None:
        """Take the end of a channel; hold it until it is closed, or we are cancelled.

        Raises:
            trio.BrokenResourceError: no such channel, wrong key, or the end is taken.
        """


@final
class WebSocketDialler:
    """Dials the WebSockets of a URL; satisfies `Dialler`."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Nothing is dialled yet.

        Args:
            url: ``ws://`` or ``wss://``; a query is kept.
            token: sent as ``Authorization: Bearer``.
            tls: for ``wss://``: whom to trust, and our own certificate. Default: the
                authorities of the system, or those that ``SSL_CERT_FILE`` names.

        Raises:
            ValueError: the URL is none.
        """
        parts = urlsplit(url)  # reading a bad port is a ValueError, too
        if parts.scheme not in {"ws", "wss"} or not parts.hostname or parts.port == 0:
            msg = f"not a WebSocket URL: {url_without_secrets(url)!r}"
            raise ValueError(msg)
        if tls is None and parts.scheme == "wss":
            tls = ssl.create_default_context()
        self._url = url
        self._headers = (("Authorization", f"Bearer {token}"),) if token else ()
        self._tls = tls

    def dial(self) -> AbstractAsyncContextManager[Link]:
        """Open a link for the length of a block."""
        return open_trio_websocket_link(self._url, headers=self._headers, tls=self._tls)

    def serve_channel_end(
        self, ref: ChannelRef, *, task_status: trio.TaskStatus[ChannelEnd]
    ) -> Coroutine[Any, Any, None]:
        """Hold an end open until it is closed."""
        url = channel_url(self._url, ref)
        return serve_channel_end(url, self._headers, self._tls, task_status=task_status)
