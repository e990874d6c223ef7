"""The pytest plugin beside pytest-trio, beside anyio's plugin, beside both and neither."""

import pathlib
import re
import subprocess
import sys

import pytest

TRIO = """
async def test_with_pytest_trio(iii_engine, autojump_clock):
    async with iii_engine() as harness, harness.open_worker() as worker:
        worker.register_function("math::one", lambda: 1)
        assert await worker.invoke("math::one") == 1
"""

GIVEN = """
from hypothesis import given, settings, strategies as st
from iii_trio.testing import open_test_engine

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

@given(st.integers())
async def test_an_engine_per_example(iii_engine, number):
    async with iii_engine() as harness, harness.open_worker() as worker:
        worker.register_function("math::same", lambda value: value)
        assert await worker.invoke("math::same", number) == number

@given(st.integers())
def test_a_run_per_example(iii_run, number):
    async def main():
        async with open_test_engine() as harness, harness.open_worker() as worker:
            worker.register_function("math::same", lambda value: value)
            return await worker.invoke("math::same", number)

    assert iii_run(main) == number
"""

ANYIO = """
import pytest

@pytest.fixture
def anyio_backend():
    return "trio"

@pytest.mark.anyio
async def test_with_anyio(iii_engine):
    async with iii_engine() as harness, harness.open_link_worker("far") as far:
        await far.invoke("engine::workers::list")
"""

PAGE = pathlib.Path(__file__).parents[2] / "docs/testing.md"

[ANYIO_BACKEND] = re.findall(
    r"(?ms)^```python\n(import pytest\n.*?def anyio_backend.*?)^```", PAGE.read_text()
)

ANYIO_VIRTUAL = """
import trio

@pytest.mark.anyio
@pytest.mark.parametrize("round", range(2))
async def test_a_day_with_anyio(iii_engine, round):
    async with iii_engine() as harness, harness.open_link_worker("far") as far:
        began = harness.clock()
        await trio.sleep(86400)
        assert harness.clock() == began + 86400
        await far.invoke("engine::workers::list")
"""

PLAIN = """
from iii_trio.testing import open_test_engine

def test_without_any(iii_run):
    async def main():
        async with open_test_engine() as harness, harness.open_worker() as worker:
            worker.register_function("math::one", lambda: 1)
            return await worker.invoke("math::one")

    assert iii_run(main) == 1
"""

CASES = {
    "pytest-trio": (["-p", "no:anyio", "-o", "trio_mode=true"], TRIO, 1),
    "pytest-trio and Hypothesis": (
        ["-p", "no:anyio", "-o", "trio_mode=true"],
        GIVEN,
        2,
    ),
    "anyio": (["-p", "no:trio"], ANYIO, 1),
    "anyio in virtual time": (["-p", "no:trio"], ANYIO_BACKEND + ANYIO_VIRTUAL, 2),
    "both": (["-o", "trio_mode=false"], ANYIO + "@pytest.mark.trio" + TRIO, 2),
    "neither": (["-p", "no:trio", "-p", "no:anyio"], PLAIN, 1),
}


@pytest.mark.parametrize("case", CASES)
def test_the_fixtures_work_beside(case: str, tmp_path: pathlib.Path) -> None:
    options, text, tests = CASES[case]
    path = tmp_path / "test_user.py"
    path.write_text(text)
    command = ["-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, *command, *options, str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{tests} passed" in done.stdout
