"""Commands of the exec worker: real shells, real signals, a real engine that is killed."""

import json
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from iii_trio._util import open_background_nursery
from iii_trio.app import open_app
from iii_trio.builtins.exec import ExecConfig, serve_exec
from iii_trio.builtins.exec._commands import open_commands
from iii_trio.builtins.exec._guard import open_guard
from iii_trio.builtins.exec._patterns import parse_pattern
from iii_trio.builtins.exec._worker import MANY_RUNS, _Pipeline, _watch_files
from iii_trio.testing import open_test_engine
from iii_trio.worker import open_worker
from tests.integration.server_rig import LISTENER, PATIENCE, open_server, run_cli

SLEEPER = "sleep 1000"


async def eventually(condition: Callable[[], Any]) -> None:
    """Wait for something outside of this process."""
    with trio.fail_after(PATIENCE):
        await trio.lowlevel.checkpoint()
        while not condition():  # noqa: ASYNC110 - nobody tells of it
            await trio.sleep(0.01)


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def has_lines(path: Path, count: int) -> bool:
    return len(lines_of(path)) == count


def lives(pid: str) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@asynccontextmanager
async def serving(
    *commands: str, watch: tuple[str, ...] | None = None
) -> AsyncIterator[trio.Nursery]:
    """Run commands for the length of the block; cancel the nursery to stop earlier."""
    config = ExecConfig(exec=commands, watch=watch)
    async with (
        open_test_engine() as under_test,
        under_test.open_worker("iii-exec") as worker,
        open_background_nursery("test over") as nursery,
    ):
        await nursery.start(partial(serve_exec, worker, config))
        yield nursery


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the commands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO", "iii_trio.builtins.exec")
    return caplog


async def test_commands_run_one_after_the_other_and_the_last_is_not_awaited(
    directory: Path,
) -> None:
    steps = ("echo 1 >> out", "sleep 0.1; echo 2 >> out", f"echo 3 >> out; {SLEEPER}")
    async with serving(*steps):
        await eventually(lambda: len(lines_of(directory / "out")) == 3)
    assert lines_of(directory / "out") == ["1", "2", "3"]


async def test_a_failed_step_skips_the_rest(
    directory: Path, log: pytest.LogCaptureFixture
) -> None:
    async with serving("exit 3", "touch out"):
        line = "command 1 failed with exit code 3: the rest is skipped"
        await eventually(lambda: line in log.messages)
    assert not (directory / "out").exists()


@pytest.mark.usefixtures("directory")
async def test_the_last_command_is_not_started_again(
    log: pytest.LogCaptureFixture,
) -> None:
    async with serving("true", "exit 4"):
        await eventually(lambda: "command 2 failed with exit code 4" in log.messages)
    assert log.messages.count("command 2 begins: exit 4") == 1
    assert "command 1 has ended" in log.messages


async def test_nothing_to_run_is_fine() -> None:
    async with serving():
        await trio.lowlevel.checkpoint()


@pytest.mark.usefixtures("directory")
async def test_output_goes_to_the_log_line_by_line(
    log: pytest.LogCaptureFixture,
) -> None:
    async with serving("echo one; echo two >&2; printf '\\033[1mlast'"):
        await eventually(lambda: "command 1: last" in log.messages)
    said = [m for m in log.messages if m.startswith("command 1: ")]
    assert said == ["command 1: one", "command 1: two", "command 1: last"]
    assert {record.name for record in log.records} == {"iii_trio.builtins.exec"}


