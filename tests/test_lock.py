"""The lock files hold what pyproject.toml asks for, and name no index."""

import pathlib
import re
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]
RUN_TIME = PROJECT["dependencies"]
DEVELOPMENT = [
    *RUN_TIME,
    *PROJECT["optional-dependencies"]["testing"],
    *SETTINGS["dependency-groups"]["dev"],
]


def name_of(requirement: str) -> str:
    """The normalised name of a requirement such as ``PyYAML>=6``."""
    [name] = re.findall(r"^[\w.-]+", requirement)
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(
    ("lock", "requirements"),
    [("requirements.lock", RUN_TIME), ("requirements-dev.lock", DEVELOPMENT)],
)
def test_a_lock_file_is_in_step(lock: str, requirements: list[str]) -> None:
    text = (ROOT / lock).read_text()
    locked = {name_of(line) for line in text.splitlines() if re.match(r"\w", line)}
    missing = {name_of(one) for one in requirements} - locked
    assert not missing, f"{lock} lacks {missing}: make lock"
    assert "http://" not in text
    assert "https://" not in text
