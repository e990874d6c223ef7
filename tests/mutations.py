# ruff: noqa: T201
"""``make mutations``: can the tests of cancellation and of access rules fail at all?

Each entry of the table spoils one thing in a copy of the code; the test that it names
must then fail. First all of those tests pass on the untouched copy.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from tests.access_mutations import ACCESS_MUTATIONS
from tests.mutation_table import MUTATIONS, Mutation

ROOT = pathlib.Path(__file__).parent.parent
PATIENCE = 120
"""Seconds for one test; one that hangs noticed the mutation too."""


def copy_to(home: pathlib.Path) -> None:
    """Copy what the tests need; they import the package from where they run."""
    ignore = shutil.ignore_patterns("__pycache__", "node_modules")
    for name in ("iii_trio", "tests"):
        shutil.copytree(ROOT / name, home / name, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", home)


def run_tests(home: pathlib.Path, tests: list[str], says: str = "") -> str:
    """Run tests against the copy; give ``passed``, ``failed``, or what went wrong.

    A failure counts only if it ``says`` what it should.
    """
    command = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    # No watchdog: its dump of a running thread may crash.
    command += ["-o", "faulthandler_timeout=0", "--hypothesis-profile=unshrunk"]
    # Python may take a mutated file of the same size and second for the old one.
    env = {**os.environ, "PYTHONPATH": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        ended = subprocess.run(
            [sys.executable, *command, *(f"tests/{one}" for one in tests)],
            cwd=home,
            env=env,
            timeout=PATIENCE * len(tests),
            capture_output=True,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no {says!r} in time" if says else "failed"
    output = ended.stdout + ended.stderr
    if ended.returncode == 1 and says not in output:
        return f"failed without {says!r}:\n{output[-2000:]}"
    return {0: "passed", 1: "failed"}.get(ended.returncode, output)


def try_mutation(home: pathlib.Path, mutation: Mutation) -> str:
    """Spoil the copy, run the test, repair the copy; give the verdict."""
    path = home / "iii_trio" / mutation.file
    text = path.read_text()
    if text.count(mutation.old) != 1:
        return f"stale: its text stands {text.count(mutation.old)} times in the file"
    path.write_text(text.replace(mutation.old, mutation.new))
    try:
        verdict = run_tests(home, [mutation.test], mutation.says)
    finally:
        path.write_text(text)
    return {"passed": "SURVIVED", "failed": "killed"}.get(verdict, verdict)


def main(words: list[str]) -> int:
    """Try the mutations whose promise has one of the words, or all; tell each verdict."""
    chosen = [
        one
        for one in (*MUTATIONS, *ACCESS_MUTATIONS)
        if not words or any(word in one.what for word in words)
    ]
    if not chosen:
        print("no promise has any of these words; the promises are in the tables:")
        print("tests/mutation_table.py, tests/access_mutations.py")
        return 2
    with tempfile.TemporaryDirectory() as directory:
        home = pathlib.Path(directory)
        copy_to(home)
        verdict = run_tests(home, sorted({one.test for one in chosen}))
        if verdict != "passed":
            print(f"without any mutation the tests say: {verdict}")
            return 1
        alive = 0
        for mutation in chosen:
            verdict = try_mutation(home, mutation)
            alive += verdict != "killed"
            print(f"{verdict:8}  {mutation.file:22}  {mutation.what}", flush=True)
    print(f"{len(chosen) - alive} of {len(chosen)} mutations killed")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
