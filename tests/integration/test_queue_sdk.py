"""Every function of the queue worker, called by the newest Python SDK, in an app."""

import os
import pathlib
import sys

import msgspec
import trio

from iii_trio.app import open_app

PROGRAM = pathlib.Path(__file__).parent.parent / "sdk_workers" / "queue_user.py"


async def test_a_python_sdk_uses_everything_that_queues_offer(
    tmp_path: pathlib.Path,
) -> None:
    config = {
        "workers": [
            {"name": "iii-worker-manager", "config": {"port": 0}},
            {"name": "queue", "config": {"queue_configs": {"mail": {}}}},
        ]
    }
    async with open_app(config, data_dir=tmp_path) as app:
        host, port = app.addresses["iii-worker-manager"][0]
        finished = await trio.run_process(
            [sys.executable, PROGRAM],
            env={**os.environ, "III_URL": f"ws://{host}:{port}"},
            capture_stdout=True,
        )
    report = msgspec.json.decode(finished.stdout)
    assert report["defined"] == {"queue": "once", "changed": True}
    assert len(report["receipt"]["messageReceiptId"]) == 36
    assert (report["first"], report["second"]) == ({"n": 1}, [2])
    assert report["published"] is None
    assert report["unknown"] == [
        "enqueue_error",
        (
            "queue_not_defined: queue 'nowhere' is not defined; call queue::define before "
            "enqueueing"
        ),
    ]
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
    assert report["empty"] == ["queue_not_set", "Queue name is required"]
