# ruff: noqa: T201
"""``make flakes``: runs the tests many times, in any order and with any seed.

The tests of cancellation and all the others are counted apart. Counts add up in
``.stamps/``, per commit, so a run may be stopped at any time and taken up again. A run is
one pass over all tests of a group; what fails is a flake, since the same tests pass in
``make test``, and its seed and output are kept.

Usage: ``python -m tests.flakes GROUP RUNS``: go on until the group has so many runs.
"""

import json
import os
import pathlib
import secrets
import subprocess
import sys
from typing import Final

import attrs

ROOT = pathlib.Path(__file__).parent.parent
HOME = ROOT / ".stamps"


@attrs.frozen
class Group:
    """Some of the tests.

    Attributes:
        marks: which.
        passes: runs in one process: quick tests should not pay for its start.
    """

    marks: str
    passes: int


GROUPS: Final = {
    "cancellation": Group("cancellation and not full", 200),
    "rest": Group("not cancellation and not full", 1),
}


@attrs.define
class Count:
    """What was run so far; kept in a file.

    Attributes:
        runs: by commit.
        flakes: commit, seed and file of the output.
    """

    path: pathlib.Path
    runs: dict[str, int] = attrs.field(factory=dict)
    flakes: list[list[str]] = attrs.field(factory=list)

    @classmethod
    def load(cls, name: str) -> "Count":
        path = HOME / f"flakes-{name}.json"
        return cls(path, **(json.loads(path.read_text()) if path.exists() else {}))

    def save(self) -> None:
        self.path.parent.mkdir(exist_ok=True)
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"runs": self.runs, "flakes": self.flakes}))
        new.replace(self.path)

    @property
    def total(self) -> int:
        return sum(self.runs.values())

    def __str__(self) -> str:
        commits = len(self.runs)
        return f"{self.total} runs of {commits} commits, {len(self.flakes)} with flakes"


def commit() -> str:
    """What is checked out."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip() or "unknown"


def run(group: Group, passes: int, seed: int) -> str:
    """Run a group; give the output if something failed, else nothing."""
    command = [
        *(sys.executable, "-m", "pytest", "-v", "--tb=short", "-p", "no:cacheprovider"),
        *("-o", "faulthandler_timeout=300", "-o", "faulthandler_exit_on_timeout=true"),
        *("-m", group.marks, "--shuffle", str(seed), "--passes", str(passes)),
        *("--hypothesis-profile=shuffled", f"--hypothesis-seed={seed}"),
    ]
    ended = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": ""},  # a third of a pass
        capture_output=True,
        text=True,
        check=False,
    )
    output = f"{' '.join(command)}\n{ended.stdout}{ended.stderr}"
    return output if ended.returncode else ""


def main(name: str, wanted: int) -> int:
    """Run a group until it has so many runs, counting earlier ones of any commit."""
    group, count, current = GROUPS[name], Count.load(name), commit()
    print(f"{name}: {count} so far", flush=True)
    while count.total < wanted:
        seed, passes = secrets.randbits(31), min(group.passes, wanted - count.total)
        output = run(group, passes, seed)
        if output:
            log = HOME / f"flake-{name}-{seed}.log"
            HOME.mkdir(exist_ok=True)
            log.write_text(output)
            count.flakes.append([current, str(seed), log.name])
            print(f"{name}: seed {seed} failed, see {log}", flush=True)
        count.runs[current] = count.runs.get(current, 0) + passes
        count.save()
        print(f"{name}: {count}", flush=True)
    return 1 if count.flakes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
