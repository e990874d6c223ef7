"""The documentation's Python runs, its config files are read, its links lead somewhere."""

import os
import pathlib
import re
import sys
from typing import Any

import pytest
import trio

import iii_trio
from iii_trio.app import load_config
from iii_trio.engine import open_listener
from iii_trio.net import open_pump

ROOT = pathlib.Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))


def blocks(language: str) -> list[Any]:
    """Every block of a language, named by the page and line where it begins."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(rf"(?ms)^```{language}\n(.*?)^```", text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(pytest.param(match.group(1), id=f"{page.name}:{line}"))
    return found


@pytest.mark.parametrize("code", blocks("python"))
async def test_a_python_block_of_the_documentation_runs(code: str) -> None:
    async with (
        open_pump() as pump,
        iii_trio.open_engine() as engine,
        open_listener(engine, pump, port=0) as door,
    ):
        url = f"ws://127.0.0.1:{door.addresses[0][1]}"
        finished = await trio.run_process(
            [sys.executable, "-W", "error", "-c", code],
            env={**os.environ, "III_URL": url},
            capture_stderr=True,
            check=False,
        )
    assert (finished.returncode, finished.stderr.decode()) == (0, "")


@pytest.mark.parametrize("text", blocks("yaml"))
async def test_a_config_file_of_the_documentation_is_accepted(
    text: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert (await load_config(path, {})).entries


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_exists(page: pathlib.Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [one for one in targets if not (page.parent / one).exists()] == []
