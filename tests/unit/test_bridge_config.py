"""The configuration of the bridge, as the reference engine has it."""

from typing import Any

import pytest

from iii_trio.app import load_config
from iii_trio.app._load import config_of_text
from iii_trio.builtins.bridge import BridgeConfig, ExposeConfig, ForwardConfig
from iii_trio.errors import ConfigError

FILE = """
workers:
  - name: iii-bridge
    config:
      url: ${REMOTE_III_URL:ws://0.0.0.0:49134}
      expose:
        - local_function: engine.echo
          remote_function: remote.echo
        - local_function: same
      forward:
        - local_function: remote.run
          remote_function: run
          timeout_ms: 5000
        - {local_function: a, remote_function: b}
"""


def config_of(text: str) -> Any:
    entries = config_of_text(text, {}).entries
    [found] = [one for one in entries if one.kind == "iii-bridge"]
    return found.config


async def test_a_file_of_the_reference_is_read(tmp_path: Any) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(FILE)
    entries = (await load_config(path, {})).entries
    [config] = [one.config for one in entries if one.kind == "iii-bridge"]
    assert config == BridgeConfig(
        url="ws://0.0.0.0:49134",
        expose=(
            ExposeConfig(local_function="engine.echo", remote_function="remote.echo"),
            ExposeConfig(local_function="same"),
        ),
        forward=(
            ForwardConfig(
                local_function="remote.run", remote_function="run", timeout_ms=5000
            ),
            ForwardConfig(local_function="a", remote_function="b", timeout_ms=30_000),
        ),
    )


@pytest.mark.parametrize("name", ["iii-bridge", "bridge"])
def test_everything_has_a_default(name: str) -> None:
    assert config_of(f"workers: [{{name: {name}}}]") == BridgeConfig()


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ("{service_id: a}", "service_id"),
        ("{url: http://x}", "url"),
        ("{url: 'ws://'}", "url"),
        ("{url: 'ws://x:0'}", "url"),
        ("{expose: [{}]}", "expose[0].local_function"),
        ("{expose: [{local_function: a, x: b}]}", "expose[0].x"),
        ("{forward: [{local_function: a}]}", "forward[0].remote_function"),
        (
            "{forward: [{local_function: a, remote_function: b, timeout_ms: 0}]}",
            "timeout_ms must be at least 1",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(config: str, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(f"workers: [{{name: iii-bridge, config: {config}}}]")
    assert path in f"{caught.value.path} {caught.value}"
