import os
import subprocess
import sys

import pytest

from iii_trio import __version__
from iii_trio.app import _cli
from iii_trio.app._config import DEFAULT_DOCUMENT

run = _cli.run


def exit_code(*argv: str) -> int:
    """The exit code, whichever way it comes."""
    try:
        return run(argv)
    except SystemExit as exc:
        return int(exc.code or 0)


@pytest.mark.parametrize("flag", ["-v", "--version"])
def test_version_is_printed_bare(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(flag) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_teaches_by_example(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(flag) == 0
    assert "iii-trio trigger math::add a=2 b=3" in capsys.readouterr().out


def test_help_names_what_runs_without_a_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exit_code("--help") == 0
    text = capsys.readouterr().out.replace("/", "")
    for entry in DEFAULT_DOCUMENT["workers"]:
        assert entry["name"].removeprefix("iii-") in text


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--drain-timeout", "nan"),
        ("--drain-timeout", "-3"),
        ("--reload-delay", "nan"),
        ("--reload-delay", "inf"),
    ],
)
def test_times_that_are_none_are_refused_before_anything_starts(
    flag: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("-c", "/nowhere/config.yaml", flag, value) == 2
    told = capsys.readouterr()
    assert flag in told.out + told.err
    assert "seconds to wait must be" in told.out + told.err


@pytest.mark.parametrize("name", ["trigger", "t"])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_trigger_without_function_has_help_of_its_own(
    name: str, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(name, flag) == 0
    assert "--timeout-ms" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [
        ["start"],
        ["trigge"],
        ["--use-default-config"],
        ["trigger", "f::x", "--payload", "{}"],
        ["trigger", "--function-id", "f::x"],
        ["trigger", "f::x", "--timeout", "5"],
        ["trigger", "f::x", "--timeout-ms", "soon"],
        ["trigger", "f::x", "--port"],
        ["trigger", "f::x", "-5=3"],
        ["-c"],
        ["--log-format", "xml"],
    ],
)
def test_wrong_usage_is_exit_2_with_an_error_on_stderr(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*argv) == 2
    captured = capsys.readouterr()
    assert captured.err
    assert not captured.out


@pytest.mark.parametrize(
    "before",
    [[], ["--no-update-check"], ["-c", "x.yaml"], ["--config=x", "--no-update-check"]],
)
def test_missing_function_path_is_exit_1_whatever_stands_before(
    before: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*before, "trigger") == 1
    assert capsys.readouterr().err == (
        "iii-trio trigger: missing FUNCTION_PATH. "
        "Try: iii-trio trigger math::add a=2 b=3\n"
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["abc"], "Error: expected key=value, got 'abc'"),
        (["=1"], "Error: payload key must not be empty (got '=1')"),
        (["--json", "{"], "Error: --json: invalid JSON"),
        (
            ["--json", "-5", "a=1"],
            "Error: --json must be an object when combined with kv pairs",
        ),
    ],
)
def test_bad_payload_is_exit_1(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("trigger", "f::x", *argv) == 1
    assert capsys.readouterr().err.startswith(message)


HEAVY = (
    "iii_trio.engine",
    "iii_trio.builtins",
    "iii_trio.net",
    "iii_trio.adapters",
    "apsw",
    "yaml",
    "watchfiles",
    "rich",
    "structlog",
)


def test_trigger_imports_nothing_of_the_server() -> None:
    code = (
        "import sys, iii_trio.app._cli as c\n"
        "c.run(['trigger', 'f::x', 'oops'])\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.stdout == "[]\n"
