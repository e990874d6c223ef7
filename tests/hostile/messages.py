"""Messages that a hostile worker sends: JSON that is none, frames that lie, odd calls.

Each comes with what the engine owes for it. A link survives all of them.
"""

import json
import random
import uuid
from collections.abc import Callable
from typing import Any, Final

import attrs

FRAMES: Final[tuple[dict[str, Any], ...]] = (
    {"type": "registerfunction", "id": "bad::f", "description": "x", "metadata": {}},
    {"type": "unregisterfunction", "id": "bad::f"},
    {"type": "registertriggertype", "id": "bad", "description": "x"},
    {"type": "unregistertriggertype", "id": "bad"},
    {
        "type": "registertrigger",
        "id": "bad-1",
        "trigger_type": "http",
        "function_id": "bad::f",
        "config": {"api_path": "/bad/:id", "http_method": "GET"},
    },
    {"type": "unregistertrigger", "id": "bad-1"},
    {"type": "invokefunction", "function_id": "bad::f", "data": {"n": [1, 2.5, None]}},
    {"type": "invocationresult", "function_id": "bad::f", "result": {"c": 1}},
    {"type": "triggerregistrationresult", "id": "bad-1", "trigger_type": "http"},
    {"type": "cancelinvocation", "invocation_id": "x", "reason": "why not"},
    {"type": "reattach", "previous_worker_id": "x", "reattach_token": "y"},
    {"type": "workerregistered", "worker_id": "x"},
    {"type": "registrationrejected", "code": "x", "namespace": "default"},
    {"type": "registerservice", "id": "bad", "name": "bad"},
    {"type": "error", "error": {"code": "x", "message": "y"}},
    {"type": "observe", "function_id": "good::add"},
    {"type": "pong"},
)
"""One of each kind; `spoilt` ruins them."""

ODDITIES: Final[tuple[str, ...]] = (
    "null",
    "true",
    "-1",
    "1e400",
    "-0.0",
    "123456789012345678901234567890",
    '""',
    '" "',
    '"\\u0000"',
    '"\\ud800"',
    '"\u202e\U0001f480"',
    "[]",
    "{}",
    '"' + "x" * 5000 + '"',
    '"../../etc/passwd"',
    '"engine::workers::list"',
    '{"type":"ping"}',
    "[" * 100 + "]" * 100,
    "[" * 3000 + "]" * 3000,
    '{"a":' * 2000 + "1" + "}" * 2000,
    "NaN",
    "Infinity",
    "01",
    "'x'",
    "",
)
"""JSON values, some of them none, to put where something else is expected."""


@attrs.frozen
class Message:
    """A message, and the answer that the engine owes.

    Attributes:
        text: UTF-8, what a text frame may carry.
        call: the id of the call that it makes, ``""`` for none.
        codes: one of these is the code of the answer.
    """

    text: bytes
    call: str = ""
    codes: frozenset[str] = frozenset()


def hostile_message(rng: random.Random) -> Message:
    """One more of them."""
    return rng.choice(_KINDS)(rng)


def _noise(rng: random.Random) -> Message:
    alphabet = '{}[]",:\\0123456789.eE+-truefalsn \n\t\x00\x7f\u00e9\u2028'
    return Message("".join(rng.choices(alphabet, k=rng.randint(0, 200))).encode())


def _mutated(rng: random.Random) -> Message:
    text = bytearray(json.dumps(rng.choice(FRAMES)).encode())
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(text))
        match rng.randrange(4):
            case 0:
                del text[place : place + rng.randint(1, 10)]
            case 1:
                text[place:place] = rng.choice(
                    (b'"', b"{", b"}", b"\\", b",", b"9" * 30)
                )
            case 2:
                text[place] = rng.randint(32, 126)
            case _:
                text[place:place] = text[: rng.randint(1, 40)]
        if not text:
            break
    return Message(bytes(text))


def _cut(rng: random.Random) -> Message:
    text = json.dumps(rng.choice(FRAMES)).encode()
    return Message(text[: rng.randrange(len(text))])


def _spoilt(rng: random.Random) -> Message:
    """A field has a value that it should not have."""
    frame = dict(rng.choice(FRAMES))
    field = rng.choice(list(frame))
    frame[field] = "@@"
    return Message(json.dumps(frame).replace('"@@"', rng.choice(ODDITIES)).encode())


def _bereft(rng: random.Random) -> Message:
    frame = dict(rng.choice(FRAMES))
    del frame[rng.choice(list(frame))]
    return Message(json.dumps(frame).encode())


