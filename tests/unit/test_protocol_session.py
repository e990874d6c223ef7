"""The table of senders, and the one of exceptions and wire codes."""

import pytest

from iii_trio import errors, protocol
from iii_trio.protocol import Side

FROM_ENGINE_ONLY = {
    protocol.WorkerRegistered,
    protocol.RegistrationRejected,
    protocol.Error,
}


def test_the_table_knows_every_frame() -> None:
    assert set(protocol.SENDERS) == set(protocol.FRAME_TYPES.values())


def test_only_the_engine_accepts_rejects_and_refuses() -> None:
    engine_only = {
        kind for kind, who in protocol.SENDERS.items() if who == {Side.ENGINE}
    }
    assert engine_only == FROM_ENGINE_ONLY


def test_may_send_consults_the_table() -> None:
    assert protocol.may_send(Side.WORKER, protocol.Ping())
    assert protocol.may_send(Side.ENGINE, protocol.Pong())
    assert not protocol.may_send(Side.WORKER, protocol.WorkerRegistered(worker_id="w"))
    assert not protocol.may_send(Side.ENGINE, protocol.UnregisterFunction(id="f"))


def test_calls_and_results_never_wait_for_a_namespace() -> None:
    assert not protocol.HELD_BACK & {
        protocol.InvokeFunction,
        protocol.InvocationResult,
        protocol.Reattach,
        protocol.TriggerRegistrationResult,
        protocol.Ping,
        protocol.CancelInvocation,
    }


def test_only_a_worker_sends_what_is_held_back() -> None:
    assert all(Side.WORKER in protocol.SENDERS[kind] for kind in protocol.HELD_BACK)


@pytest.mark.parametrize(("code", "kind"), protocol.ERROR_CLASSES.items())
def test_a_known_code_has_its_exception(
    code: str, kind: type[errors.InvocationError]
) -> None:
    body = protocol.ErrorBody(code=code, message="m", stacktrace="s", extra={"x": 1})
    exc = protocol.exception_from(body, function_id="f", invocation_id="i")
    assert type(exc) is kind
    assert (exc.function_id, exc.invocation_id) == ("f", "i")
    assert str(exc) == f"{code}: m"
    assert protocol.body_from(exc) == body


def test_any_other_code_is_a_failed_function() -> None:
    body = protocol.ErrorBody(code="out_of_stock", message="none left")
    exc = protocol.exception_from(body, function_id="shop::buy")
    assert type(exc) is errors.FunctionFailedError
    assert protocol.body_from(exc) == body


@pytest.mark.parametrize("kind", set(protocol.ERROR_CLASSES.values()))
def test_each_exception_has_a_default_code_that_comes_back_as_itself(
    kind: type[errors.InvocationError],
) -> None:
    body = protocol.body_from(kind("text"))
    assert type(protocol.exception_from(body, function_id="")) is kind


def test_a_missing_function_says_where_it_does_exist() -> None:
    body = protocol.not_found("f", "default", ["b", "a"])
    assert body.message == (
        "Function f not found in namespace default. "
        "It is registered in namespace(s): a, b."
    )
    assert protocol.not_found("f", "x", []).message == (
        "Function f not found in namespace x."
    )


def test_the_standard_texts_are_those_that_clients_match() -> None:
    assert protocol.blank_namespace("trigger_namespace").message == (
        "`trigger_namespace` is empty: it was named and left blank. "
        "Give it a name, or omit it to use `default`."
    )
    assert protocol.timed_out(1500.4).message == "invocation timed out after 1500ms"
    assert protocol.bad_input("f", "no").message == (
        "Failed to deserialize input for f: no"
    )
    assert protocol.refused("full") == protocol.ErrorBody(
        code="invocation_refused", message="full"
    )
    assert protocol.STOPPED.message == "Invocation stopped"
