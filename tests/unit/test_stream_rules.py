"""The rules of streams: config, frames, trigger matching, subscriptions, admission."""

import json
from typing import Any

import pytest

from iii_trio.app._config import parse_config
from iii_trio.builtins import BUILTINS
from iii_trio.builtins._payloads import InputError
from iii_trio.builtins.stream import StreamConfig
from iii_trio.builtins.stream._admission import (
    Admitted,
    admitted,
    auth_input,
    first_subprotocol,
)
from iii_trio.builtins.stream._events import (
    deleted,
    envelope,
    sent,
    sync,
    unauthorized,
    visit,
    written,
)
from iii_trio.builtins.stream._inputs import (
    Place,
    StreamTriggerConfig,
    Wish,
    parse_frame,
)
from iii_trio.builtins.stream._schemas import DESCRIPTIONS, REQUEST_FORMATS
from iii_trio.builtins.stream._subscriptions import (
    WAITING_BYTES,
    Subscription,
    Subscriptions,
)
from iii_trio.builtins.stream._triggers import may_join
from iii_trio.errors import ConfigError
from iii_trio.net import HTTPRequest, PeerCertificate

HERE = Place("s", "g", "i")
JOIN = {
    "type": "join",
    "data": {"subscriptionId": "1", "streamName": "s", "groupId": "g"},
}


