"""The config block of the cron and pub/sub workers, as the app reads it."""

import pytest

from iii_trio.app._config import parse_config
from iii_trio.builtins import BUILTINS
from iii_trio.errors import ConfigError


@pytest.mark.parametrize(
    ("worker", "adapter"),
    [
        ("iii-cron", None),
        ("cron", {"name": "local"}),
        ("cron", {"name": "kv"}),
        ("cron", {"name": "kv", "config": {"lock_ttl_ms": 30000, "lock_index": "x"}}),
        ("cron", {"name": "kv", "config": {"store_method": "in_memory"}}),
        ("iii-pubsub", None),
        ("pubsub", {"name": "local"}),
        ("pubsub", {"name": "local", "config": {}}),
    ],
)
def test_files_written_for_the_reference_are_read(worker: str, adapter: object) -> None:
    block = {} if adapter is None else {"adapter": adapter}
    parsed = parse_config({"workers": [{"name": worker, "config": block}]}, BUILTINS)
    kinds = {entry.kind for entry in parsed.entries}
    assert f"iii-{worker.removeprefix('iii-')}" in kinds


@pytest.mark.parametrize("worker", ["cron", "pubsub"])
@pytest.mark.parametrize(
    ("block", "path", "reason"),
    [
        ({"adapter": {"name": "redis"}}, "adapter", "not available in this version"),
        ({"adapter": {"name": "rabbit"}}, "adapter", "unknown adapter 'rabbit'"),
        ({"adapter": {"name": "local", "config": {"a": 1}}}, "adapter", "no setting"),
        ({"adapter": {"name": "local", "url": 1}}, "adapter.url", "unknown key"),
        ({"adaptor": {}}, "adaptor", "did you mean 'adapter'"),
    ],
)
def test_what_does_not_exist_is_named_with_its_path(
    worker: str, block: object, path: str, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        parse_config({"workers": [{"name": worker, "config": block}]}, BUILTINS)
    assert caught.value.path == f"workers[0].config.{path}"
