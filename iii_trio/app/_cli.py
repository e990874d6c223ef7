"""The command line: which commands there are and what they take.

Nothing heavy is imported here: a command's module is loaded when the command runs, so
that ``iii-trio trigger`` starts without the engine. cyclopts parses and explains.
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import App, Parameter

from iii_trio._version import __version__
from iii_trio.app._durations import as_delay, as_grace

HELP: Final = (
    "Run an iii engine, or call a function on one.\n\n"
    "Without a command it starts an engine: it listens for workers on port 49134, runs "
    "the workers that the configuration lists, and applies changes of that file while "
    "it runs. Ctrl-C stops it gracefully, a second Ctrl-C at once."
)

EXAMPLES: Final = """\
iii-trio                              engine from ./config.yaml or defaults
iii-trio -c prod.yaml                 engine from another file
iii-trio trigger math::add a=2 b=3    call a function on a running engine
iii-trio trigger math::add --help     what that function takes
"""

_COMMANDS: Final = ("trigger", "t")
_GLOBAL_FLAG: Final = "--no-update-check"

app = App(
    name="iii-trio",
    help=HELP,
    help_epilogue=EXAMPLES,
    help_format="plaintext",
    version=__version__,
    version_flags=["--version", "-v"],
)
app.command(
    "iii_trio.app._trigger_command:trigger",
    name=list(_COMMANDS),
    help="Call a function on a running engine and print its result as JSON.",
    help_flags=[],
    version_flags=[],
)


@app.default
async def start(
    *,
    config: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    data_dir: Path = Path("data"),
    drain_timeout: Annotated[
        float, Parameter(validator=lambda _type, value: as_grace(value))
    ] = 10.0,
    reload_delay: Annotated[
        float, Parameter(validator=lambda _type, value: as_delay(value))
    ] = 0.5,
    log_format: Literal["text", "json"] = "text",
    no_update_check: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Start an engine.

    Parameters
    ----------
    config
        Configuration file. Default: ./config.yaml if it exists, else http, state,
        queue, cron, pub/sub and stream with their defaults.
    data_dir
        Directory of durable data, made when it is needed.
    drain_timeout
        Seconds that calls in flight may take after Ctrl-C, SIGTERM or SIGHUP.
    reload_delay
        Seconds that the configuration file must be quiet before a change counts.
    log_format
        Log lines for people or for machines; both go to stderr.
    no_update_check
        Accepted and ignored: nothing is ever checked for.
    """
    start_command = importlib.import_module("iii_trio.app._start_command")
    code: int = await start_command.start(
        config,
        data_dir=data_dir,
        drain_timeout=drain_timeout,
        reload_delay=reload_delay,
        log_format=log_format,
    )
    return code


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Exit codes: 0 done, 1 failed at run time, 2 wrong usage, 130 interrupted.
    """
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Run the command line; the exit code. Usage errors leave as ``SystemExit(2)``."""
    tokens = _without_globals(list(argv))
    if tokens and tokens[0] not in _COMMANDS and not tokens[0].startswith("-"):
        sys.stderr.write(
            f"iii-trio: unknown command {tokens[0]!r}; the only one is 'trigger'. "
            "Try: iii-trio --help\n"
        )
        return 2
    result: Any = app(tokens, backend="trio", result_action="return_value")
    if result == "help":
        app.help_print(["trigger"])
        return 0
    return result if isinstance(result, int) else 0


def _without_globals(tokens: list[str]) -> list[str]:
    """Drop what stands before a command and has no meaning for it."""
    rest = tokens
    while rest and rest[0] not in _COMMANDS:
        if rest[0] == _GLOBAL_FLAG or rest[0].startswith("--config="):
            rest = rest[1:]
        elif rest[0] in {"-c", "--config"}:
            rest = rest[2:]
        else:
            return tokens
    return rest or tokens