async def test_commands_have_no_input_and_the_environment_of_the_engine(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXEC_TEST", "seen")
    async with serving('cat; echo "$EXEC_TEST $PWD" > out'):
        await eventually(lambda: lines_of(directory / "out"))
    assert lines_of(directory / "out") == [f"seen {directory}"]


# --- stopping


async def test_all_processes_of_a_command_get_the_signal(directory: Path) -> None:
    inner = "trap 'echo inner >> out; exit' TERM; echo $$ >> pids; sleep 1000 & wait"
    outer = "trap 'echo outer >> out; wait; exit' TERM; echo $$ >> pids; wait"
    async with serving(f"sh -c '{inner.replace(chr(39), chr(34))}' & {outer}"):
        await eventually(lambda: len(lines_of(directory / "pids")) == 2)
    assert sorted(lines_of(directory / "out")) == ["inner", "outer"]
    assert not any(lives(pid) for pid in lines_of(directory / "pids"))


async def test_a_command_that_ignores_the_signal_is_killed(directory: Path) -> None:
    async with serving(f"trap '' TERM; echo $$ > pids; {SLEEPER}; {SLEEPER}"):
        await eventually(lambda: lines_of(directory / "pids"))
    [pid] = lines_of(directory / "pids")
    assert not lives(pid)


async def test_what_a_step_left_running_is_ended_too(directory: Path) -> None:
    async with serving(f"{SLEEPER} & echo $! > pids", "echo done > out"):
        await eventually(lambda: lines_of(directory / "out"))
        [pid] = lines_of(directory / "pids")
        assert lives(pid)
    # It is no child of ours, and closes its output before it is dead.
    await eventually(lambda: not lives(pid))


async def test_the_process_group_of_a_step_is_nobody_elses_until_the_end(
    directory: Path,
) -> None:
    """What it left is signalled by the group's id, which the kernel would reuse."""
    async with serving("echo $$ > pids; true", "echo done > out"):
        await eventually(lambda: lines_of(directory / "out"))
        group = int(lines_of(directory / "pids")[0])
        os.killpg(group, 0)
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


async def test_a_step_that_a_signal_ends_has_failed(
    directory: Path, log: pytest.LogCaptureFixture
) -> None:
    async with serving("kill -s KILL $$", "touch out"):
        await eventually(lambda: "exit code -9" in log.text)
    assert not (directory / "out").exists()


SIGNAL_FOREIGN = """
import logging, os, subprocess
from iii_trio.builtins.exec._commands import Command
logging.basicConfig(level="INFO")
foreign = subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True)
os.setuid(65534)
Command("command 1", foreign).signal(0)
foreign.stdin.close()
foreign.wait()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, as sudo does")
async def test_a_command_that_became_somebody_elses_is_let_go() -> None:
    command = [sys.executable, "-c", SIGNAL_FOREIGN]
    done = await trio.run_process(command, capture_stderr=True)
    assert b"command 1 takes no signal 0 from us" in done.stderr


async def test_stopping_in_the_middle_of_a_step_ends_it(directory: Path) -> None:
    async with serving(f"echo $$ > pids; {SLEEPER}", "touch out") as nursery:
        await eventually(lambda: lines_of(directory / "pids"))
        nursery.cancel_scope.cancel(reason="test")
        await trio.lowlevel.checkpoint_if_cancelled()
    assert not lives(lines_of(directory / "pids")[0])
    assert not (directory / "out").exists()


async def test_output_that_somebody_else_keeps_open_does_not_hold_up_the_end(
    directory: Path,
) -> None:
    # A session of its own is out of reach, as is what daemons do.
    escaped = "setsid sh -c 'echo $$ > pids; exec sleep 1000' &"
    async with serving(f"{escaped} {SLEEPER}"):
        await eventually(lambda: lines_of(directory / "pids"))
    [pid] = lines_of(directory / "pids")
    assert lives(pid)
    os.kill(int(pid), signal.SIGKILL)


async def test_outputs_of_many_that_others_keep_open_do_not_hold_up_the_end(
    directory: Path,
) -> None:
    # Each is waited for a moment, in turn: longer together than all may take.
    escaped = "setsid sh -c 'echo $$ >> pids; exec sleep 100' &"
    async with serving(*[escaped] * 4):
        await eventually(partial(has_lines, directory / "pids", 4))
    pids = lines_of(directory / "pids")
    assert [lives(pid) for pid in pids] == [True] * 4
    for pid in pids:
        os.kill(int(pid), signal.SIGKILL)


# --- watching


def touch(path: Path) -> None:
    path.write_text(path.read_text() + "." if path.exists() else "")


async def test_a_change_kills_and_runs_everything_again(
    directory: Path, log: pytest.LogCaptureFixture
) -> None:
    (directory / "src" / "deep").mkdir(parents=True)
    steps = ("echo built >> out", f"trap '' TERM; echo $$ >> pids; {SLEEPER}")
    async with serving(*steps, watch=("src/**/*.{py,txt}",)):
        for number, name in enumerate(("a.py", "deep/b.txt", "a.py"), start=1):
            await eventually(partial(has_lines, directory / "pids", number))
            (directory / "src" / "ignored.c").touch()
            while len(lines_of(directory / "pids")) == number:
                # The watch may have begun after the first change.
                touch(directory / "src" / name)
                await trio.sleep(0.3)
    pids = lines_of(directory / "pids")
    assert len(pids) == len(lines_of(directory / "out")) >= 4
    assert not any(lives(pid) for pid in pids)
    assert "a watched file changed: the commands run again" in log.messages


@pytest.mark.usefixtures("directory")
async def test_a_directory_that_is_missing_is_not_watched_and_said(
    log: pytest.LogCaptureFixture,
) -> None:
    async with serving("true", watch=("nowhere/*.py",)):
        await eventually(lambda: "command 1 has ended" in log.messages)
        await eventually(lambda: "nothing is watched for 'nowhere/*.py'" in log.text)


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        with suppress(OSError):
            while True:
                stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        yield


async def test_what_the_system_cannot_watch_is_said_and_ends_nothing(
    directory: Path, log: pytest.LogCaptureFixture
) -> None:
    patterns = [parse_pattern("**/*.py", directory)]
    async with open_guard() as guard, open_commands(guard) as commands:
        await trio.Path(directory).is_dir()  # a thread is there
        with no_descriptors_left():
            await _watch_files(patterns, True, _Pipeline((), commands))
    assert "nothing is watched for '**/*.py': " in log.text


async def test_commands_that_write_what_is_watched_are_told_of(
    directory: Path, log: pytest.LogCaptureFixture
) -> None:
    script = "n=$(cat n.txt 2>/dev/null || echo 0); echo $((n+1)) > n.txt"
    async with serving(f"sleep 0.2; {script}", watch=("*.txt",)):
        line = f"ran {MANY_RUNS} times within a minute: do they write files"
        await eventually(lambda: line in log.text)
    assert int((directory / "n.txt").read_text()) >= MANY_RUNS - 1


# --- with an engine


def config(*commands: str) -> str:
    listed = ", ".join(f'"{command}"' for command in commands)
    return f"workers: [{LISTENER}, {{name: exec, config: {{exec: [{listed}]}}}}]"


async def test_commands_end_with_the_engine(tmp_path: Path) -> None:
    text = config(f"echo hello; echo $$ > pids; {SLEEPER}")
    async with open_server(tmp_path, text) as server:
        await server.line("command 1: hello")
        await eventually(lambda: lines_of(tmp_path / "pids"))
        assert await server.stop() == 0
    assert not lives(lines_of(tmp_path / "pids")[0])


async def test_commands_end_when_the_engine_is_killed(tmp_path: Path) -> None:
    stubborn = f"trap : TERM; echo $$ >> pids; {SLEEPER}; {SLEEPER}"
    background = f"{SLEEPER} & echo $! >> pids"
    text = config(background, stubborn)
    async with open_server(tmp_path, text) as server:
        await eventually(lambda: len(lines_of(tmp_path / "pids")) == 2)
        pids = lines_of(tmp_path / "pids")
        assert all(lives(pid) for pid in pids)
        server.process.send_signal(signal.SIGKILL)
        assert await server.wait() == -signal.SIGKILL
        await eventually(lambda: not any(lives(pid) for pid in pids))


async def test_an_entry_that_is_removed_ends_its_commands_alone(tmp_path: Path) -> None:
    text = config(f"echo $$ > pids; {SLEEPER}")
    async with open_server(tmp_path, text) as server:
        await eventually(lambda: lines_of(tmp_path / "pids"))
        await trio.Path(tmp_path, "config.yaml").write_text(f"workers: [{LISTENER}]")
        await server.line("removed iii-exec")
        assert not lives(lines_of(tmp_path / "pids")[0])
        assert server.process.poll() is None


@pytest.mark.usefixtures("directory", "log")
async def test_output_is_found_among_the_logs_of_the_engine() -> None:
    entry = {"name": "exec", "config": {"exec": ["echo found me"]}}
    listener = {"name": "iii-worker-manager", "config": {"port": 0}}
    async with (
        open_app({"workers": [listener, entry]}) as app,
        open_worker(app.engine) as worker,
    ):
        bodies: list[str] = []
        with trio.fail_after(PATIENCE):
            await trio.lowlevel.checkpoint()
            while "command 1: found me" not in bodies:
                listed = await worker.invoke("engine::logs::list", {})
                bodies = [record["body"] for record in listed["logs"]]


async def test_commands_cannot_be_changed_by_calls(tmp_path: Path) -> None:
    async with open_server(tmp_path, config("true")) as server:
        port = str(await server.port())
        code, out, _ = await run_cli("trigger", "--port", port, "configuration::list")
        assert code == 0
        known = {entry["id"] for entry in json.loads(out)["configurations"]}
        assert known.isdisjoint({"exec", "iii-exec"})
