"""The server gives threads the interpreter soon, and a host program keeps its setting."""

import subprocess
import sys
from pathlib import Path

import pytest

from iii_trio.app._start_command import SWITCH_INTERVAL, quick_switches

TOLD = """
import os, sys
from iii_trio.app import main

setting = sys.setswitchinterval

def tell(seconds):
    setting(seconds)
    print(f"{sys.getswitchinterval():.6f}", flush=True)
    os._exit(0)

sys.setswitchinterval = tell
main(["-c", sys.argv[1]])
"""


@pytest.mark.slow
def test_the_server_lets_threads_have_the_interpreter_soon(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("workers: [{name: iii-state}]")
    done = subprocess.run(
        [sys.executable, "-c", TOLD, str(config)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert (done.returncode, done.stdout) == (0, "0.000005\n"), done.stderr


def test_the_setting_is_put_back() -> None:
    before = sys.getswitchinterval()
    with quick_switches():
        assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL)
    assert sys.getswitchinterval() == before
