"""Every function of the queue worker, called by the newest Python and Node SDKs."""

import pathlib

import pytest

from iii_trio.app import open_app
from tests.integration.sdk_rig import failure_in, run_sdk_program
from tests.live import Language


@pytest.mark.parametrize(
    "language", ["py", pytest.param("ts", marks=pytest.mark.needs_node)]
)
async def test_an_sdk_uses_everything_that_queues_offer(
    language: Language, tmp_path: pathlib.Path
) -> None:
    config = {
        "workers": [
            {"name": "iii-worker-manager", "config": {"port": 0}},
            {"name": "queue", "config": {"queue_configs": {"mail": {}}}},
        ]
    }
    async with open_app(config, data_dir=tmp_path / "data") as app:
        report = await run_sdk_program(app, language, "queue_user", tmp_path)
    assert report["defined"] == {"queue": "once", "changed": True}
    assert len(report["receipt"]["messageReceiptId"]) == 36
    assert (report["first"], report["second"]) == ({"n": 1}, [2])
    assert report["published"] is None
    assert failure_in(report["unknown"]) == (
        "enqueue_error",
        (
            "queue_not_defined: queue 'nowhere' is not defined; call queue::define before "
            "enqueueing"
        ),
    )
    [dead] = report["dead"]
    assert (dead["payload"], dead["retries"], dead["size_bytes"]) == ({"n": 3}, 1, 7)
    assert dead["error"] == "invocation_failed: never"
    assert report["dlq_topics"] == [
        {"topic": "once", "broker_type": "function_queue", "message_count": 1}
    ]
    names = [row["name"] for row in report["topics"]]
    assert names == ["default", "mail", "once", "news"]
    assert (report["stats"]["depth"], report["stats"]["dlq_depth"]) == (0, 1)
    assert report["redriven"]["redriven"] == report["discarded"]["redriven"] == 1
    assert report["all"] == {"queue": "once", "redriven": 0}
    assert failure_in(report["empty"]) == ("queue_not_set", "Queue name is required")
