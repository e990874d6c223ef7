"""Tables of calls that a public SDK makes, and what must come back."""

import json
from pathlib import Path
from typing import Any, Final

import attrs

from iii_trio.app import App
from tests.integration.sdk_rig import run_sdk_program
from tests.live import Language


@attrs.frozen
class Fails:
    """An error: its code, and a part of its message."""

    code: str
    text: str = ""


class Anything:
    """Equal to whatever there is."""

    def __eq__(self, _other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


@attrs.frozen(eq=False)
class Has:
    """Equal to an object that has these fields, and maybe others."""

    fields: dict[str, Any]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, dict) and all(
            name in other and value == other[name]
            for name, value in self.fields.items()
        )

    __hash__ = None  # type: ignore[assignment]


@attrs.frozen(eq=False)
class Among:
    """Equal to an array that has this element, and maybe others."""

    element: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list) and any(self.element == one for one in other)

    __hash__ = None  # type: ignore[assignment]


ANY: Final = Anything()
ABSENT: Final = object()
"""No result: what the Node SDK gives as undefined."""


@attrs.frozen
class Call:
    """A call and what it answers.

    Attributes:
        repeat: it answers so sooner or later.
        keep: under this name later payloads mean the ``id`` in its result; they say
            ``"$name"`` where a field is that id.
    """

    function_id: str
    payload: Any
    expected: Any
    repeat: bool = False
    action: Any = None
    keep: str | None = None

    @property
    def request(self) -> dict[str, Any]:
        """What the SDK is told."""
        request = {"function_id": self.function_id, "payload": self.payload}
        if self.action is not None:
            request["action"] = self.action
        if self.keep is not None:
            request["keep"] = self.keep
        return request | ({"until": self.expected} if self.repeat else {})


def malformed(function_id: str, payload: Any, reason: str) -> Call:
    """A call that the function cannot take."""
    text = f"Failed to deserialize input for {function_id}: {reason}"
    return Call(function_id, payload, Fails("deserialization_error", text))


async def check_calls(
    app: App, language: Language, calls: list[Call], directory: Path
) -> None:
    """Make the calls through the newest SDK of a language; compare the answers."""
    requests = json.dumps([call.request for call in calls]).encode()
    answers = await run_sdk_program(
        app, language, "calls_user", directory, stdin=requests
    )
    wrong = [
        f"{call}: {answer}"
        for call, answer in zip(calls, answers, strict=True)
        if not _is_right(language, call, answer)
    ]
    assert not wrong, "\n".join(wrong)


def _is_right(language: Language, call: Call, answer: dict[str, Any]) -> bool:
    expected = call.expected
    if isinstance(expected, Fails):
        code, message = answer.get("error", ("", ""))
        return code == expected.code and expected.text in message
    if expected is ABSENT or (language == "py" and expected is None):
        return answer == {}
    return "result" in answer and bool(expected == answer["result"])
