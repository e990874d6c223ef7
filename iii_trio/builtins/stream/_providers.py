"""Custom providers: functions that take the place of the store for one stream."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, TypeVar, final

import msgspec
import trio

from iii_trio.builtins._finish import finish
from iii_trio.builtins._payloads import InputError, structure
from iii_trio.errors import (
    FunctionFailedError,
    FunctionNotFoundError,
    InvocationError,
)
from iii_trio.worker import Worker

JSON = Any
T = TypeVar("T")

NAMESPACE: Final = "default"
"""Where they are looked for."""


class ProviderError(Exception):
    """A provider could not do what it was asked for."""


@final
class Providers:
    """Looks a provider up for every call."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def has(self, operation: str, stream_name: str) -> bool:
        """Whether a live worker provides an operation of a stream."""
        return self._worker.exists(_function_id(operation, stream_name), NAMESPACE)

    async def read(
        self,
        operation: str,
        fields: Mapping[str, JSON],
        *,
        deadline: float | None = None,
    ) -> bytes | None:
        """Ask a provider; its errors pass unchanged.

        Returns:
            JSON text, ``b""`` for no result, ``None``: there is no provider.

        Raises:
            FunctionFailedError: the provider failed.
        """
        try:
            return await self._call(operation, fields, deadline)
        except InvocationError as exc:
            raise FunctionFailedError(exc.message, code=exc.code) from exc

    async def write(
        self, operation: str, fields: Mapping[str, JSON], kind: type[T]
    ) -> T | None:
        """Let a provider write; it is waited for as by `finish`.

        Returns:
            What it answered, ``None``: there is no provider.

        Raises:
            ProviderError: it failed, or gave no result.
            FunctionFailedError: with code ``JSON_ERROR``: the result does not fit.
        """
        try:
            answer = await self._call(operation, fields, None, writes=True)
        except InvocationError as exc:
            raise ProviderError(f"Failed to invoke function: {exc}") from exc
        if answer is None:
            return None
        if not answer:
            raise ProviderError("Function returned no result")
        try:
            return structure(msgspec.json.decode(answer), kind)
        except (InputError, msgspec.DecodeError, RecursionError) as exc:
            raise FunctionFailedError(
                f"Failed to convert result to value: {exc}", code="JSON_ERROR"
            ) from exc

    async def streams(self) -> dict[str, list[str]] | None:
        """Nobody provides a list of all streams: ``None``."""
        await trio.lowlevel.checkpoint()
        return None

    async def _call(
        self,
        operation: str,
        fields: Mapping[str, JSON],
        deadline: float | None,
        *,
        writes: bool = False,
    ) -> bytes | None:
        await trio.lowlevel.checkpoint()
        function_id = _function_id(operation, fields["stream_name"])
        try:
            # Asked for first: a missing function costs no error on the usual way.
            if not self._worker.exists(function_id, NAMESPACE):
                return None
            call = partial(
                self._worker.invoke_json,
                function_id,
                msgspec.json.encode(fields),
                namespace=NAMESPACE,
                deadline=deadline,
                kind="delivery",
            )
            return await (finish(call, function_id) if writes else call())
        except FunctionNotFoundError as exc:
            # Gone meanwhile, or attached by URL, where only the engine knows. Another
            # function that a provider misses is a failure: its data is not in the store.
            if function_id not in exc.message:
                raise
            return None


def _function_id(operation: str, stream_name: str) -> str:
    return f"stream::{operation}({stream_name})"
