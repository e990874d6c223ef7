"""The public iii SDKs that the tests run: where they are installed, and our workers on them.

An SDK is installed once per version below ``.sdks/`` in the checkout, which git ignores.
The newest Python SDK is in the development environment and the newest Node SDK belongs to
the Quickstart, both from lock files. Every Quickstart worker is the newest one, with the
import of its logger rewritten: nothing else changed between these generations.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import venv
from typing import Literal

import pytest

ROOT = pathlib.Path(__file__).parent.parent
CACHE = ROOT / ".sdks"
QUICKSTART = ROOT / "examples" / "quickstart"
PROGRAMS = ROOT / "tests" / "sdk_workers"

Language = Literal["py", "ts"]

PYTHON_VERSIONS = (
    *("0.11.6", "0.16.1", "0.19.7", "0.21.8", "0.22.1", "0.23.0", "0.24.6"),
    "0.25.0",
)
NODE_VERSIONS = ("0.11.2", "0.11.6", "0.22.0", "0.22.1")
RUST_VERSIONS = ("0.23.0", "0.25.0")
NEWEST_PYTHON = PYTHON_VERSIONS[-1]
NEWEST_NODE = NODE_VERSIONS[-1]

_PYTHON_LOGGER = "from iii_helpers.observability import Logger"
_OLD_PYTHON_LOGGERS = {
    "0.11.6": "from iii import Logger",
    "0.16.1": "from iii_observability import Logger",
    "0.19.7": "from iii_observability import Logger",
}
_NODE_LOGGER = "import { Logger } from '@iii-dev/helpers/observability'"
_OLD_NODE_LOGGERS = dict.fromkeys(
    ("0.11.2", "0.11.6"), "import { Logger } from 'iii-sdk'"
)
_TSX = "4.23.15"
_CARGO = """\
[package]
name = "client"
version = "0.1.0"
edition = "2021"
[dependencies]
async-trait = "0.1"
iii-sdk = "={version}"
serde_json = "1"
tokio = {{ version = "1", features = ["macros", "rt-multi-thread"] }}
[profile.dev]
debug = false
"""


def need(program: str, how: str) -> str:
    """Return the path of a program, or skip the test and say how to get it.

    Where ``CI`` is set a missing program is an error: there it has to be installed.
    """
    path = shutil.which(program)
    if path is not None:
        return path
    reason = f"needs {program} on PATH: {how}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def need_node() -> str:
    """Return the path of Node."""
    how = "Node >= 20 with npm, for example apt-get install nodejs npm"
    need("npm", how)
    return need("node", how)


def python_with_sdk(version: str) -> str:
    """Return an interpreter that imports this version of the Python SDK."""
    if version == NEWEST_PYTHON:
        return sys.executable
    directory = CACHE / f"python-{version}"
    python = directory / "bin" / "python"
    if not _is_complete(directory):
        venv.create(directory, with_pip=True)
        requirements = [f"iii-sdk=={version}"]
        if version >= "0.21":
            requirements.append(f"iii-helpers=={version}")
        _run(directory, python, "-m", "pip", "install", "--quiet", *requirements)
        _complete(directory)
    return str(python)


def node_modules_with_sdk(version: str) -> pathlib.Path:
    """Return a ``node_modules`` folder with this version of the Node SDK and tsx."""
    need_node()
    if version == NEWEST_NODE:
        directory = QUICKSTART
        if not (directory / "node_modules" / ".package-lock.json").exists():
            _run(directory, "npm", "ci", "--ignore-scripts", "--loglevel=error")
        return directory / "node_modules"
    directory = CACHE / f"node-{version}"
    if not _is_complete(directory):
        dependencies = {"iii-sdk": version, "tsx": _TSX}
        manifest = {"private": True, "type": "module", "dependencies": dependencies}
        (directory / "package.json").write_text(json.dumps(manifest))
        _run(directory, "npm", "install", "--ignore-scripts", "--loglevel=error")
        _complete(directory)
    return directory / "node_modules"


def program(language: Language, name: str, directory: pathlib.Path) -> list[str]:
    """How to run ``sdk_workers/<name>`` on the newest SDK, from a directory for it."""
    if language == "py":
        return [sys.executable, str(PROGRAMS / f"{name}.py")]
    modules = directory / "node_modules"
    if not modules.exists():
        modules.symlink_to(node_modules_with_sdk(NEWEST_NODE).resolve())
    (directory / "package.json").write_text('{"type": "module"}')
    shutil.copy(PROGRAMS / f"{name}.ts", directory)
    return [need_node(), "--import", "tsx", f"{name}.ts"]


def rust_program(version: str, source: pathlib.Path) -> pathlib.Path:
    """Build a program against this version of the Rust crate; cargo builds what changed.

    The processor is shared: cargo gets one job and a low priority.
    """
    need("cargo", "Rust >= 1.85 with cargo")
    directory = CACHE / f"rust-{version}"
    (directory / "src").mkdir(parents=True, exist_ok=True)
    (directory / "Cargo.toml").write_text(_CARGO.format(version=version))
    main = directory / "src" / "main.rs"
    if not main.exists() or main.read_text() != source.read_text():
        shutil.copy(source, main)
    _run(directory, "nice", "-n", "15", "cargo", "build", "--quiet", "--jobs", "1")
    return directory / "target" / "debug" / "client"


def math_worker(version: str, directory: pathlib.Path) -> pathlib.Path:
    """Write the Quickstart's Python worker for this version of the SDK."""
    path = directory / "math_worker.py"
    logger = _OLD_PYTHON_LOGGERS.get(version, _PYTHON_LOGGER)
    path.write_text(_rewritten(QUICKSTART / path.name, _PYTHON_LOGGER, logger))
    return path


def caller_worker(version: str, directory: pathlib.Path) -> pathlib.Path:
    """Write the Quickstart's TypeScript worker for this version of the SDK."""
    path = directory / "caller_worker.ts"
    logger = _OLD_NODE_LOGGERS.get(version, _NODE_LOGGER)
    path.write_text(_rewritten(QUICKSTART / path.name, _NODE_LOGGER, logger))
    return path


def _rewritten(path: pathlib.Path, old: str, new: str) -> str:
    text = path.read_text()
    assert text.count(old) == 1, f"{path} does not import its logger as expected"
    return text.replace(old, new)


def _is_complete(directory: pathlib.Path) -> bool:
    if (directory / ".complete").exists():
        return True
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return False


def _complete(directory: pathlib.Path) -> None:
    (directory / ".complete").touch()


def _run(directory: pathlib.Path, *command: object) -> None:
    finished = subprocess.run(
        [str(part) for part in command],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
