"""The conformance checks check under ``python -O``, too, which leaves asserts out."""

import ast
import pathlib
import subprocess
import sys
from typing import Final

import pytest

import iii_trio.testing
from iii_trio.testing._stores import KEPT

ROOT: Final = pathlib.Path(__file__).parents[2]
TESTING: Final = pathlib.Path(iii_trio.testing.__file__).parent
CHECKS: Final = sorted(
    TESTING / f"{name}.py" for name in ("_checking", "_links", "_stores")
) + sorted(TESTING.glob("_queue_*.py"))


def test_a_store_that_breaks_a_rule_is_found_out() -> None:
    code = (
        "from tests.conformance import test_kv_checks as t; import trio;"
        "trio.run(t.check_kv_store, lambda: t.opened(t.Stripping()))"
    )
    done = subprocess.run(
        [sys.executable, "-O", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"AssertionError: {KEPT}: get(" in done.stderr


@pytest.mark.parametrize("path", CHECKS, ids=lambda path: path.stem)
def test_a_check_asserts_nothing(path: pathlib.Path) -> None:
    nodes = ast.walk(ast.parse(path.read_text()))
    assert [node.lineno for node in nodes if isinstance(node, ast.Assert)] == []
