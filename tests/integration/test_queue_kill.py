"""A queue on SQLite is killed at every named point, and loses and repeats nothing."""

import random
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import trio

from tests.integration import queue_process
from tests.integration.queue_process import GROUPS

COUNT = 60
POINTS = (
    "before put",
    "after put",
    "before take",
    "after take",
    "in delivery",
    "before settle",
    "after settle",
)


@attrs.frozen
class Told:
    """What a process said, in order."""

    lines: list[tuple[str, int]]

    @classmethod
    def of(cls, output: bytes) -> "Told":
        complete = output.decode().rpartition("\n")[0].splitlines()
        pairs = (line.split() for line in complete)
        return cls([(what, int(number)) for what, number in pairs])

    def numbers(self, what: str) -> list[int]:
        return [number for told, number in self.lines if told == what]


async def run_process(
    path: Path, count: int, point: str = "-", passed: int = 0
) -> tuple[int, Told]:
    finished = await trio.run_process(
        [
            *(sys.executable, "-m", queue_process.__name__),
            *(str(path), str(count), point, str(passed)),
        ],
        capture_stdout=True,
        check=False,
    )
    return finished.returncode, Told.of(finished.stdout)


def check_lives(lives: list[Told]) -> None:
    """Nothing that was acknowledged is lost, nothing that was settled comes again."""
    acknowledged, settled, begun = set[int](), set[int](), list[int]()
    for told in lives:
        for what, number in told.lines:
            if what == "acknowledged":
                acknowledged.add(number)
            elif what == "settled":
                assert number not in settled
                settled.add(number)
            elif what == "begun":
                assert number not in settled, "it was acknowledged before"
                begun.append(number)
    assert acknowledged <= set(begun)
    for group in range(GROUPS):
        order = [number for number in begun if number % GROUPS == group]
        assert order == sorted(order), "a group keeps its order through kills"


@pytest.mark.parametrize("point", POINTS)
async def test_a_kill_at_a_named_point_loses_nothing(
    tmp_path: Path, point: str
) -> None:
    rng = random.Random(point)
    path = tmp_path / "engine.db"
    code, first = await run_process(path, COUNT, point, rng.randrange(20))
    assert code == -9
    code, second = await run_process(path, 0, point, rng.randrange(5))
    assert code in (0, -9)
    code, last = await run_process(path, 0)
    assert code == 0
    assert last.numbers("empty")
    check_lives([first, second, last])


async def test_a_kill_at_a_random_instant_loses_nothing(tmp_path: Path) -> None:
    rng = random.Random(1)
    for number in range(3):
        path = tmp_path / f"{number}.db"
        process = await trio.lowlevel.open_process(
            [
                *(sys.executable, "-m", queue_process.__name__),
                *(str(path), "100000", "-", "0"),
            ],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        output, wanted = bytearray(), rng.randrange(100, 20_000)
        async for chunk in process.stdout:
            output += chunk
            if len(output) > wanted:
                process.kill()
        assert await process.wait() == -9
        code, last = await run_process(path, 0)
        assert code == 0
        check_lives([Told.of(bytes(output)), last])


async def test_an_orderly_end_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "engine.db"
    code, told = await run_process(path, COUNT)
    assert code == 0
    assert sorted(told.numbers("settled")) == list(range(COUNT))
    check_lives([told])