class Ear:
    """A subscriber that keeps what it is sent."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.overflows = 0

    def send(self, frame: bytes) -> None:
        self.frames.append(frame)

    def overflow(self) -> None:
        self.overflows += 1


def test_milliseconds_of_the_config_become_seconds() -> None:
    config = StreamConfig(handler_timeout=1500)
    assert config.timeout == 1.5
    assert StreamConfig().address == (None, 3112)


@pytest.mark.parametrize(
    "wrong", [{"port": -1}, {"port": 65536}, {"handler_timeout": 0}]
)
def test_values_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        StreamConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "fires"),
    [
        (StreamTriggerConfig("s"), True),
        (StreamTriggerConfig("s", "", ""), True),
        (StreamTriggerConfig("s", "g", "i"), True),
        (StreamTriggerConfig("t"), False),
        (StreamTriggerConfig("s", "h"), False),
        (StreamTriggerConfig("s", None, "j"), False),
    ],
)
def test_a_trigger_matches_by_stream_group_and_item(
    config: StreamTriggerConfig, fires: bool
) -> None:
    assert config.matches(HERE) is fires


def test_an_item_bound_trigger_does_not_match_an_event_without_item() -> None:
    assert not StreamTriggerConfig("s", None, "i").matches(Place("s", "g"))


def test_a_join_is_read_in_camel_case() -> None:
    frame = parse_frame(json.dumps(JOIN).encode())
    assert frame is not None
    assert (frame.type, frame.data) == ("join", Wish("1", "s", "g"))
    assert frame.data.place == Place("s", "g")


def test_the_size_of_a_wish_is_that_of_its_names_in_utf_8() -> None:
    assert Wish("1", "é", "g").names_bytes == 4
    assert Wish("1", "é", "g", "\U0001f600").names_bytes == 8


def test_a_blank_frame_is_none() -> None:
    assert parse_frame(b" \n") is None


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"\xff",
        b'"\xff"',
        b"[" * 100_000,
        b"[]",
        b'{"type":"join"}',
        b'{"type":"join","data":{"subscriptionId":1,"streamName":"","groupId":""}}',
        json.dumps({**JOIN, "type": "hello"}).encode(),
    ],
)
def test_other_frames_are_refused(text: bytes) -> None:
    with pytest.raises(InputError):
        parse_frame(text)


def test_an_event_always_has_an_id() -> None:
    assert envelope(Place("s", "g"), 1.5, sync([])) == {
        "type": "stream",
        "timestamp": 1500,
        "streamName": "s",
        "groupId": "g",
        "id": None,
        "event": {"type": "sync", "data": []},
    }


def test_causes_have_their_events() -> None:
    assert written(1, existed=False) == {"type": "create", "data": 1}
    assert written(1, existed=True) == {"type": "update", "data": 1}
    assert deleted(1) == {"type": "delete", "data": 1}
    assert sent("t", 1) == {"type": "event", "event": {"type": "t", "data": 1}}
    assert unauthorized() == {"type": "unauthorized"}


def test_visits_are_in_snake_case() -> None:
    assert visit(Wish("1", "s", "g", "i"), {"user": 1}) == {
        "subscription_id": "1",
        "stream_name": "s",
        "group_id": "g",
        "id": "i",
        "context": {"user": 1},
    }


def test_what_comes_before_the_snapshot_follows_it() -> None:
    ear = Ear()
    subscription = Subscription("1", HERE, ear)
    subscription.deliver(b"early")
    subscription.go_live(b"sync")
    subscription.deliver(b"late")
    assert ear.frames == [b"sync", b"early", b"late"]


def test_without_a_snapshot_what_waited_comes() -> None:
    ear = Ear()
    subscription = Subscription("1", HERE, ear)
    subscription.deliver(b"early")
    subscription.go_live(None)
    assert ear.frames == [b"early"]


def test_too_much_that_waits_is_an_overflow() -> None:
    ear = Ear()
    subscription = Subscription("1", HERE, ear)
    subscription.deliver(b"x" * WAITING_BYTES)
    assert ear.overflows == 0
    subscription.deliver(b"x")
    assert (ear.frames, ear.overflows) == ([], 1)


def test_subscriptions_match_their_group_and_item_in_order() -> None:
    table, ear = Subscriptions(), Ear()
    group = Subscription("1", Place("s", "g"), ear)
    item = Subscription("2", HERE, ear)
    other = Subscription("3", Place("s", "g", "j"), ear)
    elsewhere = Subscription("4", Place("s", "h"), ear)
    for one in (group, item, other, elsewhere):
        table.add(one)
    assert len(table) == 4
    assert table.matching(HERE) == [group, item]
    assert table.matching(Place("s", "g")) == [group]
    assert table.matching(Place("t", "g")) == []
    for one in (group, item, other, elsewhere, elsewhere):
        table.remove(one)
    assert len(table) == 0


YES, NO = {"unauthorized": False}, {"unauthorized": True}


@pytest.mark.parametrize(
    ("answers", "lenient", "strict"),
    [
        ([], True, False),
        ([YES], True, True),
        ([YES, NO], False, False),
        ([YES, None], True, False),
        ([{"unauthorized": "yes"}], True, False),
        ([5], True, False),
    ],
)
def test_who_may_join(answers: list[Any], lenient: bool, strict: bool) -> None:
    assert may_join(answers, strict=False, vetted=False) is lenient
    assert may_join(answers, strict=True, vetted=False) is strict


def test_a_vetted_connection_needs_no_handler() -> None:
    assert may_join([], strict=True, vetted=True)
    assert not may_join([None], strict=True, vetted=True)


@pytest.mark.parametrize("answer", [None, {}, [], "context"])
def test_only_strict_refuses_an_odd_answer_of_the_auth_function(answer: Any) -> None:
    assert admitted(answer, strict=False) == Admitted(None)
    assert admitted(answer, strict=True) is None


def test_a_null_context_is_an_answer() -> None:
    assert admitted({"context": None}, strict=True) == Admitted(None)


def test_every_function_is_described() -> None:
    assert DESCRIPTIONS.keys() == REQUEST_FORMATS.keys()


@pytest.mark.parametrize(
    ("adapter", "backend"),
    [
        (None, "sqlite"),
        ({"name": "kv", "config": {"store_method": "file_based"}}, "sqlite"),
        ({"name": "kv", "config": {"store_method": "in_memory"}}, "memory"),
    ],
)
def test_config_files_choose_where_streams_rest(adapter: Any, backend: str) -> None:
    block = {"port": 1, "auth_function": "a::b"}
    if adapter is not None:
        block["adapter"] = adapter
    entry = {"name": "stream", "config": block}
    entries = parse_config({"workers": [entry]}, BUILTINS).entries
    [parsed] = [one for one in entries if one.kind == "iii-stream"]
    assert parsed.backend == backend
    assert parsed.config == StreamConfig(port=1, auth_function="a::b")


@pytest.mark.parametrize(
    ("block", "path"),
    [
        ({"adapter": {"name": "redis"}}, "adapter"),
        ({"adapter": {"name": "bridge", "config": {"url": "x"}}}, "adapter"),
        ({"auth": "a::b"}, "auth"),
        ({"port": "1"}, "port"),
    ],
)
def test_what_a_config_file_cannot_have_is_named(block: Any, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"workers": [{"name": "stream", "config": block}]}, BUILTINS)
    assert caught.value.path.startswith(f"workers[0].config.{path}")


def test_the_auth_function_gets_all_of_a_request() -> None:
    request = HTTPRequest(
        method="GET",
        target="/p?a=1&&b",
        path="/p",
        query="a=1&&b",
        headers=(("x", "1"), ("x", "2")),
        peer=("::1", 5),
    )
    assert auth_input(request) == {
        "headers": {"x": "2"},
        "path": "/p",
        "query_params": {"a": ["1"], "b": [""]},
        "addr": "[::1]:5",
    }


def test_the_auth_function_gets_the_certificate_of_a_client_that_has_one() -> None:
    certificate = PeerCertificate(
        common_name="billing",
        subject={"commonName": "billing"},
        issuer={},
        dns_names=("billing.test",),
        uris=(),
        emails=(),
        ip_addresses=(),
        serial_number="1",
        not_before=0,
        not_after=1,
        fingerprint_sha256="00",
    )
    request = HTTPRequest(
        method="GET",
        target="/",
        path="/",
        query="",
        headers=(),
        peer=("127.0.0.1", 5),
        peer_certificate=certificate,
    )
    assert auth_input(request)["peer_certificate"] == certificate.as_json()


@pytest.mark.parametrize(
    ("offers", "selected"),
    [((), None), (("",), None), ((" , b",), "b"), (("", "a, b"), "a")],
)
def test_the_first_subprotocol_is_selected(
    offers: tuple[str, ...], selected: str | None
) -> None:
    headers = (("x", "1"), *(("sec-websocket-protocol", offer) for offer in offers))
    request = HTTPRequest(
        method="GET", target="/", path="/", query="", headers=headers, peer=("h", 1)
    )
    assert first_subprotocol(request) == selected
