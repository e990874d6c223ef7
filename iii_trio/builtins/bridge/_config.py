"""The configuration of the bridge, and the input of its functions. Pure."""

from typing import Annotated, Any

import attrs
import msgspec

from iii_trio.protocol import check_engine_url

DEFAULT_TIMEOUT_MS = 30_000


def _positive(_config: object, field: "attrs.Attribute[Any]", value: int) -> None:
    if value < 1:
        raise ValueError(f"{field.name} must be at least 1, not {value}")


def _url(_config: object, _field: "attrs.Attribute[Any]", value: str | None) -> None:
    if value is not None:
        check_engine_url(value)


@attrs.frozen(kw_only=True)
class ExposeConfig:
    """A function of this engine that the other one gets.

    Attributes:
        local_function: its id here.
        remote_function: its id there; default: the same.
    """

    local_function: str
    remote_function: str | None = None


@attrs.frozen(kw_only=True)
class ForwardConfig:
    """A function of the other engine that this one gets.

    Attributes:
        local_function: its id here.
        remote_function: its id there.
        timeout_ms: how long a call may take, with waiting for the connection.
    """

    local_function: str
    remote_function: str
    timeout_ms: int = attrs.field(default=DEFAULT_TIMEOUT_MS, validator=_positive)


@attrs.frozen(kw_only=True)
class BridgeConfig:
    """Settings of the bridge.

    Attributes:
        url: of the other engine; default: ``III_URL``, else ``ws://0.0.0.0:49134``.
        expose: what is offered there.
        forward: what is offered here.
    """

    url: str | None = attrs.field(default=None, validator=_url)
    expose: tuple[ExposeConfig, ...] = ()
    forward: tuple[ForwardConfig, ...] = ()


class InvokeInput(msgspec.Struct, frozen=True):
    """Input of ``bridge.invoke`` and ``bridge.invoke_async``."""

    function_id: str
    data: msgspec.Raw = msgspec.Raw(b"null")
    timeout_ms: Annotated[float, msgspec.Meta(gt=0)] | None = None
