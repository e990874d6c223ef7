"""Topics: exact, and each subscription by itself."""

import pytest

from iii_trio.builtins.pubsub._config import PubSubAdapterConfig
from iii_trio.builtins.pubsub._topics import Topics, topic_of


@pytest.mark.parametrize(
    ("config", "topic"),
    [
        ({"topic": "a"}, "a"),
        ({"topic": " "}, " "),
        ({"topic": ""}, None),
        ({"topic": 1}, None),
        ({}, None),
        ([], None),
        (None, None),
        ("a", None),
    ],
)
def test_the_topic_of_a_config(config: object, topic: str | None) -> None:
    assert topic_of(config) == topic


def test_one_subscription_leaves_and_the_others_stay() -> None:
    topics: Topics[str] = Topics()
    for name in ("one", "two"):
        topics.add("t", name, name.upper())
    assert topics.remove("one") == "ONE"
    assert topics.remove("one") is None
    assert topics.subscriptions("t") == ("TWO",)
    assert topics.remove("two") == "TWO"
    assert (topics.subscriptions("t"), len(topics)) == ((), 0)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"name": "redis"}, "not available in this version"),
        ({"name": "nats"}, "unknown adapter 'nats'; known: 'local', 'bridge'"),
        ({"name": "bridge", "config": {"url": "ws://x"}}, "no setting 'url'"),
        ({"name": "bridge", "config": {"bridge_url": "x"}}, "must begin with ws://"),
        ({"name": "local", "config": {"redis_url": "x"}}, "no setting 'redis_url'"),
    ],
)
def test_an_adapter_that_does_not_exist_is_refused(
    settings: dict[str, object], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        PubSubAdapterConfig(**settings)  # type: ignore[arg-type]


def test_where_the_engine_is_that_carries_messages() -> None:
    assert PubSubAdapterConfig().bridge_url is None
    assert PubSubAdapterConfig(name="bridge").bridge_url == "ws://localhost:49134"
    config = {"bridge_url": "wss://other.example"}
    adapter = PubSubAdapterConfig(name="bridge", config=config)
    assert adapter.bridge_url == "wss://other.example"