def _doubled(rng: random.Random) -> Message:
    text = json.dumps(rng.choice(FRAMES))
    key = rng.choice(("type", "id", "function_id", "invocation_id", "data"))
    return Message(f'{text[:-1]},"{key}":{rng.choice(ODDITIES)}}}'.encode())


def _unknown(rng: random.Random) -> Message:
    kind = rng.choice(("", "PING", "shutdown", "x" * 1000, "__proto__", "invoke"))
    return Message(json.dumps({"type": kind, "id": "x"}).encode())


def _deep(rng: random.Random) -> Message:
    depth = rng.choice((500, 5000, 50_000))
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}")))
    value = opening * depth + "1" + closing * depth
    return Message(
        f'{{"type":"invokefunction","function_id":"good::add","data":{value}}}'.encode()
    )


def _foreign_result(rng: random.Random) -> Message:
    """An answer for a call of somebody else."""
    frame = {
        "type": "invocationresult",
        "invocation_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "function_id": "good::add",
        "result": {"c": 666},
    }
    return Message(json.dumps(frame).encode())


def _forged_reattach(rng: random.Random) -> Message:
    guess = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    frame = {
        "type": "reattach",
        "previous_worker_id": guess,
        "reattach_token": rng.choice((guess, "", None)),
    }
    return Message(json.dumps(frame).encode())


def _call(
    rng: random.Random, function_id: str, codes: set[str], **more: Any
) -> Message:
    call = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    frame = {
        "type": "invokefunction",
        "invocation_id": call,
        "function_id": function_id,
        "data": {"from": "a stranger"},
        **more,
    }
    return Message(json.dumps(frame).encode(), call, frozenset(codes))


def _lost_call(rng: random.Random) -> Message:
    name = rng.choice(("no::where", "x", "bad::\u0000", "a" * 3000, "\U0001f480::f"))
    return _call(rng, name, {"function_not_found"})


def _stray_namespace(rng: random.Random) -> Message:
    namespace = rng.choice(("elsewhere", "\u200b", "x" * 3000))
    return _call(rng, "good::add", {"function_not_found"}, namespace=namespace)


def _blank_namespace(rng: random.Random) -> Message:
    namespace = rng.choice(("", " ", "\t"))
    return _call(rng, "good::add", {"INVALID_NAMESPACE"}, namespace=namespace)


def _bad_action(rng: random.Random) -> Message:
    if rng.random() < 0.5:
        action: Any = rng.choice((1, [], "void", {}, {"type": 5}, {"type": None}))
        return _call(rng, "good::add", {"INVALID_ACTION"}, action=action)
    action = {"type": rng.choice(("explode", "", "VOID"))}
    return _call(rng, "good::add", {"unknown_action"}, action=action)


def _bad_payload_for_a_builtin(rng: random.Random) -> Message:
    name = rng.choice(("state::get", "state::set", "state::update", "state::list"))
    data: Any = rng.choice((1, [], "x", {"scope": 5}, {"key": []}, {"scope": {}}))
    return _call(rng, name, {"deserialization_error"}, data=data)


def _dead_on_arrival(rng: random.Random) -> Message:
    deadline = rng.choice((0, 0.0, 1e-9))
    return _call(rng, "good::never", {"TIMEOUT"}, deadline_ms=deadline)


def _ownership(rng: random.Random) -> Message:
    """Take over what is not ours; the refusal is a frame of its own."""
    name = rng.choice(("good::add", "state::get", "engine::workers::list", "engine::x"))
    frame = {"type": "registerfunction", "id": name, "description": "mine now"}
    return Message(json.dumps(frame).encode())


def _http_route(rng: random.Random) -> Message:
    path = rng.choice(("/a/*rest", "/*", "/a/:", "/a/{x", "{}", "//", "\u0000", "/%zz"))
    frame: dict[str, Any] = {
        "type": "registertrigger",
        "id": f"bad-{rng.randrange(20)}",
        "trigger_type": "http",
        "function_id": "bad::f",
        "config": rng.choice(
            ({"api_path": path, "http_method": "GET"}, {}, [], 5, {"api_path": 5})
        ),
    }
    return Message(json.dumps(frame).encode())


_KINDS: Final[tuple[Callable[[random.Random], Message], ...]] = (
    _noise,
    _mutated,
    _mutated,
    _cut,
    _spoilt,
    _spoilt,
    _bereft,
    _doubled,
    _unknown,
    _deep,
    _foreign_result,
    _forged_reattach,
    _lost_call,
    _stray_namespace,
    _blank_namespace,
    _bad_action,
    _bad_payload_for_a_builtin,
    _dead_on_arrival,
    _ownership,
    _http_route,
)
