"""What hooks and middleware are asked, and what their answers make of a frame.

Any object accepts; the fields that a hook may set override those of the frame. Anything
else refuses (protocol, section 8.4).
"""

from typing import Any, TypeVar

import msgspec

from iii_trio.protocol import (
    InvokeFunction,
    JSONBytes,
    RegisterFunction,
    RegisterTrigger,
    RegisterTriggerType,
    is_absent,
)

AnswerT = TypeVar("AnswerT")


class _FunctionAnswer(msgspec.Struct, frozen=True):
    function_id: str | None = None
    description: str | None = None
    metadata: msgspec.Raw = msgspec.Raw()


class _TriggerAnswer(msgspec.Struct, frozen=True):
    trigger_id: str | None = None
    trigger_type: str | None = None
    function_id: str | None = None
    config: msgspec.Raw = msgspec.Raw()


class _TypeAnswer(msgspec.Struct, frozen=True):
    trigger_type_id: str | None = None
    description: str | None = None


def function_question(
    frame: RegisterFunction,
    namespace: str,
    context: Any,  # noqa: ANN401 - JSON
) -> bytes:
    """The input of ``on_function_registration_function_id``."""
    return msgspec.json.encode(
        {
            "function_id": frame.id,
            "description": frame.description,
            "metadata": _json(frame.metadata),
            "namespace": namespace,
            "context": context,
        }
    )


def apply_function_answer(
    frame: RegisterFunction, result: JSONBytes
) -> RegisterFunction | None:
    """The frame as the hook wants it, ``None`` if it refuses."""
    answer = _answer(result, _FunctionAnswer)
    if answer is None or _is_blank(answer.function_id):
        return None
    return msgspec.structs.replace(
        frame,
        id=answer.function_id or frame.id,
        description=answer.description or frame.description,
        metadata=answer.metadata if bytes(answer.metadata) else frame.metadata,
    )


def trigger_question(
    frame: RegisterTrigger,
    namespace: str,
    context: Any,  # noqa: ANN401 - JSON
) -> bytes:
    """The input of ``on_trigger_registration_function_id``."""
    return msgspec.json.encode(
        {
            "trigger_id": frame.id,
            "trigger_type": frame.trigger_type,
            "function_id": frame.function_id,
            "config": _json(frame.config),
            "metadata": _json(frame.metadata),
            "namespace": namespace,
            "context": context,
        }
    )


def apply_trigger_answer(
    frame: RegisterTrigger, result: JSONBytes
) -> RegisterTrigger | None:
    """The frame as the hook wants it, ``None`` if it refuses."""
    answer = _answer(result, _TriggerAnswer)
    if answer is None or any(
        map(_is_blank, (answer.trigger_id, answer.trigger_type, answer.function_id))
    ):
        return None
    return msgspec.structs.replace(
        frame,
        id=answer.trigger_id or frame.id,
        trigger_type=answer.trigger_type or frame.trigger_type,
        function_id=answer.function_id or frame.function_id,
        config=answer.config if bytes(answer.config) else frame.config,
    )


def type_question(frame: RegisterTriggerType, context: Any) -> bytes:  # noqa: ANN401 - JSON
    """The input of ``on_trigger_type_registration_function_id``."""
    return msgspec.json.encode(
        {
            "trigger_type_id": frame.id,
            "description": frame.description or "",
            "context": context,
        }
    )


def apply_type_answer(
    frame: RegisterTriggerType, result: JSONBytes
) -> RegisterTriggerType | None:
    """The frame as the hook wants it, ``None`` if it refuses."""
    answer = _answer(result, _TypeAnswer)
    if answer is None or _is_blank(answer.trigger_type_id):
        return None
    return msgspec.structs.replace(
        frame,
        id=answer.trigger_type_id or frame.id,
        description=answer.description or frame.description,
    )


def middleware_payload(
    frame: InvokeFunction,
    namespace: str,
    context: Any,  # noqa: ANN401 - JSON
) -> bytes:
    """The input of a listener's middleware for one call."""
    return msgspec.json.encode(
        {
            "function_id": frame.function_id,
            "payload": _json(frame.data),
            "action": _json(frame.action),
            "context": context,
            "namespace": namespace,
        }
    )


def _json(value: msgspec.Raw) -> msgspec.Raw | None:
    return None if is_absent(value) else value


def _answer(result: JSONBytes, kind: type[AnswerT]) -> AnswerT | None:
    try:
        return msgspec.json.decode(result, type=kind)
    except (msgspec.DecodeError, RecursionError):
        return None


def _is_blank(value: str | None) -> bool:
    return value is not None and not value.strip()
