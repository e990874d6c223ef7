"""Giving a store's failures the wire code of the function that met them."""

from types import TracebackType
from typing import final

from iii_trio.errors import AdapterError, FunctionFailedError


@final
class FailingAs:
    """``with FailingAs(code, message):`` around what uses a store.

    A plain class: on the path of every write, where a generator costs more than the
    rest of the handler.

    Args:
        code: wire code of the failure.
        message: stands before what the store says; default: nothing does.
    """

    __slots__ = ("_code", "_message")

    def __init__(self, code: str, message: str = "") -> None:
        self._code = code
        self._message = message

    def __enter__(self) -> None:
        """Nothing to begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Translate an `AdapterError`; others pass."""
        if isinstance(exc, AdapterError):
            raise self.failure(exc) from exc

    def failure(self, exc: AdapterError) -> FunctionFailedError:
        """The translation, for the most frequent calls, which do without the block."""
        message = f"{self._message}: {exc}" if self._message else str(exc)
        return FunctionFailedError(message, code=self._code)
