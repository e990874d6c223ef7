"""A tap on the links of an engine: is every frame one that any public SDK knows?

The rig of the integration tests puts one on each engine, in this process and in others,
so every run with an SDK is listened to. What a peer did not announce must never come:
`CancelInvocation`, ``deadline_ms`` and our own ``features``. The fields of each frame are
those of the public protocol (its sheet, section 2.2), written down here once more.
"""

import pathlib
from collections.abc import Callable
from typing import Any, Final, final

import msgspec

from iii_trio.engine import LinkPort, Supervisor
from iii_trio.protocol import CANCEL_FEATURE
from iii_trio.transport import Link, LinkSink

REPORT: Final = "FRAME_TAP_REPORT"
"""Environment variable: the file to which a server process reports."""

REGISTER: Final = "engine::workers::register"

_TRIGGER = {"id", "trigger_type", "function_id"}
PUBLIC: Final[dict[str, set[str]]] = {
    "workerregistered": {"worker_id", "reattach_token"},
    "invokefunction": {
        *("invocation_id", "function_id", "data", "action", "metadata", "namespace"),
        *("traceparent", "baggage"),
    },
    "invocationresult": {
        *("invocation_id", "function_id", "result", "error"),
        *("traceparent", "baggage"),
    },
    "registertrigger": {
        *_TRIGGER,
        *("config", "metadata", "namespace", "trigger_namespace"),
    },
    "unregistertrigger": {"id", "trigger_type"},
    "triggerregistrationresult": {*_TRIGGER, "error"},
    "registrationrejected": {
        *("code", "namespace", "worker_name", "function_id", "owner_worker_id"),
    },
    "ping": set(),
    "pong": set(),
    "error": {"error"},
}
"""What an engine may send to a peer that announced nothing: fields by type."""


def news_in(frame: dict[str, Any]) -> list[str]:
    """What of a frame no public SDK knows."""
    kind = frame.pop("type")
    if kind not in PUBLIC:
        return [f"frame {kind!r}"]
    news = [f"{kind}.{name}" for name in sorted(frame.keys() - PUBLIC[kind])]
    result = frame.get("result")
    if frame.get("function_id") == REGISTER and "features" in (result or {}):
        news.append("features in the answer to the announcement")
    return news


def announces(frame: dict[str, Any]) -> bool:
    """Whether a worker says with this frame that it knows ours."""
    data = frame.get("data")
    features = data.get("features") if isinstance(data, dict) else None
    return frame.get("function_id") == REGISTER and CANCEL_FEATURE in (features or ())


@final
class FrameTap:
    """Hears every frame on the links of the engines of this process.

    Attributes:
        heard: frames to peers that announced nothing.
    """

    def __init__(self, report: Callable[[str], object]) -> None:
        self.heard = 0
        self._report = report

    def attach(
        self, supervisor: Supervisor, link: Link, original: Callable[..., LinkPort]
    ) -> LinkPort:
        """Attach a link by way of a tap."""
        return original(supervisor, _TappedLink(link, self))

    def hear(self, text: bytes) -> None:
        """A frame goes to a peer that announced nothing."""
        self.heard += 1
        for news in news_in(msgspec.json.decode(text)):
            self._report(f"{news}: {text[:300].decode(errors='replace')}")

    def install(self) -> Callable[[], None]:
        """Tap every link from now on; the result ends that."""
        original = Supervisor.attach

        def attach(supervisor: Supervisor, link: Link) -> LinkPort:
            return self.attach(supervisor, link, original)

        Supervisor.attach = attach  # type: ignore[assignment,method-assign]

        def remove() -> None:
            Supervisor.attach = original  # type: ignore[method-assign]

        return remove


@final
class _TappedLink:
    """A link whose frames are heard; everything else is the link's own."""

    def __init__(self, link: Link, tap: FrameTap) -> None:
        self._link = link
        self._tap = tap
        self._announced = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    @property
    def peer(self) -> str:
        return self._link.peer

    @property
    def outbox_bytes(self) -> int:
        return self._link.outbox_bytes

    def start(self, sink: LinkSink) -> None:
        self._link.start(_TappedSink(sink, self))

    def hear(self, text: bytes) -> None:
        """A frame of the peer: from its announcement on it may get ours."""
        if b"features" in text and not self._announced:
            try:
                frame = msgspec.json.decode(text)
            except (msgspec.DecodeError, RecursionError):
                return  # the engine says what it thinks of it
            self._announced = isinstance(frame, dict) and announces(frame)

    def send_nowait(self, text: bytes) -> None:
        if not self._announced:
            self._tap.hear(text)
        self._link.send_nowait(text)

    def hold(self) -> None:
        self._link.hold()

    def resume(self) -> None:
        self._link.resume()

    def close(self, reason: str, *, polite: bool) -> None:
        self._link.close(reason, polite=polite)


@final
class _TappedSink:
    def __init__(self, sink: LinkSink, link: _TappedLink) -> None:
        self._sink = sink
        self._link = link

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)

    def on_frame(self, text: bytes) -> None:
        self._link.hear(text)
        self._sink.on_frame(text)

    def on_telemetry(self, data: bytes) -> None:
        self._sink.on_telemetry(data)

    def on_closed(self, reason: str) -> None:
        self._sink.on_closed(reason)


def check_report(report: pathlib.Path) -> None:
    """Fail if a server process sent something new, or had no tap."""
    tapped, *news = report.read_text().splitlines()
    assert tapped == "tapped"
    assert not news, "frames that no public SDK knows:\n" + "\n".join(news)
