"""Config files as they are written for the reference engine start unchanged."""

from pathlib import Path
from typing import Any

import pytest

from iii_trio.app import load_config, open_app
from iii_trio.app._config import parse_config
from iii_trio.builtins import BUILTINS
from iii_trio.errors import ConfigError
from iii_trio.worker import open_worker

FILES = Path(__file__).parent.parent / "reference_configs"
PORTS = ("III_PORT", "HTTP_PORT", "STREAM_PORT", "LOCKED_PORT")
ANY_PORT = dict.fromkeys(PORTS, "0")

STARTED = {
    "quickstart.yaml": {"state::get", "engine::queue::enqueue", "engine::logs::list"},
    "everything.yaml": {"stream::get", "cron::next", "publish", "state::get"},
    "modules.yaml": {"state::get", "publish", "cron::next"},
    "project.yaml": {"stream::get", "bridge.invoke", "remote::add"},
    "bridged.yaml": {"state::get", "stream::get", "engine::queue::enqueue"},
}
NOTES = {
    "minimal.yaml": [],
    "quickstart.yaml": [
        "workers[3].config.adapter.config.file_path: ignored",
        "workers[5]: worker 'math-worker' is not bundled",
        "workers[6]: worker 'caller-worker' is not bundled",
    ],
    "everything.yaml": [
        "workers[1]: worker 'iii-engine-functions' needs no entry",
        "workers[2]: worker 'iii-telemetry' needs no entry",
        "workers[3].config.adapter.config.directory: ignored",
        "workers[6].config.adapter.config.file_path: ignored",
        "workers[8].config.adapter.config.file_path: ignored",
    ],
    "modules.yaml": [],
    "project.yaml": [
        "workers[3]: worker 'acme/mailer' is not bundled",
        "workers[4]: worker 'resizer' is not bundled",
        "workers[5]: worker 'reports' is not bundled",
    ],
    "bridged.yaml": [],
}


def test_every_file_is_tried() -> None:
    assert {path.name for path in FILES.iterdir()} == NOTES.keys()


@pytest.mark.parametrize("name", NOTES)
async def test_a_file_is_read_and_what_it_loses_is_noted(name: str) -> None:
    config = await load_config(FILES / name, {})
    noted = zip(config.notes, NOTES[name], strict=True)
    assert [note for note, begin in noted if not note.startswith(begin)] == []


@pytest.mark.parametrize("name", STARTED)
async def test_a_file_starts(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = await load_config(FILES / name, ANY_PORT)
    async with (
        open_app(config, data_dir=tmp_path / "data") as app,
        open_worker(app.engine) as worker,
    ):
        assert {entry.key for entry in app.entries} >= {
            entry.key for entry in config.entries
        }
        listed = await worker.invoke(
            "engine::functions::list", {"include_internal": True}
        )
        offered = {function["function_id"] for function in listed["functions"]}
        assert offered >= STARTED[name] | {"configuration::get"}
    mistakes = [one for one in caplog.records if one.levelname == "ERROR"]
    assert [one.getMessage() for one in mistakes if one.name == "iii_trio.app"] == []


@pytest.mark.parametrize(
    ("worker", "adapter"),
    [
        ("state", {"name": "redis", "config": {"redis_url": "redis://localhost"}}),
        ("stream", {"name": "redis", "config": {"redis_url": "redis://localhost"}}),
        ("pubsub", {"name": "redis", "config": {"redis_url": "redis://localhost"}}),
        ("cron", {"name": "redis", "config": {"redis_url": "redis://localhost"}}),
        ("queue", {"name": "redis", "config": {"redis_url": "redis://localhost"}}),
        ("queue", {"name": "rabbitmq", "config": {"amqp_url": "amqp://localhost"}}),
        ("configuration", {"name": "bridge", "config": {"bridge_url": "ws://a:1"}}),
    ],
)
def test_an_adapter_that_does_not_exist_is_refused_by_its_name(
    worker: str, adapter: dict[str, Any]
) -> None:
    entry = {"name": worker, "config": {"adapter": adapter}}
    with pytest.raises(ConfigError) as caught:
        parse_config({"workers": [entry]}, BUILTINS)
    assert caught.value.path is not None
    assert caught.value.path.startswith("workers[0].config.adapter")
    expected = f"adapter {adapter['name']!r} is not available in this version"
    assert expected in str(caught.value)
    assert "; available: '" in str(caught.value)
