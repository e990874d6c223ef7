"""Sessions and hooks: what an auth function's answer allows, what a hook's answer does."""

from typing import Any

import msgspec
import pytest

from iii_trio.access import (
    AccessRules,
    BadAuthResultError,
    ExposeRule,
    Session,
    apply_function_answer,
    apply_trigger_answer,
    apply_type_answer,
    function_question,
    functions_named_in,
    middleware_payload,
    session_from,
    session_without_auth,
    trigger_question,
    type_question,
)
from iii_trio.protocol import (
    InvokeFunction,
    RegisterFunction,
    RegisterTrigger,
    RegisterTriggerType,
)

RULES = AccessRules(expose_functions=(ExposeRule(pattern="open::*"),))


def session(**answer: Any) -> Session:
    return session_from(RULES, msgspec.json.encode(answer))


def test_an_empty_answer_allows_what_the_sheet_says() -> None:
    plain = session()
    assert plain.allows_trigger_type("http")
    assert not plain.allow_trigger_type_registration
    assert plain.allow_function_registration
    assert not plain.allow_http_function_registration
    assert plain.context == {}
    assert plain.prefixed("a") == "a"
    assert plain.refuses_namespace("anything") is None


def test_without_auth_everything_but_calls_is_allowed() -> None:
    plain = session_without_auth(RULES)
    assert plain.allow_trigger_type_registration
    assert plain.refuses_call("default", "a::b", None)
    assert plain.refuses_call("default", "open::b", None) is None
    assert not plain.allow_http_function_registration
    free = session_without_auth(None)
    assert free.refuses_call("n", "a::b", None) is None
    assert free.allow_http_function_registration


@pytest.mark.parametrize(
    ("namespace", "function_id", "allowed"),
    [
        # 1. forbidden wins over grants, allowed ids, infrastructure and exposure
        ("n", "grant::no", False),
        ("default", "allowed::no", False),
        ("default", "engine::log::warn", False),
        ("default", "open::no", False),
        # 2. grants
        ("n", "grant::yes", True),
        ("m", "exact", True),
        ("m", "exactly", False),
        ("default", "grant::yes", False),
        # 3. allowed ids, in default only
        ("default", "allowed::yes", True),
        ("n", "allowed::yes", False),
        # 4. infrastructure, in any namespace
        ("default", "engine::workers::register", True),
        ("n", "engine::log::info", True),
        # 5. exposed
        ("default", "open::yes", True),
        ("n", "open::yes", False),
        # 6. no rule
        ("default", "engine::workers::list", False),
        ("default", "x", False),
    ],
)
def test_each_row_of_the_decision(
    namespace: str, function_id: str, allowed: bool
) -> None:
    one = session(
        namespaces={"n": ["grant::*"], "m": ["exact"], "default": []},
        allowed_functions=["allowed::yes", "allowed::no"],
        forbidden_functions=[
            "grant::no",
            "allowed::no",
            "open::no",
            "engine::log::warn",
        ],
    )
    assert (one.refuses_call(namespace, function_id, None) is None) is allowed


def test_the_two_texts() -> None:
    one = session(forbidden_functions=["a"])
    assert one.refuses_call("default", "a", None) == (
        "function 'a' not allowed (remove from rbac.forbidden_functions)"
    )
    assert one.refuses_call("default", "b", None) == (
        "function 'b' not allowed (add to rbac.expose_functions)"
    )


def test_a_pattern_may_forbid() -> None:
    one = session(forbidden_functions=["open::secret::*"])
    assert one.refuses_call("default", "open::secret::x", None)
    assert one.refuses_call("default", "open::x", None) is None
    assert one.forbids("open::secret::")


def test_grants_limit_the_namespaces_of_the_worker() -> None:
    one = session(namespaces={"b": [], "a": ["*"]})
    assert one.refuses_namespace("a") is None
    assert one.refuses_namespace("default") == (
        "namespace 'default' not allowed for this session (permitted: a, b)"
    )


def test_trigger_types_and_prefix() -> None:
    one = session(allowed_trigger_types=["cron"], function_registration_prefix="t1")
    assert one.allows_trigger_type("cron")
    assert not one.allows_trigger_type("http")
    assert one.prefixed("a::b") == "t1::a::b"
    assert one.may_bind("cron", "t1::a")
    assert not one.may_bind("cron", "t1")
    assert not one.may_bind("http", "t1::a")
    assert session().may_bind("http", "a")
    assert not session(allowed_trigger_types=[]).allows_trigger_type("cron")
    assert session(allowed_trigger_types=None).allows_trigger_type("cron")


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (b"", "auth function returned no result"),
        (b"null", "auth function returned no result"),
        (b"true", "Expected `object`, got `bool`"),
        (b"[]", "Expected `object`"),
        (b'{"allowed_functions": "a"}', "$.allowed_functions"),
        (b'{"allowed_functions": null}', "$.allowed_functions"),
        (b'{"namespaces": {"n": "a"}}', "$.namespaces"),
        (b'{"forbidden_functions": [1]}', "$.forbidden_functions[0]"),
        (b'{"allow_function_registration": "no"}', "$.allow_function_registration"),
        (b'{"function_registration_prefix": " "}', "prefix is blank"),
    ],
)
def test_an_answer_that_is_no_session_is_refused(result: bytes, text: str) -> None:
    with pytest.raises(BadAuthResultError) as caught:
        session_from(RULES, result)
    assert text in str(caught.value)


