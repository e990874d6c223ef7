"""Every generation of every public SDK on one script: ``python -m tests.matrix``.

The results are printed, and kept as a table in ``docs/compatibility.md``.
"""

import argparse
import logging
import pathlib
import sys
import tempfile

import trio

from tests import sdks
from tests.client_stage import Client
from tests.client_steps import STEPS, run_steps

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "compatibility.md"
BEGIN = "<!-- written by `make matrix` -->"
END = "<!-- end of what `make matrix` wrote -->"

CLIENTS = [
    *(Client("python", version) for version in sdks.PYTHON_VERSIONS),
    *(Client("node", version) for version in sdks.NODE_VERSIONS),
    *(Client("rust", version) for version in sdks.RUST_VERSIONS),
]


def as_table(results: dict[str, dict[str, str]]) -> str:
    """The results as a Markdown table: one line per client, one column per step."""
    rows = [["client", *STEPS], ["---"] * (1 + len(STEPS))]
    for client, steps in results.items():
        cells = (steps.get(step, "not reached") for step in STEPS)
        rows.append([client, *(c if c in {"yes", "-"} else "no" for c in cells)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def with_table(page: str, table: str) -> str:
    """The page with the table between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def run(client: Client) -> dict[str, str]:
    """Take one client through the script in a directory of its own."""
    with tempfile.TemporaryDirectory() as directory:
        results = trio.run(run_steps, client, pathlib.Path(directory))
        for step, result in results.items():
            if result not in {"yes", "-"}:
                sys.stdout.write(f"{client}: {step}: {result}\n")
                for log in pathlib.Path(directory).glob("*.log"):
                    sys.stdout.write(log.read_text()[-2000:])
    return results


def main() -> int:
    """Run the matrix, or the clients that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clients", nargs="*", help="such as python-0.25.0")
    wanted = parser.parse_args().clients
    logging.getLogger("iii_trio").setLevel(logging.ERROR)
    names = [f"{client.language}-{client.version}" for client in CLIENTS]
    if unknown := set(wanted) - set(names):
        parser.error(f"no such client: {sorted(unknown)}; there are {names}")
    results = {}
    for name, client in zip(names, CLIENTS, strict=True):
        if not wanted or name in wanted:
            results[str(client)] = run(client)
            good = sum(one in {"yes", "-"} for one in results[str(client)].values())
            sys.stdout.write(f"{client}: {good} of {len(STEPS)} steps\n")
            sys.stdout.flush()
    table = as_table(results)
    sys.stdout.write(f"\n{table}\n")
    if not wanted:
        PAGE.write_text(with_table(PAGE.read_text(), table))
    passed = [
        all(steps.get(step) in {"yes", "-"} for step in STEPS)
        for steps in results.values()
    ]
    sys.stdout.write(f"\n{sum(passed)} passed, {len(passed) - sum(passed)} failed\n")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
