"""Everything that must hold of the source itself: ``make check``, or ``python tests/check.py``.

Runs every tool even when one fails, two at a time, and prints the output of those that
failed. What the tools demand is in pyproject.toml; the modules whose branches must all be
covered by tests/unit and tests/property are those of its contract about pure modules.
"""

import functools
import os
import pathlib
import sys
import tomllib
from collections.abc import Sequence

import attrs
import trio

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = ("iii_trio", "tests", "examples", "benchmarks")
# Not ASYNC114: it wants literal `yield` in every context manager of our own.
FLAKE8_ASYNC = (
    "--isolated",
    "--select=ASYNC",
    "--enable=ASYNC,ASYNC900,ASYNC910,ASYNC911,ASYNC912,ASYNC913",
    "--disable=ASYNC114",
    "--max-line-length=200",
    "--exclude=node_modules",
    # Workers on the public Python SDK run on asyncio, as SDKs do; a handler that is
    # measured must not add a checkpoint of its own.
    "--per-file-ignores=tests/sdk_workers/*:ASYNC910 benchmarks/*:ASYNC124,ASYNC910",
)
PURE_CONTRACT = "Pure modules"
AT_A_TIME = 2


@attrs.frozen
class Check:
    """A name and the commands that must succeed one after the other."""

    name: str
    commands: tuple[tuple[str, ...], ...]


def pure_files() -> list[str]:
    """Return the patterns of the pure modules, as the layers contract names them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    [contract] = [one for one in contracts if one["name"].startswith(PURE_CONTRACT)]
    patterns = []
    for module in contract["source_modules"]:
        path = module.replace(".", "/")
        is_package = (ROOT / path).is_dir()
        patterns.append(f"{path}/*" if is_package else f"{path}.py")
    return patterns


def checks() -> tuple[Check, ...]:
    """Return every check; see the house style, section 10."""
    python = sys.executable
    include = "--include=" + ",".join(pure_files())
    # No watchdog: under coverage its dump of a running thread may crash.
    quiet = ("-q", "-o", "faulthandler_timeout=0")
    pytest = ("-m", "pytest", *quiet, "tests/unit", "tests/property")
    coverage = (python, "-m", "coverage")
    data = "--data-file=.coverage.pure"
    return (
        Check("format", ((python, "-m", "ruff", "format", "--check", "."),)),
        Check("lint", ((python, "-m", "ruff", "check", "."),)),
        Check("async", ((python, "-m", "flake8", *FLAKE8_ASYNC, *SOURCES),)),
        Check("types", ((python, "-m", "mypy"),)),
        Check("layers", ((f"{pathlib.Path(python).parent}/lint-imports",),)),
        Check(
            "coverage of pure modules",
            (
                (*coverage, "run", data, *pytest),
                (*coverage, "report", data, include, "-m", "--fail-under=100"),
            ),
        ),
    )


async def run(check: Check, slots: trio.CapacityLimiter, failed: list[str]) -> None:
    """Run one check and print how it ended."""
    async with slots:
        for command in check.commands:
            finished = await trio.run_process(
                command,
                cwd=ROOT,
                # Layers are read from the tree, not from an installed copy.
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
            if finished.returncode:
                failed.append(check.name)
                output = (finished.stdout + finished.stderr).decode(errors="replace")
                print(f"FAILED {check.name}: {' '.join(command)}\n{output}", flush=True)
                return
    print(f"ok     {check.name}", flush=True)


async def main(names: Sequence[str]) -> int:
    """Run the named checks, or all, and return the exit code."""
    failed: list[str] = []
    slots = trio.CapacityLimiter(AT_A_TIME)
    async with trio.open_nursery() as nursery:
        for check in checks():
            if not names or check.name in names:
                nursery.start_soon(run, check, slots, failed, name=check.name)
    if failed:
        print(f"{len(failed)} failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(trio.run(functools.partial(main, sys.argv[1:])))
