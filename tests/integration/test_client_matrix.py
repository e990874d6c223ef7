"""The newest Python and Node SDKs on the script of the client matrix."""

import pathlib

import pytest

from tests import matrix, sdks
from tests.client_stage import Client
from tests.client_steps import STEPS, has_namespaces, run_steps


@pytest.mark.parametrize(
    "client",
    [
        Client("python", sdks.NEWEST_PYTHON),
        pytest.param(Client("node", sdks.NEWEST_NODE), marks=pytest.mark.needs_node),
    ],
    ids=str,
)
async def test_a_client_goes_through_the_script(
    client: Client, tmp_path: pathlib.Path
) -> None:
    wanted = dict.fromkeys(STEPS, "yes")
    if not has_namespaces(client):
        wanted["namespaces"] = "-"
    assert await run_steps(client, tmp_path) == wanted


def test_the_page_has_a_line_for_every_client() -> None:
    page = matrix.PAGE.read_text()
    table = page.partition(matrix.BEGIN)[2].partition(matrix.END)[0]
    for client in matrix.CLIENTS:
        [line] = [
            line for line in table.splitlines() if line.startswith(f"| {client} ")
        ]
        assert "no" not in line.split(" | ")


def test_a_table_replaces_the_one_before_it() -> None:
    page = f"a\n{matrix.BEGIN}\nold\n{matrix.END}\nb\n"
    results = {"x 1": dict.fromkeys(STEPS, "yes") | {"leave": "AssertionError: it"}}
    once = matrix.with_table(page, matrix.as_table(results))
    assert once == matrix.with_table(once, matrix.as_table(results))
    assert "old" not in once
    assert "| x 1 | yes |" in once
    assert once.count("| no |") == 1