def test_the_context_does_not_show() -> None:
    assert "hush" not in repr(session(context={"secret": "hush"}))


def test_functions_that_a_config_names_are_found() -> None:
    config = {
        "condition_function_id": "a",
        "conditionFunctionId": "b",
        "middleware_function_ids": ["c", 1],
        "other_function_ids": "d",
        "function": "e",
        "handler_function_id": 7,
    }
    assert list(functions_named_in(config)) == ["a", "b", "c"]
    assert list(functions_named_in("condition_function_id")) == []


def test_functions_that_are_named_deep_in_a_config_are_found() -> None:
    config: dict[str, object] = {"steps": [{"hook": {"function_id": "a"}}, [None]]}
    assert list(functions_named_in(config)) == ["a"]
    for _ in range(5000):  # whatever the stack takes
        config = {"more": [config]}
    assert list(functions_named_in(config)) == ["a"]


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def decoded(text: bytes) -> Any:
    return msgspec.json.decode(text)


def test_hooks_are_asked_with_the_fields_of_the_sheet() -> None:
    function = RegisterFunction(id="a", metadata=raw({"m": 1}))
    assert decoded(function_question(function, "n", {"user": 1})) == {
        "function_id": "a",
        "description": None,
        "metadata": {"m": 1},
        "namespace": "n",
        "context": {"user": 1},
    }
    trigger = RegisterTrigger(id="t", trigger_type="http", function_id="a")
    assert decoded(trigger_question(trigger, "n", {})) == {
        "trigger_id": "t",
        "trigger_type": "http",
        "function_id": "a",
        "config": None,
        "metadata": None,
        "namespace": "n",
        "context": {},
    }
    kind = RegisterTriggerType(id="k")
    assert decoded(type_question(kind, {})) == {
        "trigger_type_id": "k",
        "description": "",
        "context": {},
    }


def test_middleware_is_told_the_whole_call() -> None:
    call = InvokeFunction(function_id="a", data=raw([1]))
    assert decoded(middleware_payload(call, "n", {"c": 1})) == {
        "function_id": "a",
        "payload": [1],
        "action": None,
        "context": {"c": 1},
        "namespace": "n",
    }
    void = InvokeFunction(function_id="a", action=raw({"type": "void"}))
    told = decoded(middleware_payload(void, "n", {}))
    assert (told["payload"], told["action"]) == (None, {"type": "void"})


REFUSALS = (b"", b"null", b"false", b"true", b'"x"', b"1", b"[]", b"{", b"[" * 5000)


@pytest.mark.parametrize("result", REFUSALS)
def test_anything_but_an_object_refuses(result: bytes) -> None:
    function = RegisterFunction(id="a")
    trigger = RegisterTrigger(id="t", trigger_type="k", function_id="a")
    kind = RegisterTriggerType(id="k")
    assert apply_function_answer(function, result) is None
    assert apply_trigger_answer(trigger, result) is None
    assert apply_type_answer(kind, result) is None


def test_an_object_accepts_and_its_fields_win() -> None:
    function = RegisterFunction(id="a", description="d", metadata=raw(1))
    assert apply_function_answer(function, b"{}") == function
    changed = apply_function_answer(
        function, b'{"function_id":"b","description":"e","metadata":null,"x":1}'
    )
    assert changed == RegisterFunction(id="b", description="e", metadata=raw(None))
    trigger = RegisterTrigger(id="t", trigger_type="k", function_id="a", config=raw(1))
    assert apply_trigger_answer(trigger, b'{"metadata":2}') == trigger
    assert apply_trigger_answer(
        trigger,
        b'{"trigger_id":"u","trigger_type":"l","function_id":"b","config":{"c":1}}',
    ) == RegisterTrigger(
        id="u", trigger_type="l", function_id="b", config=msgspec.Raw(b'{"c":1}')
    )
    kind = RegisterTriggerType(id="k", description="d")
    assert apply_type_answer(kind, b"{}") == kind
    assert apply_type_answer(
        kind, b'{"trigger_type_id":"l","description":"e"}'
    ) == RegisterTriggerType(id="l", description="e")


def test_a_blank_id_or_one_of_another_type_refuses() -> None:
    function = RegisterFunction(id="a")
    trigger = RegisterTrigger(id="t", trigger_type="k", function_id="a")
    kind = RegisterTriggerType(id="k")
    for value in (b'" "', b"7"):
        assert (
            apply_function_answer(function, b'{"function_id":' + value + b"}") is None
        )
        assert apply_trigger_answer(trigger, b'{"trigger_id":' + value + b"}") is None
        assert apply_type_answer(kind, b'{"trigger_type_id":' + value + b"}") is None
